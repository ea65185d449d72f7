"""Counted instructions: what a dump says, and that loopx's hot paths take no more than recorded.

Owns the comparison with bench/results/instructions.json.  Every workload runs under valgrind in a
child process, for 20 s in all; the machine's other work changes no figure.  Must not compare what
another interpreter, compiler or architecture counted.
"""

import shutil

import pytest

pytest.importorskip("rich")

from bench import instructions  # noqa: E402
from bench.paths import RESULTS  # noqa: E402
from bench.results import command_output, load  # noqa: E402
from bench.workloads import CALIBRATION, WORKLOADS  # noqa: E402

ALLOWED = 1.05
# Equal interpreters differ by 0.5% in plain Python, builds of other compilers or versions by more.
SAME_INTERPRETER = 0.02
KINDS = tuple(kind for kind in WORKLOADS if kind != CALIBRATION)

DUMP = """\
version: 1
desc: Trigger: Client Request: echo-1:512
events: Ir

ob=/usr/lib/libpython3.13.so.1.0
fl=???
fn=_PyEval_EvalFrameDefault
0 100
cob=/usr/lib/libc.so.6
cfi=???
cfn=malloc
calls=3 0
0 7000
0 20

ob=/usr/lib/libc.so.6
fl=???
fn=malloc
0 50
cfn=calloc
calls=2 0
0 10

ob=/site-packages/loopx/_core.cpython-313-x86_64-linux-gnu.so
fn=turn
0 8
totals: 178
"""


def test_what_a_dump_says():
    dump = instructions.read_dump(DUMP)
    assert dump.name == "echo-1:512"
    assert dump.instructions == {"python": 120, "libc": 50, "loop": 8}
    assert dump.allocations == 3, "an allocator that asks another one counts once"


def test_beginning_and_ending_cancel():
    other = DUMP.replace(":512", ":1024").replace("0 8\n", "0 5128\n").replace("calls=3", "calls=4")
    dumps = {dump.name: dump for dump in map(instructions.read_dump, (DUMP, other))}
    done = {"operations": 512, "turns:512": 10, "turns:1024": 522}
    figures = instructions.per_operation("echo-1", done, dumps)
    assert figures["instructions"] == figures["loop"] == 10
    assert figures["allocations"] == 1 / 512 and figures["turns"] == 1


def recorded():
    """What was recorded for such an interpreter, compiler and architecture; else skips."""
    if shutil.which("valgrind") is None:
        pytest.skip("valgrind is missing")
    report = load(RESULTS / "instructions.json")
    then, now = report["parameters"]["interpreter"], instructions.interpreter()
    if then != now:
        pytest.skip(f"recorded with {then}, this is {now}")
    then, now = report["versions"]["gcc"], command_output("gcc", "-dumpfullversion")
    if then.split(".")[0] != now.split(".")[0]:
        pytest.skip(f"recorded with gcc {then}, this is {now}")
    return {
        row["kind"]: row["summary"]["loopx"]["figures"]["instructions"]["median"]
        for row in report["rows"]
    }


@pytest.mark.time_limit(240)
def test_no_more_instructions_than_recorded():
    before = recorded()

    def more_than_allowed(kinds):
        counted = instructions.count([CALIBRATION, *kinds], "loopx")
        now = {kind: figures["instructions"] for kind, figures in counted.items()}
        plain = now[CALIBRATION] / before[CALIBRATION]
        if abs(plain - 1) > SAME_INTERPRETER:
            pytest.skip(f"another interpreter: plain Python takes {plain:.3f} times as many")
        return {kind: now[kind] for kind in kinds if now[kind] > before[kind] * ALLOWED}

    excess = more_than_allowed(KINDS)
    if excess:  # where the kernel delivers late, under load, the loop turns more often
        excess = more_than_allowed(list(excess))
    assert not [
        f"{kind}: {count:,.0f} instructions, recorded {before[kind]:,.0f}"
        for kind, count in excess.items()
    ]
