"""The HTML report in a real browser: every chart is drawn, no script fails, nothing is fetched.

Owns: one page made of the recorded results, opened by a headless Chromium. Thread: the test's own.
Skipped without the libraries that make the page, or without the browser.
"""

import html
import json
import re
import shutil
import subprocess
import sys

import pytest

pytest.importorskip("rich")
pytest.importorskip("jinja2")
pytest.importorskip("altair")
pytest.importorskip("vl_convert")

from bench import html_report, targets  # noqa: E402
from bench.tables import make_tables  # noqa: E402

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="chromium is missing")
BROWSER_TIMEOUT_SECONDS = 50
NAMES: list[str] = []                        # all that was recorded, as `make bench` shows


@pytest.fixture(scope="module")
def reports():
    return html_report.stored_reports(NAMES)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Made by the command, elsewhere: vl_convert leaves threads and descriptors behind."""
    output = tmp_path_factory.mktemp("report") / "report.html"
    subprocess.run([sys.executable, "-m", "bench.html_report", *NAMES, "--output", output],
                   cwd=html_report.__file__.rsplit("/bench/", 1)[0], check=True,
                   stdout=subprocess.DEVNULL)
    return output.read_text()


def open_page(folder, text):
    """What the browser made of a page, and what its console said."""
    path = folder / "report.html"
    path.write_text(text)
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
               f"--user-data-dir={folder / 'profile'}", "--enable-logging=stderr",
               "--virtual-time-budget=20000", "--dump-dom", path.as_uri()]
    result = subprocess.run(command, capture_output=True, text=True,
                            timeout=BROWSER_TIMEOUT_SECONDS)
    assert result.returncode == 0, result.stderr
    console = [line for line in result.stderr.splitlines() if "CONSOLE" in line]
    return result.stdout, console


def expected_charts(text):
    (found,) = re.findall(r'<script type="application/json" id="charts">(.*?)</script>', text)
    return json.loads(found)


def drawn(dom):
    """The source of each chart's drawing by its id."""
    parts = re.split(r'<div id="(chart-[^"]+)"', dom)[1:]
    return {name: re.findall(r"<svg.*?</svg>", text, re.DOTALL)[:1]
            for name, text in zip(parts[::2], parts[1::2], strict=True)}


def marks(svg, kind):
    return len(re.findall(rf'aria-roledescription="{kind}"', svg))


@needs_browser
def test_every_chart_is_drawn(page, reports, tmp_path):
    dom, console = open_page(tmp_path, page)
    assert '<ul id="errors"></ul>' in dom and not console
    expected = expected_charts(page)
    assert f'data-drawn="{len(expected)}"' in dom
    charts = drawn(dom)
    assert set(charts) == set(expected)
    assert set(charts) > {"chart-leads", "chart-io-echo", "chart-io-web", "chart-io-latency",
                          "chart-micro-micro", "chart-micro-memory", "chart-profile-profile"}
    for name, specification in expected.items():
        (svg,) = charts[name]
        kind = "point" if '"type": "point"' in json.dumps(specification) else "bar"
        values = [value for each in specification["datasets"].values() for value in each]
        counted = [value for value in values if "reference" not in value]
        assert marks(svg, kind) == len(counted) > 0, name
        for loop in {value["loop"] for value in counted if "loop" in value}:
            assert re.search(rf"\b{re.escape(loop)}\b", svg), (name, loop)


@needs_browser
def test_a_script_that_fails_is_seen(page, tmp_path):
    """The test above could pass on a broken page if errors were lost."""
    broken = page.replace("await vegaEmbed(", "await noSuchFunction(")
    dom, _ = open_page(tmp_path, broken)
    assert "noSuchFunction is not defined" in dom.split("<noscript>")[0]
    assert 'data-drawn="0"' in dom


@needs_browser
def test_nothing_is_fetched(page, tmp_path):
    """The page's own policy forbids it, and says so where somebody tries."""
    image = '<img src="http://127.0.0.1:9/picture.png" alt="">'
    dom, _ = open_page(tmp_path, page.replace("<noscript>", f"{image}<noscript>", 1))
    assert "<li>refused: http://127.0.0.1:9/picture.png</li>" in dom


def test_the_losses_come_first(page, reports):
    assert page.index("Where loopx loses") < page.index("All that was recorded")
    opening = page[: page.index("All that was recorded")]
    assert opening.count("<tr") > 5 and "times better" in opening
    missed = [name for report in reports for name, _ in targets.missed(report)]
    assert opening.count(", missed</td>") == len(missed)


def test_everything_recorded_is_there(page, reports):
    text = html.unescape(page)
    for report in reports:
        assert report["git"]["commit"] in text and report["date"] in text
        assert report["machine"]["kernel"] in text and report["machine"]["cpu"] in text
        for table in make_tables(report):
            assert table.title in text
            for line in table.rows:
                assert all(f">{cell}</td>" in text for cell in line)
    assert re.search(r"\d†</td>", text)


def test_text_cannot_break_out(reports, monkeypatch):
    """Reasons of failures hold what a server said."""
    monkeypatch.setattr(html_report, "script_library", str)
    evil = "</script><script>trouble(1)</script>"
    failure = {"row": "echo-sock-1x64", "loop": "loopx", "round": 0, "reason": evil}
    page = html_report.render([reports[0] | {"failures": [failure]}])
    assert evil not in page and html.escape(evil) in page


def test_results_that_do_not_exist_are_refused(monkeypatch, capsys, tmp_path):
    output = tmp_path / "report.html"
    monkeypatch.setattr("sys.argv", ["html_report", "nonsense", "--output", str(output)])
    with pytest.raises(SystemExit) as ended:
        html_report.main()
    assert ended.value.code == 2 and "No such file" in capsys.readouterr().err
    assert not output.exists()
