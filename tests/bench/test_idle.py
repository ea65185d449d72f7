"""How `python -m bench.idle` shares connections out where descriptors are few.

Owns: the plan alone. Nothing is measured. Thread: the test's own.
"""

import sys

import pytest

from bench import idle


@pytest.mark.parametrize(
    ("descriptors", "servers", "title"),
    [(200_000, 1, "1,000 idle connections"), (1_128, 1, "1,000 idle connections"),
     (1_127, 2, "1,000 idle connections of 2 servers"),
     (228, 10, "1,000 idle connections of 10 servers")],
)
def test_as_many_servers_as_it_takes(monkeypatch, descriptors, servers, title):
    monkeypatch.setattr(idle, "descriptor_limit", lambda: descriptors)
    row = idle.idle_row(1_000)
    assert (row.parameters["servers"], row.title) == (servers, title)


def test_shares_are_of_all():
    assert idle.shares(10, 4) == [4, 4, 2]
    assert idle.shares(8, 4) == [4, 4]


@pytest.mark.parametrize("descriptors", [128, 20])
def test_too_few_descriptors(monkeypatch, capsys, descriptors):
    monkeypatch.setattr(idle, "descriptor_limit", lambda: descriptors)
    monkeypatch.setattr(sys, "argv", ["idle"])
    with pytest.raises(SystemExit):
        idle.main()
    assert f"{descriptors} descriptors (`ulimit -Hn`) are too few" in capsys.readouterr().err
