"""The style is a test: headers, sizes, names, layers, and words that do not belong here.

Applies the rules of tests/support/tidy_rules.py and tidy_layers.py to every file written by hand,
and shows on small bad examples that each rule can fail.  What must be larger than the limit
stands in a ratchet below with its reason; the figure may only go down.
"""

from tests.support import tidy_layers as layers
from tests.support import tidy_rules as rules
from tests.support.children import ROOT

# path: (lines, why it is one concept all the same)
LONG_FILES = {
    "loopx/io/ring_engine.pxi": (454, "one ring: what it is given, waits for and gives back"),
    "loopx/_core.pyi": (615, "one stub for the one extension, with its docstrings"),
}
# "path:function": (lines, why it is not cut up)
LONG_FUNCTIONS: dict[str, tuple[int, str]] = {}
# "file names name, which is defined below it": why it may.
FORWARD_NAMES = {
    "sched/handles.pxi names Scheduler, which is defined below it": "a handle's own loop",
    "sched/calls.pxi names Scheduler, which is defined below it": "whose queue they stand in",
}
# How far below its figure in a ratchet something may be before the figure must follow.
SLACK_LINES = 60

SOURCES = rules.project_files(ROOT, rules.SOURCES)
TEXTS = rules.project_files(ROOT, rules.TEXTS, rules.NAMED_TEXTS)
PYTHON = [path for path in SOURCES if path.suffix in rules.PYTHON]
LOOPX = [path for path in SOURCES if path.parts[0] == "loopx"]


def read(path):
    return (ROOT / path).read_text(encoding="utf-8")


def all_complaints(paths, rule):
    return [f"{path}:{line}: {message}" for path in paths for line, message in rule(read(path))]


def require(complaints):
    """Nothing to complain of; all of it in full where there is."""
    assert not complaints, "\n".join(["", *complaints])


def test_the_files_are_found():
    names = {str(path) for path in SOURCES}
    assert {"setup.py", "tests/test_tidy.py", "loopx/__init__.py", "loopx/_core.pyx"} <= names
    assert len(LOOPX) > 20
    assert "Makefile" in {str(path) for path in TEXTS}


def test_every_file_opens_with_what_it_is():
    complaints = []
    for path in SOURCES:
        text = read(path)
        least = 1 if path.suffix == ".py" and rules.is_bare_package_file(path, text) else 2
        if rules.header_lines(path, text) < least:
            complaints.append(f"{path}: no header")
    require(complaints)


def test_lines_are_short():
    require(all_complaints(SOURCES, rules.long_lines))


def test_files_are_short():
    complaints = []
    for path in SOURCES:
        length = read(path).count("\n")
        limit, _ = LONG_FILES.get(str(path), (rules.FILE_LIMIT, ""))
        if length > limit:
            complaints.append(f"{path} has {length} lines, {limit} allowed")
    require(complaints)


def test_functions_are_short():
    complaints = []
    for path in SOURCES:
        for name, line, length in rules.functions(path, read(path)):
            limit, _ = LONG_FUNCTIONS.get(f"{path}:{name}", (rules.FUNCTION_LIMIT, ""))
            if length > limit:
                complaints.append(f"{path}:{line}: {name} has {length} lines")
    require(complaints)


def test_the_ratchets_only_go_down():
    stale = []
    for name, (limit, _) in LONG_FILES.items():
        length = read(name).count("\n") if (ROOT / name).exists() else 0
        if length <= rules.FILE_LIMIT or length < limit - SLACK_LINES:
            stale.append(f"{name} has {length} lines")
    for name, (limit, _) in LONG_FUNCTIONS.items():
        path, function = name.split(":")
        found = rules.functions(ROOT / path, read(path))
        lengths = [length for other, _, length in found if other == function]
        if not lengths or max(lengths) <= rules.FUNCTION_LIMIT:
            stale.append(f"{name}: {lengths}")
    require(stale)


def test_tags_are_enums_and_names_are_plain():
    paths = [path for path in LOOPX if path.suffix not in rules.C]
    require(all_complaints(paths, rules.numeric_tags))
    require(all_complaints(paths, rules.underscored_names))


def test_nothing_is_imported_by_star():
    require(all_complaints(PYTHON, rules.star_imports))


def test_no_module_only_hands_on():
    names = [path for path in LOOPX if path.suffix == ".py" and path.name != "__init__.py"]
    assert [str(path) for path in names if rules.is_alias_file(read(path))] == []


def test_no_path_of_one_machine():
    require(all_complaints(TEXTS, rules.machine_paths))


# ------------------------------------------------------------------ layers

CORE = "loopx/_core.pyx"


def native_files():
    """The include list, in order, as (path below loopx/, text)."""
    return [(name, read(f"loopx/{name}")) for name in layers.included(read(CORE))]


def test_the_include_list_goes_up():
    require(layers.misplaced_includes(layers.included(read(CORE))))


def test_the_include_list_is_complete():
    present = {str(path.relative_to("loopx")) for path in LOOPX if path.suffix == ".pxi"}
    listed = layers.included(read(CORE))
    assert sorted(listed) == sorted(present)


def test_native_files_name_only_what_stands_above():
    complaints = layers.forward_names(native_files())
    require([text for text in complaints if text not in FORWARD_NAMES])
    require([f"stale: {text}" for text in FORWARD_NAMES if text not in complaints])


def test_native_files_import_only_downwards():
    native = [path for path in LOOPX if path.suffix in (".pxi", ".pxd")]
    complaints = []
    for path in native:
        complaints += layers.bad_native_imports(str(path.relative_to("loopx")), read(path))
    require(complaints)


def python_graph():
    paths = [path for path in LOOPX if path.suffix == ".py" and path.name != "_liburing_build.py"]
    names = {path: ".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in paths}
    return {
        name: layers.imported_modules(read(path), names.values()) for path, name in names.items()
    }


def test_python_modules_import_only_downwards():
    complaints = []
    for module, imports in python_graph().items():
        complaints += layers.bad_python_imports(module, imports)
    require(complaints)


def test_python_modules_import_in_no_circle():
    below = {name: imports for name, imports in python_graph().items() if name not in layers.TOP}
    assert layers.cycles(below) == []
