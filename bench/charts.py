"""Draws stored results as PNG files.

Owns the look of the charts: one colour for a loop everywhere, whiskers from minimum to maximum,
a line where the reference stands. Draws without a display. Nothing is computed here that the
stored report does not hold.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot  # noqa: E402  (the backend must be chosen before)
from matplotlib.axes import Axes  # noqa: E402

from bench.loop_colours import colour  # noqa: E402
from bench.loops import REFERENCE  # noqa: E402
from bench.rows import SERVED_GROUPS  # noqa: E402
from bench.tables import loops_of, rows_of  # noqa: E402

DOTS_PER_INCH = 130
DEMO_PANELS = (
    ("requests_per_second", "requests/s (more is better)"),
    ("cpu_us_per_request", "CPU per request, us (less is better)"),
    ("p99_us", "latency p99, us (less is better)"),
)

Json = dict[str, Any]


def write_charts(report: Json, folder: Path) -> list[Path]:
    """Draw a chart for each group of rows in the report; return the files written."""
    written = []
    if rows := rows_of(report, ["demo"]):
        written.append(draw_demo(rows, folder / f"{report['name']}.png"))
    for group in (*SERVED_GROUPS, "micro", "memory"):
        rows = [row for row in rows_of(report, [group]) if REFERENCE in row["summary"]]
        if rows:
            written.append(draw_ratios(rows, group, folder / f"{report['name']}-{group}.png"))
    return written


def draw_ratios(rows: list[Json], group: str, path: Path) -> Path:
    """Draw for each row the ratio of its headline figure to the reference, a dot for each loop."""
    figure, axes = pyplot.subplots(figsize=(9, 1.6 + 0.36 * len(rows)), layout="constrained")
    for loop in loops_of(rows):
        places, middles, below, above = [], [], [], []
        for place, row in enumerate(rows):
            ratio = row["summary"].get(loop, {}).get("ratios", {}).get(row["metric"])
            if ratio is not None:
                places.append(place)
                middles.append(ratio["median"])
                below.append(ratio["median"] - ratio["min"])
                above.append(ratio["max"] - ratio["median"])
        if loop == REFERENCE:
            axes.axvline(1.0, color=colour(loop), linewidth=1.5, label=loop)
        elif middles:
            axes.errorbar(middles, places, xerr=[below, above], fmt="o", markersize=5,
                          elinewidth=0.8, color=colour(loop), label=loop)
    if group in ("micro", "memory"):
        axes.set_xscale("log")
    better = "more" if rows[0]["higher_is_better"] else "less"
    axes.set_xlabel(f"{rows[0]['unit']} as a ratio to {REFERENCE}, median, min to max "
                    f"({better} is better)")
    axes.set_yticks(range(len(rows)), [row["title"] for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.grid(axis="both", linewidth=0.3)
    figure.legend(loc="outside upper center", ncols=6, frameon=False)
    figure.savefig(path, dpi=DOTS_PER_INCH)
    pyplot.close(figure)
    return path


def draw_demo(rows: list[Json], path: Path) -> Path:
    """Draw requests, CPU and latency of the demo's routes, a bar for each loop."""
    figure, panels = pyplot.subplots(1, len(DEMO_PANELS), figsize=(13, 4.2), layout="constrained")
    for axes, (metric, title) in zip(panels, DEMO_PANELS, strict=True):
        draw_bars(axes, rows, metric)
        axes.set_title(title, fontsize=10)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
    figure.savefig(path, dpi=DOTS_PER_INCH)
    pyplot.close(figure)
    return path


def draw_bars(axes: Axes, rows: list[Json], metric: str) -> None:
    """Draw one figure: a group of bars for each row, with the medians written on them."""
    loops = loops_of(rows)
    width = 0.8 / len(loops)
    for index, loop in enumerate(loops):
        present = [(place, row) for place, row in enumerate(rows) if loop in row["summary"]]
        spreads = [row["summary"][loop]["figures"][metric] for _, row in present]
        middles = [spread["median"] for spread in spreads]
        centres = [place + (index - (len(loops) - 1) / 2) * width for place, _ in present]
        whiskers = [
            [each["median"] - each["min"] for each in spreads],
            [each["max"] - each["median"] for each in spreads],
        ]
        axes.bar(centres, middles, width, yerr=whiskers, error_kw={"elinewidth": 0.8},
                 color=colour(loop), label=loop)
        for centre, value in zip(centres, middles, strict=True):
            axes.annotate(f"{value:,.0f}", (centre, 0), (0, 4), textcoords="offset points",
                          ha="center", fontsize=8, color="white")
    axes.set_xticks(range(len(rows)), [row["title"] for row in rows])
    axes.grid(axis="y", linewidth=0.3)
    axes.set_axisbelow(True)
