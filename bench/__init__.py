"""Benchmarks of loopx against asyncio, uvloop, their peers and bare C servers.

Commands: ``python -m bench.run`` (the suite), ``python -m bench.demo`` (an aiohttp server on
three loops), ``python -m bench.report`` (tables and charts from recorded results),
``python -m bench.build`` (the C programs). Nothing here is part of the installed package, and
nothing here imports loopx by name: loops are looked up in ``bench.loops``.
"""
