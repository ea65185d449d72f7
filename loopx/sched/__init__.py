"""The loop's own data structures: C structures without Python objects, one `.pxd` each."""
