"""Profiles: every object of a process counts for one part, and no part is invented.

Owns: what perf's listing becomes.  perf itself is not run.  Thread: the test's own.
"""

import pytest

pytest.importorskip("rich")

from bench import profile  # noqa: E402
from bench.processes import RunError  # noqa: E402

LISTING = """\
# Overhead  Shared Object
# ........  ....................................
#
    60.00%  libpython3.13.so.1.0
    20.00%  [kernel.kallsyms]
    15.00%  _core.cpython-313-x86_64-linux-gnu.so
     4.00%  libc.so.6
     1.00%  _http_parser.cpython-313-x86_64-linux-gnu.so
"""


def test_shares(monkeypatch, tmp_path):
    monkeypatch.setattr(profile, "run_pinned", lambda *_: LISTING)
    assert profile.shares_of(tmp_path, "loopx") == pytest.approx(
        {"kernel": 0.2, "loop": 0.15, "libc": 0.04, "rest": 0.61}
    )
    assert profile.shares_of(tmp_path, "uvloop")["loop"] == 0


def test_an_empty_listing_is_an_error(monkeypatch, tmp_path):
    monkeypatch.setattr(profile, "run_pinned", lambda *_: "# Overhead  Shared Object\n")
    with pytest.raises(RunError, match="no shares"):
        profile.shares_of(tmp_path, "loopx")


COUNTED = """\
151120,,raw_syscalls:sys_enter,655444471,100.00,230.561,K/sec
303,,context-switches,655444471,100.00,462.282,/sec
655.44,msec,task-clock,655444471,100.00,0.481,CPUs utilized
"""


def test_counts_are_of_an_operation():
    counts = profile.counts_of(COUNTED, cpu_us=13.0)
    assert counts == pytest.approx({"system_calls": 2.9973, "sleeps": 0.0060097}, rel=1e-4)


@pytest.mark.parametrize("listing", ["", COUNTED.replace("151120", "<not supported>")])
def test_what_was_not_counted_is_an_error(listing):
    with pytest.raises(RunError, match="counted nothing"):
        profile.counts_of(listing, cpu_us=13.0)


def test_only_rows_with_a_server_and_sleep_0_have_a_profile():
    for name in profile.DEFAULT_ROWS:
        assert profile.profile_row(name).group == "profile"
    with pytest.raises(ValueError, match="has no server"):
        profile.profile_row("micro-future-wakeup")
