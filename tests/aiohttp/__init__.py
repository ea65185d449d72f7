"""aiohttp, unchanged, on asyncio's own loop and on loopx: its server and its client.

A package, so that `import aiohttp` in here means the library.  Holds no code.
"""
