"""Servers under test, started as ``python -m bench.servers --loop NAME --kind KIND``.

Each kind is one way of writing the same server, run on one loop of the registry. A server prints
``READY <port>`` once it accepts connections and serves until a signal ends it. It pins nothing and
measures nothing: its parent does both (``bench.processes``).
"""
