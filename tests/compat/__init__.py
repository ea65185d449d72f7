"""CPython's own tests of asyncio, taken from the interpreter that runs them, on loopx.

`suite.py` loads them, `left_out.py` says which are not run and why.  Holds no code.
"""
