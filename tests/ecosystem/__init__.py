"""Real clients and servers, unchanged, on asyncio's own loop and on loopx.

`make test-ecosystem` installs what they need; `make test` leaves them out.  Holds no code.
"""
