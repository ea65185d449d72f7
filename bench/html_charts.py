"""The charts of the HTML report, as Vega-Lite specifications that the browser draws.

Owns their look; the colours are those of ``bench.charts``' PNG files. Nothing is computed here that
the stored report or ``bench.leads`` does not hold. No file is read or written.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import altair as alt

from bench.leads import FIGURES, Lead
from bench.loop_colours import colour
from bench.loops import REFERENCE
from bench.rows import SERVED_GROUPS
from bench.tables import loops_of, mark_if_saturated, number, rows_of

WIDTH = 760
HALF_WIDTH = 350
LINE = 9  # height of one loop's line within a row, in pixels
PARTS = {"kernel": "#4c78a8", "loop": "#d62728", "libc": "#f58518", "rest": "#bab0ac"}
DEMO_METRICS = ("requests_per_second", "cpu_us_per_request", "p99_us")
RATIOS_SHOWN = 0.4, 2.5
SERVER, LOAD = "the server", "the load generator"

Json = dict[str, Any]
Chart = alt.LayerChart | alt.FacetChart | alt.HConcatChart | alt.VConcatChart | alt.Chart


def charts_of(report: Json, group: str) -> Chart | None:
    """Return the chart of a group of rows (a table's name), or None for a table without one."""
    groups = SERVED_GROUPS if group == "latency" else (group,)
    rows = [row for row in rows_of(report, groups) if row["summary"]]
    if not rows:
        return None
    match group:
        case _ if group in SERVED_GROUPS:
            return styled(alt.hconcat(
                ratio_chart(rows, "requests_per_second", HALF_WIDTH, "linear", "more"),
                ratio_chart(rows, "cpu_us_per_request", HALF_WIDTH, "linear", "less", False),
            ))
        case "latency":
            return styled(latency_chart(rows))
        case "micro":
            return styled(ratio_chart(rows, rows[0]["metric"], WIDTH, "log", "less"))
        case "memory":
            return styled(bar_panels([(row, row["metric"]) for row in rows], alt.vconcat))
        case "demo":
            return styled(alt.vconcat(*(
                bar_panels([(row, metric) for metric in DEMO_METRICS], alt.hconcat)
                for row in rows
            )))
        case "profile":
            return styled(profile_chart(rows))
        case "instructions":
            return styled(ratio_chart(rows, "instructions", WIDTH, "log", "less"))
        case "instructions-parts" | "idle":
            return None  # the tables say it all
    raise ValueError(f"there is no chart for {group}")


def styled(chart: Chart) -> Chart:
    """Return the chart with what all have in common."""
    finished: Chart = (
        chart.configure(font="system-ui, sans-serif")  # First: it would undo the others.
        .configure_axis(labelLimit=420, titleFontWeight="normal", gridOpacity=0.5)
        .configure_view(stroke="#ddd")
        .configure_legend(orient="top", columns=8, title=None, symbolType="circle")
    )
    return finished


def loop_scale(loops: list[str]) -> alt.Scale:
    """Return one colour for each loop, the same in every chart."""
    return alt.Scale(domain=loops, range=[colour(loop) for loop in loops])


def picked(loops: list[str]) -> tuple[alt.Parameter, alt.Color, Any]:
    """Return a selection by the legend, the colours with that legend, and how faint the rest is."""
    selection = alt.selection_point(name="picked", fields=["loop"], bind="legend")
    colours = alt.Color("loop:N", scale=loop_scale(loops))
    return selection, colours, alt.when(selection).then(alt.value(1)).otherwise(alt.value(0.12))


def ratio_values(rows: list[Json], metric: str) -> list[Json]:
    """Return one value for each row and loop: the ratio of a figure to the reference's."""
    values = []
    for row in rows:
        for loop in loops_of([row]):
            ratio = row["summary"].get(loop, {}).get("ratios", {}).get(metric)
            if ratio is not None and loop != REFERENCE:
                figure = row["summary"][loop]["figures"][metric]["median"]
                bound = LOAD if mark_if_saturated(row, loop) else SERVER
                values.append({"row": row["title"], "loop": loop, "bound": bound, **ratio,
                               "figure": number(figure)})
    return values


def near_one(values: list[Json]) -> alt.Scale:
    """Return a scale for ratios; one loop that is many times slower must not squeeze the rest."""
    low = max(RATIOS_SHOWN[0], min(value["min"] for value in values))
    high = min(RATIOS_SHOWN[1], max(value["max"] for value in values))
    return alt.Scale(domain=[low - 0.05, high + 0.05], clamp=True, nice=False)


def ratio_chart(
    rows: list[Json], metric: str, width: int, scale: str, better: str, named: bool = True
) -> Chart:
    """Return dots with whiskers from minimum to maximum; the reference is a line at 1."""
    loops = [loop for loop in loops_of(rows) if loop != REFERENCE]
    selection, colours, opacity = picked(loops)
    title = f"{FIGURES[metric].partition(',')[0]} as a ratio to {REFERENCE}: {better} is better"
    values = ratio_values(rows, metric)
    x_scale = alt.Scale(type="log", padding=12) if scale == "log" else near_one(values)
    y = alt.Y("row:N", sort=None, title=None,
              axis=alt.Axis() if named else alt.Axis(labels=False, ticks=False))
    offset = alt.YOffset("loop:N", sort=loops)
    base = alt.Chart(alt.InlineData(values=values)).encode(
        y=y, yOffset=offset, color=colours, opacity=opacity,
        tooltip=["row:N", "loop:N", alt.Tooltip("median:Q", format=".3f", title="ratio"),
                 alt.Tooltip("min:Q", format=".3f"), alt.Tooltip("max:Q", format=".3f"),
                 alt.Tooltip("figure:N", title=FIGURES[metric]),
                 alt.Tooltip("bound:N", title="bounded by")],
    )
    dots = base.mark_point(filled=True, size=46).encode(
        x=alt.X("median:Q", title=title, scale=x_scale),
        shape=alt.Shape("bound:N", legend=None,
                        scale=alt.Scale(domain=[SERVER, LOAD], range=["circle", "cross"])),
    )
    if named:  # One selection serves both halves.
        dots = dots.add_params(selection)
    whiskers = base.mark_rule(strokeWidth=1.2).encode(
        x=alt.X("min:Q", title=title, scale=x_scale), x2="max:Q"
    )
    line = alt.Chart(alt.InlineData(values=[{"reference": 1}])).mark_rule(
        color=colour(REFERENCE), strokeDash=[5, 3]
    ).encode(x=alt.X("reference:Q", title=title, scale=x_scale))
    height = alt.Step(LINE, **{"for": "offset"})
    return alt.layer(line, whiskers, dots).properties(width=width, height=height)


def latency_chart(rows: list[Json]) -> Chart:
    """Return for each loop a line from the median to the 99th percentile."""
    loops = loops_of(rows)
    selection, colours, opacity = picked(loops)
    values = []
    for row in rows:
        for loop in loops_of([row]):
            figures = row["summary"].get(loop, {}).get("figures", {})
            if "p50_us" in figures and "p99_us" in figures:
                values.append({"row": row["title"], "loop": loop,
                               **{name: figures[name]["median"] for name in ("p50_us", "p99_us")}})
    title = "latency, us: p50 (dot) to p99 (end of the line); less is better"
    x_scale = alt.Scale(type="log", padding=12)
    base = alt.Chart(alt.InlineData(values=values)).encode(
        y=alt.Y("row:N", sort=None, title=None), yOffset=alt.YOffset("loop:N", sort=loops),
        color=colours, opacity=opacity,
        x=alt.X("p50_us:Q", title=title, scale=x_scale),
        tooltip=["row:N", "loop:N", alt.Tooltip("p50_us:Q", format=",.1f"),
                 alt.Tooltip("p99_us:Q", format=",.1f")],
    )
    lines = base.mark_rule(strokeWidth=2.5).encode(x2="p99_us:Q")
    dots = base.mark_point(filled=True, size=46).add_params(selection)
    height = alt.Step(LINE, **{"for": "offset"})
    return alt.layer(lines, dots).properties(width=WIDTH, height=height)


def bar_panels(panels: list[tuple[Json, str]], join: Callable[..., Chart]) -> Chart:
    """Return for each pair of a row and a figure a panel of bars, a bar for each loop."""
    drawn: list[Chart] = []
    for row, metric in panels:
        values = [
            {"loop": loop, "figure": figure["median"], "least": figure["min"],
             "most": figure["max"], "text": number(figure["median"])}
            for loop in loops_of([row])
            if (figure := row["summary"].get(loop, {}).get("figures", {}).get(metric))
        ]
        better = "more" if metric == "requests_per_second" else "less"
        loops = [value["loop"] for value in values]
        y = alt.Y("loop:N", sort=loops, title=None)
        base = alt.Chart(alt.InlineData(values=values)).encode(
            y=y, tooltip=["loop:N", alt.Tooltip("text:N", title="median"),
                          alt.Tooltip("least:Q", format=",.2f", title="min"),
                          alt.Tooltip("most:Q", format=",.2f", title="max")],
        )
        bars = base.mark_bar().encode(
            x=alt.X("figure:Q", title=f"{FIGURES[metric]} ({better} is better)"),
            color=alt.Color("loop:N", scale=loop_scale(loops), legend=None),
        )
        whiskers = base.mark_rule().encode(x="least:Q", x2="most:Q")
        texts = base.mark_text(align="left", baseline="middle", dx=4, dy=-7, fontSize=10).encode(
            x="figure:Q", text="text:N"
        )
        width = WIDTH if join is alt.vconcat else 220
        drawn.append(alt.layer(bars, whiskers, texts).properties(
            width=width, height=alt.Step(26), title=row["title"]
        ))
    return join(*drawn)


def profile_chart(rows: list[Json]) -> Chart:
    """Return bars of a request's CPU time, stacked by where it goes."""
    values = [
        {"row": f"{row['title']}: {loop}", "part": part, "order": order,
         "us": row["summary"][loop]["figures"][f"{part}_us"]["median"]}
        for row in rows
        for loop in loops_of([row])
        if loop in row["summary"]
        for order, part in enumerate(PARTS)
    ]
    chart: Chart = alt.Chart(alt.InlineData(values=values)).mark_bar().encode(
        y=alt.Y("row:N", sort=None, title=None),
        x=alt.X("us:Q", title="CPU per request, us (less is better)"),
        color=alt.Color("part:N", scale=alt.Scale(domain=list(PARTS), range=[*PARTS.values()])),
        order="order:Q", tooltip=["row:N", "part:N", alt.Tooltip("us:Q", format=".2f")],
    ).properties(width=WIDTH, height=alt.Step(28))
    return chart


def lead_chart(leads: list[Lead]) -> Chart:
    """Return a bar from 1 to each lead's ratio, with whiskers; the greatest comes first."""
    several = len({lead.run for lead in leads}) > 1
    values = [
        {"lead": f"{lead.row} ({lead.run}): {lead.rival}" if several
                 else f"{lead.row}: {lead.rival}",
         "loop": lead.rival, "level": 1, "ratio": lead.greatest, "least": lead.least,
         "most": lead.most, "rounds": f"{lead.rounds_ahead} of {lead.rounds}"}
        for lead in leads
        if math.isfinite(lead.most)
    ]
    loops = sorted({lead.rival for lead in leads})
    scale = alt.Scale(type="log", nice=False)
    base = alt.Chart(alt.InlineData(values=values)).encode(
        y=alt.Y("lead:N", sort=None, title=None),
        tooltip=["lead:N", alt.Tooltip("ratio:Q", format=".3f"),
                 alt.Tooltip("least:Q", format=".3f"), alt.Tooltip("most:Q", format=".3f"),
                 alt.Tooltip("rounds:N", title="rounds ahead")],
    )
    bars = base.mark_bar().encode(
        x=alt.X("level:Q", scale=scale, title="times better than loopx, min to max"),
        x2="ratio:Q", color=alt.Color("loop:N", scale=loop_scale(loops)),
    )
    whiskers = base.mark_rule().encode(x=alt.X("least:Q", scale=scale), x2="most:Q")
    return styled(alt.layer(bars, whiskers).properties(width=WIDTH - 100, height=alt.Step(18)))
