"""Whether loopx has kept its ratio to the reference: a recorded report against fresh runs.

Owns the thresholds, which are made of the recorded ratios and of LEAST_SHARE alone, and what
becomes of each row. Pure functions: nothing is run, read or printed here. Whatever is not a
clean, sufficient ratio is not a pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from bench.loops import REFERENCE, SUBJECT
from bench.results import Failure, RowResult, summarize
from bench.tables import ratio_of

LEAST_SHARE = 0.9

Measured = Mapping[str, tuple[RowResult, list[Failure]]]


class Outcome(StrEnum):
    """What became of a row, as the table shows it."""

    KEPT = "kept"
    SLOWER = "SLOWER"
    UNDECIDED = "UNDECIDED"
    FAILED = "FAILED"
    UNMEASURED = "UNMEASURED"
    UNRECORDED = "not recorded"


PASSES = frozenset({Outcome.KEPT, Outcome.UNRECORDED})


@dataclass(frozen=True)
class Recorded:
    """A row's ratio to the reference as it was recorded."""

    ratio: float
    higher_is_better: bool

    @property
    def threshold(self) -> float:
        """The worst ratio that is still good enough."""
        return self.ratio * LEAST_SHARE if self.higher_is_better else self.ratio / LEAST_SHARE

    def is_kept_by(self, ratio: float) -> bool:
        """Return whether a measured ratio is good enough."""
        return ratio >= self.threshold if self.higher_is_better else ratio <= self.threshold

    def share_of(self, ratio: float) -> float:
        """Return how much of the recorded speed a measured ratio is: 1 is as fast as then."""
        return ratio / self.ratio if self.higher_is_better else self.ratio / ratio


@dataclass(frozen=True)
class Judgement:
    """What became of one row, and why where no figures tell it."""

    row: str
    outcome: Outcome
    measured: float | None = None
    recorded: Recorded | None = None
    reason: str = ""

    @property
    def is_pass(self) -> bool:
        """Whether the row stands in nobody's way."""
        return self.outcome in PASSES

    @property
    def share(self) -> float:
        """How much of the recorded speed was measured; for rows that have both figures."""
        assert self.recorded is not None and self.measured is not None
        return self.recorded.share_of(self.measured)

    def describe(self) -> str:
        """Return the row's name and what is wrong with it, as one sentence."""
        if self.reason:
            return f"{self.row}: {self.reason}"
        assert self.recorded is not None
        return (
            f"{self.row}: ratio to {REFERENCE} measured {self.measured:.3f}, recorded "
            f"{self.recorded.ratio:.3f}, threshold {self.recorded.threshold:.3f}"
        )


def recorded_ratios(report: dict[str, Any]) -> dict[str, Recorded]:
    """Return the recorded ratio of each row that has one.

    Raises ValueError if none has: a comparison with nothing would pass.
    """
    ratios = {}
    for row in report["rows"]:
        ratio = ratio_of(row, SUBJECT, row["metric"])
        if ratio is not None:
            ratios[row["name"]] = Recorded(ratio, row["higher_is_better"])
    if not ratios:
        raise ValueError(f"no row has a recorded ratio of {SUBJECT} to {REFERENCE}")
    return ratios


def judge(recorded: Mapping[str, Recorded], measured: Measured) -> list[Judgement]:
    """Judge every row that was recorded or measured, recorded ones first."""
    return [judge_row(name, recorded.get(name), measured) for name in {**recorded, **measured}]


def judge_row(name: str, recorded: Recorded | None, measured: Measured) -> Judgement:
    """Judge one row. A run that failed comes before any figure."""
    if name not in measured:
        return Judgement(name, Outcome.UNMEASURED, None, recorded, "recorded, but not measured")
    row, failures = measured[name]
    if failures:
        return Judgement(name, Outcome.FAILED, None, recorded, describe_failures(failures))
    ratios = summarize(row.runs).get(SUBJECT, {}).get("ratios", {})
    if row.row.metric not in ratios:
        why = "; ".join(f"{loop}: {gap}" for loop, gap in row.gaps.items()) or "a loop has no run"
        return Judgement(name, Outcome.UNMEASURED, None, recorded, f"no ratio measured: {why}")
    ratio = ratios[row.row.metric]["median"]
    if recorded is None:
        return Judgement(name, Outcome.UNRECORDED, ratio, None, "not recorded, so not judged")
    outcome = Outcome.KEPT if recorded.is_kept_by(ratio) else Outcome.SLOWER
    return Judgement(name, outcome, ratio, recorded)


def describe_failures(failures: Iterable[Failure]) -> str:
    """Return who failed, in which round, and how."""
    return "; ".join(
        f"{each.loop} failed in round {each.round + 1}: {each.reason}" for each in failures
    )
