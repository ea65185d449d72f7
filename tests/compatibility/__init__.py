"""docs/compatibility.md: what of asyncio, and which libraries, work on which loop.

`make compatibility` runs the tests, stores the outcomes as JSON and writes the page from it.
Holds no code.
"""
