"""The layers of loopx as rules: which file may name which.

ring, then sched, io, transports, loop, then the Python modules, then `__init__`.  Text in,
complaints out, as in tidy_rules.py; tests/test_tidy.py applies them.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator

from tests.support.tidy_rules import without_strings_and_comments

# Lower may be named by higher, never the reverse.
NATIVE_LAYERS = ("imports", "ring", "sched", "io", "transports", "loop")
# What stands below everything: the errors and the generated binding.
FOUNDATION = ("loopx.errors", "loopx._liburing")
TOP = ("loopx", "loopx.__main__")

INCLUDE = re.compile(r'^include\s+"([^"]+)"', re.MULTILINE)
NATIVE_IMPORT = re.compile(
    r"^[ ]*(?:from\s+(loopx[\w.]*)\s+c?import|c?import\s+(loopx[\w.]*))", re.MULTILINE
)
DEFINED = re.compile(
    r"^(?:cdef|cpdef|ctypedef)?[ ]*(?:class|enum|struct|union)\s+(?:[\w.]+\.)?(\w+)"
    r"|^(?:def|cdef|cpdef)\b[^\n=(:]*?(\w+)\s*\(",
    re.MULTILINE,
)
IDENTIFIER = re.compile(r"(?<![\w.])([A-Za-z_]\w*)(\(?)")


def included(text: str) -> list[str]:
    """The include list of _core.pyx."""
    return INCLUDE.findall(text)


def native_rank(path: str) -> int:
    """The layer of a path below loopx/, such as 'io/engine.pxi'."""
    layer = path.split("/")[0].removesuffix(".pxi")
    return NATIVE_LAYERS.index(layer)


def misplaced_includes(paths: list[str]) -> list[str]:
    """Files that stand above one of a lower layer in the include list."""
    ranks = [native_rank(path) for path in paths]
    return [path for path, rank, rest in zip(paths, ranks, suffixes(ranks)) if rank > min(rest)]


def suffixes(ranks: list[int]) -> Iterator[list[int]]:
    return (ranks[index:] for index in range(len(ranks)))


def defined_names(text: str) -> set[str]:
    """Types ('Thing') and functions ('call(') that a native file defines at its margin."""
    code = without_strings_and_comments(text)
    return {match[1] or match[2] + "(" for match in DEFINED.finditer(code)}


def used_names(text: str) -> set[str]:
    """What a native file names: anything may be a type, what is called may be a function."""
    code = without_strings_and_comments(text)
    return {match[1] + call for match in IDENTIFIER.finditer(code) for call in ("", match[2])}


def forward_names(files: list[tuple[str, str]]) -> list[str]:
    """Names that a file of the include list (path, text) uses and a later one defines."""
    complaints = []
    defined = [defined_names(text) for _, text in files]
    for index, (path, text) in enumerate(files):
        later = set().union(*defined[index + 1 :]) - set().union(*defined[: index + 1])
        found = sorted(used_names(text) & later)
        complaints += [f"{path} names {name}, which is defined below it" for name in found]
    return complaints


def native_imports(text: str) -> list[str]:
    """Modules of loopx that a native file imports or cimports."""
    return [first or second for first, second in NATIVE_IMPORT.findall(text)]


def bad_native_imports(path: str, text: str) -> list[str]:
    """Imports of a native file that do not go down."""
    own = native_rank(path) if path != "imports.pxi" else native_rank("io/")
    found = []
    for module in native_imports(text):
        if module in FOUNDATION:
            continue
        layer = (module.split(".") + [""])[1]
        if layer not in NATIVE_LAYERS or native_rank(layer + "/") > own:
            found.append(f"{path} imports {module}")
    return found


# ------------------------------------------------------------------ Python modules


def imported_modules(text: str, modules: Iterable[str]) -> set[str]:
    """Modules of loopx that a Python file imports when it runs, in functions too."""
    known = set(modules)
    found = set()
    for node in runtime_nodes(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            for alias in node.names:
                whole = f"{base}.{alias.name}"
                found.add(whole if whole in known else base)
    return {name for name in found if name.split(".")[0] == "loopx"}


def runtime_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node but those under `if TYPE_CHECKING`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for other in node.orelse:
                yield other
                yield from runtime_nodes(other)
            continue
        yield node
        yield from runtime_nodes(node)


def python_rank(module: str) -> int:
    if module in FOUNDATION:
        return 0
    if module.startswith("loopx.ring"):
        return 1
    if module == "loopx._core":
        return 2
    return 4 if module in TOP else 3


def bad_python_imports(module: str, imports: Iterable[str]) -> list[str]:
    """Imports that go up, or to the package itself."""
    own = python_rank(module)
    return [
        f"{module} imports {name}"
        for name in sorted(imports)
        if python_rank(name) > own and not (own == 1 and name.startswith("loopx.ring"))
    ]


def cycles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Rings of imports among modules."""
    found: list[list[str]] = []
    done: set[str] = set()

    def visit(module: str, path: list[str]) -> None:
        if module in path:
            found.append([*path[path.index(module) :], module])
        elif module not in done:
            for name in sorted(graph.get(module, ())):
                visit(name, [*path, module])
            done.add(module)

    for module in sorted(graph):
        visit(module, [])
    return found
