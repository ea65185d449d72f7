"""The tests of loopx.

A package, so that modules of the same name in different folders do not clash and so that every
test can import `tests.support`.  Holds no code.
"""
