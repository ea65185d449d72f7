"""The rules of style as functions: text in, complaints out.

Each takes the text of one file and returns (line, message) pairs, or what it found; nothing here
reads the disk but `project_files`.  tests/test_tidy.py applies them, and shows that each fails
where it must.  What Python's own parser can read goes through `ast`; Cython and C are read by
indentation and by regular expressions, after strings and comments have been blanked.
"""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator
from pathlib import Path

LINE_LIMIT = 100
FUNCTION_LIMIT = 70
FILE_LIMIT = 400

CYTHON = (".pyx", ".pxi", ".pxd")
PYTHON = (".py", ".pyi")
C = (".c", ".h")
SOURCES = CYTHON + PYTHON + C
TEXTS = (*SOURCES, ".md", ".toml", ".in", ".cfg", ".yml", ".yaml", ".sh")
NAMED_TEXTS = ("Makefile", "run", "Dockerfile")
SKIPPED_FOLDERS = re.compile(r"build|dist|results|__pycache__|.*\.egg-info|\.(?!ci$).*")

Complaint = tuple[int, str]


def project_files(root: Path, suffixes: tuple[str, ...], names: tuple[str, ...] = ()) -> list[Path]:
    """Every file written by hand below `root` that ends so or is called so."""
    found = []
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not SKIPPED_FOLDERS.fullmatch(name)]
        found += [Path(folder, name) for name in files if name in names or name.endswith(suffixes)]
    return sorted(path.relative_to(root) for path in found)


BLANKED = re.compile(
    r"""(?P<string>\"\"\"(?:\\.|[^\\])*?\"\"\"|'''(?:\\.|[^\\])*?'''"""
    r"""|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')|(?P<comment>\#[^\n]*)""",
    re.DOTALL,
)


def without_strings_and_comments(text: str) -> str:
    """Python or Cython with every string and comment blanked; lines stay where they are."""
    return BLANKED.sub(lambda match: re.sub(r"[^\n]", " ", match.group()), text)


# ------------------------------------------------------------------ sizes and headers


def long_lines(text: str) -> list[Complaint]:
    lines = enumerate(text.splitlines(), 1)
    return [(number, f"{len(line)} characters") for number, line in lines if len(line) > LINE_LIMIT]


def python_header_lines(text: str) -> int:
    """Lines with text in the module's docstring."""
    docstring = ast.get_docstring(ast.parse(text)) or ""
    return sum(bool(line.strip()) for line in docstring.splitlines())


def is_bare_package_file(path: Path, text: str) -> bool:
    """An `__init__.py` that holds nothing but its docstring."""
    return path.name == "__init__.py" and len(ast.parse(text).body) <= 1


COMMENT_BLOCK = re.compile(r"(?:(?:#(?!include|define|if|pragma)|//)[^\n]*\n?)*")


def comment_header_lines(text: str) -> int:
    """Lines with text in the comment or docstring that opens a Cython or C file."""
    directive = re.compile(r"#\s*(cython|distutils)\s*:")
    lines = [line for line in text.splitlines() if not directive.match(line)]
    body = "\n".join(lines).lstrip("\n")
    if body.startswith(('"""', "'''")):
        block = body[3:].split(body[:3], 1)[0]
    elif body.startswith("/*"):
        block = body[2:].split("*/", 1)[0]
    else:
        block = body[: COMMENT_BLOCK.match(body).end()]  # type: ignore[union-attr]
    return sum(bool(line.strip(" \t#*/")) for line in block.splitlines())


def header_lines(path: Path, text: str) -> int:
    return python_header_lines(text) if path.suffix in PYTHON else comment_header_lines(text)


# ------------------------------------------------------------------ functions

Function = tuple[str, int, int]  # name, first line, number of lines

CYTHON_FUNCTION = re.compile(
    r"^(?P<indent>[ ]*)(?:async\s+def|def|cpdef|cdef(?!\s+(?:class|struct|enum|union|extern)\b))"
    r"\b[^\n=(]*?(?P<name>\w+)\s*\("
)


def python_functions(text: str) -> Iterator[Function]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.name, node.lineno, (node.end_lineno or node.lineno) - node.lineno + 1


