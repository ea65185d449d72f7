"""uvicorn and gunicorn, unchanged, on asyncio's own loop and on loopx.

A package, so that `import uvicorn` in here means the library.  Holds no code.
"""
