"""The rules of style can fail: each is shown a bad example, and a good one that it must let be.

Tests tests/support/tidy_rules.py and tidy_layers.py; reads no file of the project.
"""

from pathlib import Path

import pytest

from tests.support import tidy_layers as layers
from tests.support import tidy_rules as rules


def test_long_lines():
    assert rules.long_lines("x" * 100 + "\n" + "y" * 101) == [(2, "101 characters")]


@pytest.mark.parametrize(
    ("name", "text", "lines"),
    [
        ("a.py", '"""One.\n\nTwo.\n"""\n', 2),
        ("a.py", '"""One."""\n', 1),
        ("a.py", "# Not a docstring.\n# Two.\nx = 1\n", 0),
        ("a.pxi", "# One.\n# Two.\n\n# Not part of it.\n", 2),
        ("a.pyx", '# cython: language_level=3\n"""One.\n\nTwo."""\n', 2),
        ("a.pxd", "cdef int x\n", 0),
        ("a.c", "/* One.\n * Two.\n */\nint x;\n", 2),
        ("a.c", "// One.\n// Two.\nint x;\n", 2),
        ("a.c", "#include <stdio.h>\n#include <stdlib.h>\n", 0),
    ],
)
def test_headers(name, text, lines):
    assert rules.header_lines(Path(name), text) == lines


def test_python_functions_are_measured_whole():
    text = "def f(\n    a,\n):\n    '''Doc.\n\n    More.\n    '''\n    return a\n\nx = 1\n"
    assert list(rules.python_functions(text)) == [("f", 1, 8)]


CYTHON = '''
cdef class Thing:
    """Not a function."""

    cdef int field
    cdef object made

    def __cinit__(self, int a, *,
                  int b=f(1)):
        """Doc.

        More.
        """
        if a:

            # A comment at any place:
            self.field = b
# at the margin too

        self.field = 2

    cdef inline int get(self) except -1 nogil:
        return self.field

cdef extern from "x.h" nogil:
    int declared(int a)

cdef int value = call(1)
cdef int forward(int a)
cdef struct Pair:
    int a
cpdef object last(x): return x
'''


def test_cython_functions_are_measured_by_indentation():
    found = list(rules.cython_functions(CYTHON))
    assert found == [("__cinit__", 8, 13), ("get", 22, 2), ("last", 32, 1)]


def test_a_long_cython_function_is_seen_as_long():
    body = "".join(f"    x = {number}\n" for number in range(80))
    (found,) = rules.cython_functions(f"cdef int f():\n{body}\ncdef int g\n")
    assert found == ("f", 1, 81)


def test_c_functions():
    text = "static int\nf(int a)\n{\n    return a;\n}\n\nint g(void);\nint h(void) {\n}\n"
    assert list(rules.c_functions(text)) == [("f", 2, 4), ("h", 8, 2)]


@pytest.mark.parametrize(
    "text", ["if kind == 3:", "self.state = 1", "cb_type != 2", "cdef int mode = -1"]
)
def test_numeric_tags(text):
    assert len(rules.numeric_tags(text)) == 1


@pytest.mark.parametrize(
    "text", ["if kind == STREAM:", "state = IDLE", "# kind == 3", "'kind == 3'", "count = 3"]
)
def test_what_is_no_numeric_tag(text):
    assert rules.numeric_tags(text) == []


@pytest.mark.parametrize(
    "text", ["def __hidden(self):", "self.__x = 1", "cdef int __uv_field", "class __Thing:"]
)
def test_underscored_names(text):
    assert len(rules.underscored_names(text)) == 1


@pytest.mark.parametrize(
    "text", ["def __init__(self):", "self.__class__", "cdef int field", "__ATOMIC_ACQUIRE"]
)
def test_what_is_no_underscored_name(text):
    assert rules.underscored_names(text) == []


@pytest.mark.parametrize("folder", ["work", "root", "home", "tmp"])
def test_machine_paths(folder):
    assert len(rules.machine_paths(f'open("/{folder}/thing")\n')) == 1


@pytest.mark.parametrize(
    "text", ["a/" "work/b", "/proc/self/fd", "$(HOME)/" "tmp/x", "net/work", "/workers", "/usr/"]
)
def test_what_is_no_machine_path(text):
    assert rules.machine_paths(text) == []


def test_alias_files_and_stars():
    assert rules.is_alias_file('"""Doc."""\nfrom a import b\n__all__ = ["b"]\n')
    assert not rules.is_alias_file('"""Doc."""\nfrom a import b\nx = b()\n')
    assert not rules.is_alias_file('"""Doc."""\n')
    assert rules.star_imports("from a import *\n") == [(1, "import *")]
    assert rules.star_imports("from a import b\n") == []


def test_strings_and_comments_are_blanked_and_lines_kept():
    text = "a = 'x # y'  # z\nb = \"\"\"\nc\n\"\"\" + d\n"
    blanked = rules.without_strings_and_comments(text)
    assert blanked.split() == ["a", "=", "b", "=", "+", "d"]
    assert blanked.count("\n") == text.count("\n")


def test_misplaced_includes():
    assert layers.misplaced_includes(["sched/a.pxi", "io/b.pxi", "loop.pxi"]) == []
    assert layers.misplaced_includes(["io/b.pxi", "sched/a.pxi", "loop.pxi"]) == ["io/b.pxi"]
    assert layers.included('include "sched/a.pxi"   # why\n# include "b.pxi"\n') == ["sched/a.pxi"]


def test_forward_names():
    low = "cdef class Low:\n    cdef int go(self):\n        return helper() + self.High\n"
    high = "cdef class High(Low):\n    pass\n\ncdef int helper():\n    return 1\n"
    assert layers.forward_names([("a", low), ("b", high)]) == [
        "a names helper(, which is defined below it"
    ]
    assert layers.forward_names([("b", "cdef class Low:\n    pass\n"), ("a", "Low\n")]) == []


def test_bad_native_imports():
    assert layers.bad_native_imports("sched/a.pxd", "from loopx.io.b cimport x\n")
    assert layers.bad_native_imports("io/a.pxi", "from loopx.server import x\n")
    assert layers.bad_native_imports("io/a.pxi", "import loopx\n")
    assert not layers.bad_native_imports("io/a.pxi", "from loopx.ring.b cimport x\n")
    assert not layers.bad_native_imports("io/a.pxi", "from loopx.errors import x\n")


def test_python_imports():
    text = "if TYPE_CHECKING:\n    from loopx.loop import L\nelse:\n    import loopx.dns\n"
    known = ["loopx", "loopx.loop", "loopx.dns"]
    assert layers.imported_modules(text, known) == {"loopx.dns"}
    inner = "def f():\n    from loopx import dns, run\n"
    assert layers.imported_modules(inner, known) == {"loopx.dns", "loopx"}
    assert layers.bad_python_imports("loopx.ring.control", ["loopx._core"])
    assert layers.bad_python_imports("loopx.server", ["loopx"])
    assert layers.bad_python_imports("loopx.errors", ["loopx.server"])
    assert not layers.bad_python_imports("loopx.server", ["loopx._core", "loopx.dns"])
    assert not layers.bad_python_imports("loopx", ["loopx.server"])


def test_cycles():
    assert layers.cycles({"a": {"b"}, "b": {"c"}, "c": set()}) == []
    assert layers.cycles({"a": {"b"}, "b": {"a"}}) == [["a", "b", "a"]]