def cython_functions(text: str) -> Iterator[Function]:
    """By indentation: a function ends before the next line that is not further in than it."""
    lines = without_strings_and_comments(text).splitlines()
    raw = text.splitlines()
    for start, line in enumerate(lines):
        match = CYTHON_FUNCTION.match(line)
        if match is None:
            continue
        body = end_of_signature(lines, start)
        if body is None:
            continue
        indent = len(match["indent"])
        end = last = body
        # A docstring is blank by now and must not end the search, so the raw lines decide.
        while end + 1 < len(lines):
            end += 1
            if lines[end].strip():
                if len(lines[end]) - len(lines[end].lstrip()) <= indent:
                    break
                last = end
            elif raw[end].strip() and raw[end].startswith(" " * (indent + 1)):
                last = end
        yield match["name"], start + 1, last - start + 1


def end_of_signature(lines: list[str], start: int) -> int | None:
    """The line of the colon that opens the body; None for a declaration without one."""
    depth = 0
    for number in range(start, min(start + 40, len(lines))):
        depth += lines[number].count("(") - lines[number].count(")")
        if depth <= 0:
            return number if re.search(r":\s*(?:[^\s:].*)?$", lines[number]) else None
    return None


def c_functions(text: str) -> Iterator[Function]:
    """What stands between a brace that opens a body at the margin and the one that closes it."""
    start, name = None, ""
    for number, line in enumerate(text.splitlines(), 1):
        head = re.match(r"(?=[A-Za-z_]).*?\b(\w+)\s*\(", line)
        if start is None and head and not line.rstrip().endswith(";"):
            start, name = number, head[1]
        elif start is not None and line.startswith("}"):
            yield name, start, number - start + 1
            start = None
        elif start is not None and line.rstrip().endswith(";") and not line.startswith((" ", "\t")):
            start = None


def functions(path: Path, text: str) -> list[Function]:
    if path.suffix in PYTHON:
        return list(python_functions(text))
    return list(c_functions(text) if path.suffix in C else cython_functions(text))


# ------------------------------------------------------------------ names and words

NUMERIC_TAG = re.compile(r"\b([a-z_]*(?:type|kind|tag|state|mode))\s*(?:==|!=|=)\s*-?\d+\b(?!\.)")
UNDERSCORED = re.compile(
    r"(?:\b(?:def|class)\s+|\bcdef\s+[\w\s*\[\]]+?[\s*]|\bself\.)(__(?!kernel_)\w+)\b(?<!__)"
)
# Spelled so that this file does not match itself.
MACHINE_PATH = re.compile(r"(?<![\w.~)}*-])/(?:work|root|home|tmp)(?![\w.-])")


def numeric_tags(text: str) -> list[Complaint]:
    """A kind or state that is told by a bare number instead of by an enum."""
    return matches(NUMERIC_TAG, without_strings_and_comments(text), "a number as a tag")


def underscored_names(text: str) -> list[Complaint]:
    return matches(UNDERSCORED, without_strings_and_comments(text), "a name with two underscores")


def machine_paths(text: str) -> list[Complaint]:
    return matches(MACHINE_PATH, text, "a path of one machine")


def matches(pattern: re.Pattern[str], text: str, message: str) -> list[Complaint]:
    return [
        (text.count("\n", 0, match.start()) + 1, f"{message}: {match.group().strip()}")
        for match in pattern.finditer(text)
    ]


def is_alias_file(text: str) -> bool:
    """A Python module that only hands on what others define."""
    body = [node for node in ast.parse(text).body if not is_docstring(node)]
    handing_on = (ast.Import, ast.ImportFrom)
    rest = [node for node in body if not isinstance(node, handing_on) and not is_all(node)]
    return bool(body) and not rest


def is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def is_all(node: ast.stmt) -> bool:
    names = [ast.unparse(target) for target in getattr(node, "targets", [])]
    return isinstance(node, ast.Assign) and names == ["__all__"]


def star_imports(text: str) -> list[Complaint]:
    return [
        (node.lineno, "import *")
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.ImportFrom) and node.names[0].name == "*"
    ]
