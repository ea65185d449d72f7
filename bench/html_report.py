"""Writes ``bench/report.html``: one file with everything recorded, which opens with the losses.

``python -m bench.html_report`` takes every ``bench/results/*.json`` (tries left out), or those
named. The file holds its scripts itself and its policy forbids any network. Owns the choice of what
is shown and its order; tables come from ``bench.tables``, charts from ``bench.html_charts``, the
page itself from ``report.jinja``.
"""

from __future__ import annotations

import argparse
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import altair
import jinja2
import vl_convert

from bench import targets
from bench.html_charts import charts_of, lead_chart
from bench.leads import FIGURES, Lead, absences, comparisons, leads_of
from bench.loops import REFERENCE, SUBJECT
from bench.paths import BENCH, RESULTS, ROOT
from bench.report import find_results
from bench.results import load
from bench.rows import SERVED_GROUPS
from bench.tables import Table, describe_rounds, describe_run, make_tables, number

DEFAULT_OUTPUT = BENCH / "report.html"
TEMPLATE = "report.jinja"
TRIES = re.compile(r"tr[iy]")  # bench/.gitignore knows them as well
FIRST_GROUPS = ("demo", *SERVED_GROUPS, "micro", "memory", "profile", "idle", "instructions")

Json = dict[str, Any]


@dataclass(frozen=True)
class Section:
    """One table with its chart, if it has any figure to draw."""

    anchor: str
    table: Table
    has_chart: bool


def stored_reports(names: list[str]) -> list[Json]:
    """Read the reports named, or all that were recorded, in the order in which they are shown.

    Raises OSError or ValueError for one that cannot be read, and ValueError if there is none.
    """
    paths = [find_results(name) for name in names] or [
        path for path in RESULTS.glob("*.json") if not TRIES.match(path.name)
    ]
    reports = [load(path) for path in paths]
    if not any(report["rows"] for report in reports):
        raise ValueError("nothing was recorded: see bench/README.md")
    return sorted(reports, key=place_of)


def place_of(report: Json) -> tuple[int, str]:
    """Return where a report stands among others: by its first group, then by name."""
    places = [FIRST_GROUPS.index(row["group"]) for row in report["rows"]]
    return min(places, default=len(FIRST_GROUPS)), str(report["name"])


def versus(leads: list[Lead], own: bool) -> list[Json]:
    """Return the leads as the page's tables show them."""
    return [
        {"lead": lead, "figure": FIGURES[lead.metric], "ratio": f"{lead.ratio:.2f}",
         "of_tables": "-" if lead.ratio_of_tables is None else f"{lead.ratio_of_tables:.2f}",
         "spread": f"{lead.least:.2f} to {lead.most:.2f}",
         "rounds": f"{lead.rounds_ahead} of {lead.rounds}",
         "own": number(lead.own_figure), "others": number(lead.rival_figure),
         "is_reference": lead.rival == REFERENCE}
        for lead in leads
        if lead.is_headline is own
    ]


def surroundings(report: Json) -> list[tuple[str, str]]:
    """Return where, when, with what and how a report was taken, as names and values."""
    machine, git = report["machine"], report["git"]
    absent = "; ".join(f"{name}: {reason}" for name, reason in report["absent"].items())
    disturbed = f"{report['runs_on_busy_machine']} of {report['runs']}"
    return [
        ("date", report["date"]),
        ("commit", git["commit"] + (" with changes" if git["modified"] else "")),
        ("command", report["command"].strip()),
        ("rounds", describe_rounds(report)),
        ("processor", f"{machine['cpu']}, {machine['cores']} cores"),
        ("memory", f"{machine['memory_mib']:,} MiB"),
        ("kernel", f"Linux {machine['kernel']}, TCP {machine['tcp_congestion_control']}"),
        ("versions", ", ".join(f"{name.removeprefix('loop ')} {version}"
                               for name, version in report["versions"].items())),
        ("loops that are absent", absent or "none"),
        ("disturbed runs", f"{disturbed} (other processes used over a tenth of a core, "
                           "or the cores shared no cache)"),
        ("complete", "yes" if report["complete"] else "no: it was interrupted"),
    ]


def sections_of(report: Json, charts: dict[str, Json]) -> list[Section]:
    """Return the report's tables with their charts, which are added to ``charts``."""
    sections = []
    for table in make_tables(report):
        anchor = f"{report['name']}-{table.name}"
        chart = charts_of(report, table.name)
        if chart is not None:
            charts[f"chart-{anchor}"] = chart.to_dict()
        sections.append(Section(anchor, table, chart is not None))
    return sections


def script_library() -> str:
    """Return Vega, Vega-Lite and vega-embed as one script that may stand in a page."""
    version = ".".join(altair.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
    bundle = vl_convert.javascript_bundle(None, vl_version=version)  # type: ignore[arg-type]
    return re.sub(r"</(?=script)", r"<\\/", bundle, flags=re.IGNORECASE)


def render(reports: list[Json]) -> str:
    """Return the page."""
    leads = sorted((lead for report in reports for lead in leads_of(report)),
                   key=lambda lead: (lead.rival != REFERENCE, -lead.greatest))
    loops, limits = ([lead for lead in leads if lead.is_limit is kind] for kind in (False, True))
    headlines = [lead for lead in loops if lead.is_headline]
    charts: dict[str, Json] = {}
    if headlines:
        charts["chart-leads"] = lead_chart(headlines).to_dict()
    shown = [
        {"report": report, "description": describe_run(report),
         "sections": sections_of(report, charts), "surroundings": surroundings(report)}
        for report in reports
    ]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(BENCH), autoescape=True, trim_blocks=True,
        lstrip_blocks=True, undefined=jinja2.StrictUndefined, keep_trailing_newline=True,
    )
    return environment.get_template(TEMPLATE).render(
        subject=SUBJECT, reference=REFERENCE, reports=shown, charts=charts,
        headlines=versus(loops, True), others=versus(loops, False),
        limits=versus(limits, True),
        behind_reference=sum(lead.rival == REFERENCE for lead in headlines),
        comparisons=sum(comparisons(report) for report in reports),
        targets_header=targets.header(),
        missed=[each for report in reports for each in targets.missed(report)],
        absences=[each for report in reports for each in absences(report)],
        failures=[(report["name"], each) for report in reports for each in report["failures"]],
        library=script_library(),
    )


def main() -> int:
    """Write the page; return 0, or 2 if there is nothing that can be shown."""
    parser = argparse.ArgumentParser(prog="python -m bench.html_report", description=main.__doc__)
    parser.add_argument("results", nargs="*", metavar="NAME",
                        help="JSON files or NAMEs of bench/results/NAME.json (default: all)")
    parser.add_argument("--output", type=Path, default=DEFAULT_OUTPUT, metavar="FILE",
                        help="default: bench/report.html")
    arguments = parser.parse_args()
    try:
        page = render(stored_reports(arguments.results))
        arguments.output.write_text(page)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    path = arguments.output.resolve()
    print(f"wrote {path.relative_to(ROOT) if path.is_relative_to(ROOT) else path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
