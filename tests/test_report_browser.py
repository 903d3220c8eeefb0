"""The page of runs in a real browser: what is drawn, filtered, sorted and loaded."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess

import numpy as np
import pytest
from recorded_runs import BOLD, SCRIPT, predictions, record_in_memory, training_rows, write_run

from tf_hfwb.reports.report_page import write_report
from tf_hfwb.run_records.record_lookup import find_runs

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright, which drives the browser, is missing")
    if CHROMIUM is None:
        pytest.skip("there is no browser: neither chromium nor google-chrome is installed")
    with playwright.sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The page of two runs, whose names and texts are markup."""
    directory = tmp_path_factory.mktemp("report")
    write_run(directory, training_rows(), name=SCRIPT, config={"rate": SCRIPT})
    write_run(
        directory,
        training_rows(best=0.2),
        name=BOLD,
        notes=BOLD,
        config={"rate": BOLD},
        tables={"predictions": predictions(), SCRIPT: ([SCRIPT], [[SCRIPT], [BOLD]])},
    )
    return write_report(find_runs([str(directory)]), directory / "report.html")


@pytest.fixture
def opened(browser):
    """Opens a page, and afterwards looks whether it has complained or asked for anything."""
    contexts, complaints = [], []

    def open_page(path, **options):
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(dialog.message))
        page.on("request", lambda request: complaints.append(request.url))
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-drawn]", state="attached", timeout=60_000)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert [said for said in complaints if not said.startswith(("data:", "file:"))] == []


def drawn(page, chart: str) -> list[dict]:
    """The lines of a chart: their data, and where their points are on the screen."""
    return page.evaluate(
        """(chart) => {
          const place = document.querySelector(`[data-chart="${chart}"] .plot`);
          const middle = (point) => {
            const box = point.getBoundingClientRect();
            return [box.x + box.width / 2, box.y + box.height / 2];
          };
          const lines = place.querySelectorAll(".scatterlayer .trace");
          return place.data.map((line, at) => ({
            x: [...line.x], y: [...line.y], name: line.name, visible: line.visible,
            points: [...(lines[at]?.querySelectorAll(".points path") ?? [])].map(middle),
          }));
        }""",
        chart,
    )


def test_points_are_where_the_rows_are(opened, report):
    page = opened(report)
    lines = drawn(page, "loss")
    assert len(lines) == 4
    rows = training_rows()[:-1]
    assert lines[0]["x"] == list(range(1, 21))
    assert [y for y in lines[0]["y"] if y is not None] == pytest.approx(
        [row["train/loss"] for row in rows if not math.isnan(row["train/loss"])], rel=1e-5
    )
    assert lines[0]["y"][6] is None
    there = [(x, y, *at) for line in lines for (x, y), at in zip(points_of(line), line["points"], strict=True)]
    x, y, across, down = np.array(there).T
    # One straight rule takes every value to its place: right for steps, up for losses.
    (right, _), (up, _) = np.polyfit(x, across, 1), np.polyfit(y, down, 1)
    assert right > 5
    assert up < -5
    assert np.abs(np.polyval(np.polyfit(x, across, 1), x) - across).max() < 0.6
    assert np.abs(np.polyval(np.polyfit(y, down, 1), y) - down).max() < 0.6
    # One step alone has one tick.
    assert page.locator("article", has_text="Mine").locator(".plot").evaluate("(p) => p.layout.xaxis.tickvals") == [20]
    names = page.locator(".key .cut").evaluate_all("(all) => all.map((one) => getComputedStyle(one).display)")
    assert names.count("flex") + names.count("inline-flex") == 0, "what is too long would have no ellipsis"


def points_of(line: dict) -> list[tuple[float, float]]:
    return [(x, y) for x, y in zip(line["x"], line["y"], strict=True) if y is not None]


def table_rows(page, card: str = ".card.table >> nth=0") -> list[list[str]]:
    return (
        page.locator(card)
        .locator("tbody tr")
        .evaluate_all("(rows) => rows.map((row) => [...row.cells].map((cell) => cell.textContent))")
    )


def test_a_table_is_filtered_and_sorted(opened, report):
    page = opened(report)
    card = page.locator(".card.table").first
    status = card.get_by_role("status")
    assert status.text_content() == "40 of 80 rows"  # Those of the last evaluation.
    card.get_by_role("button", name="Last evaluation only").click()
    assert status.text_content() == "80 rows, 50 shown"
    card.get_by_role("button", name="Show more").click()
    assert len(table_rows(page)) == 80

    card.get_by_label("Filter prediction").select_option(label="dog")
    assert {row[4] for row in table_rows(page)} == {"dog"}
    card.get_by_label("Filter confidence").fill("0.1..0.3")
    confident = [float(row[5]) for row in table_rows(page)]
    assert confident
    assert all(0.1 <= value <= 0.3 for value in confident)
    card.get_by_label("Filter confidence").fill("no number")
    assert card.get_by_label("Filter confidence").get_attribute("aria-invalid") == "true"
    card.get_by_label("Filter confidence").fill("")
    card.get_by_label("Filter prediction").select_option(label="all")

    card.get_by_role("button", name="confidence").click()
    values = [float(row[5]) for row in table_rows(page)]
    assert values == sorted(values)
    card.get_by_role("button", name="confidence").click()
    assert [float(row[5]) for row in table_rows(page)] == sorted(values, reverse=True)
    card.get_by_role("button", name="text").click()
    assert [row[3] for row in table_rows(page)][-20:] == ["\N{EN DASH}"] * 20  # Cells without a value are last.

    picture = card.locator("tbody img").first
    picture.scroll_into_view_if_needed()
    page.wait_for_timeout(100)
    assert picture.evaluate("(image) => image.naturalWidth") == 8


def test_markup_in_data_is_text(opened, report):
    page = opened(report)
    assert page.locator("script").count() == 4
    assert page.locator("main b, main script, header b, main img[src='x']").count() == 0
    texts = page.locator(".card.table").nth(1).locator("tbody td.words").all_text_contents()
    assert texts == [SCRIPT, BOLD]
    chips = page.locator(".chip .cut").all_text_contents()
    assert chips == [SCRIPT, BOLD]
    place = page.locator('[data-chart="loss"] .plot')
    place.hover(position={"x": 300, "y": 100})
    page.wait_for_timeout(300)
    assert SCRIPT in place.locator(".hoverlayer").text_content()
    assert place.locator(".hoverlayer a, .hoverlayer b").count() == 0


def test_scripts_of_others_and_the_network_are_forbidden(browser, report):
    page = browser.new_page()
    refused: list[tuple[str, str]] = []
    page.on("requestfailed", lambda request: refused.append((request.url, request.failure)))
    page.goto(report.as_uri())
    told = page.evaluate(
        """async () => {
          const script = document.createElement("script");
          script.textContent = "window.injected = true";
          document.body.append(script);
          const image = new Image();
          const shown = new Promise((done) => { image.onload = () => done(true); image.onerror = () => done(false); });
          image.src = "http://127.0.0.1:9/image.png";
          const fetched = await fetch("http://127.0.0.1:9/").then(() => true, () => false);
          return [window.injected === true, await shown, fetched];
        }"""
    )
    page.close()
    assert told == [False, False, False]
    assert set(refused) == {("http://127.0.0.1:9/image.png", "csp")}


def test_a_run_is_hidden_everywhere(opened, report):
    page = opened(report)
    page.locator(".chip").nth(1).click()
    assert [line["visible"] for line in drawn(page, "loss")] == [True, False, True, False]
    assert page.locator("#runs tbody tr:visible").count() == 1
    assert page.locator(".card.table").first.locator("tbody tr").count() == 0
    page.locator(".chip").nth(1).click()
    assert [line["visible"] for line in drawn(page, "loss")] == [True] * 4


def test_a_run_has_one_colour(opened, report):
    page = opened(report)
    dots = page.locator(".dot").evaluate_all("(dots) => dots.map((dot) => getComputedStyle(dot).backgroundColor)")
    assert len(set(dots)) == 2
    lines = page.locator('[data-chart="loss"] .scatterlayer path.js-line').evaluate_all(
        "(lines) => lines.map((line) => getComputedStyle(line).stroke)"
    )
    assert set(lines) == set(dots)


@pytest.mark.nightly
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_from_the_page(opened, report, scheme):
    page = opened(report, color_scheme=scheme)
    assert contrasts(page) == []
    # The theme may change while the page is open.
    page.emulate_media(color_scheme="dark" if scheme == "light" else "light")
    page.wait_for_timeout(500)
    assert contrasts(page) == []


def contrasts(page) -> list:
    """Words whose contrast with what is behind them is below 4.5, as WCAG measures it."""
    return page.evaluate(
        r"""() => {
          const light = (colour) => {
            const parts = colour.match(/[\d.]+/g).slice(0, 3).map((part) => part / 255);
            const [r, g, b] = parts.map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
          };
          const behind = (node) => {
            for (let at = node; at; at = at.parentElement) {
              const colour = getComputedStyle(at).backgroundColor;
              if (!/rgba\(.*, 0\)|color/.test(colour)) return colour;
            }
            return "rgb(255, 255, 255)";
          };
          const found = [];
          for (const node of document.querySelectorAll("h1,h2,h3,p,td,th,dt,dd,button,span,a,small,.plot text")) {
            if (!node.textContent.trim() || !node.getClientRects().length) continue;
            const style = getComputedStyle(node);
            const ink = node.namespaceURI.includes("svg") ? style.fill : style.color;
            const [a, b] = [light(ink), light(behind(node))].sort((x, y) => y - x);
            const words = node.textContent.slice(0, 30);
            if ((a + 0.05) / (b + 0.05) < 4.5) found.push([node.tagName, words, ink, behind(node)]);
          }
          return found;
        }"""
    )


@pytest.mark.nightly
def test_a_phone_scrolls_tables_and_not_the_page(opened, report):
    page = opened(report, viewport={"width": 360, "height": 740}, is_mobile=True, has_touch=True)
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    boxes = page.locator(".box").evaluate_all("(boxes) => boxes.map((box) => [box.scrollWidth, box.clientWidth])")
    assert any(whole > shown for whole, shown in boxes)
    wide = page.locator(".plot").evaluate_all("(plots) => plots.map((plot) => plot.getBoundingClientRect().right)")
    assert max(wide) <= 360


@pytest.mark.nightly
def test_paper_is_light_and_has_no_filters(opened, report, tmp_path):
    page = opened(report, color_scheme="dark")
    page.emulate_media(media="print")
    page.wait_for_timeout(500)
    assert page.locator("body").evaluate("(body) => getComputedStyle(body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.locator(".filters:visible, nav:visible, .quiet:visible").count() == 0
    assert contrasts(page) == []
    page.pdf(path=tmp_path / "page.pdf", format="A4")
    assert (tmp_path / "page.pdf").stat().st_size > 20_000
    if shutil.which("pdftotext"):
        text = subprocess.run(["pdftotext", "-layout", "page.pdf", "-"], cwd=tmp_path, capture_output=True, text=True)
        assert "Loss and metrics" in text.stdout
        assert "Training step" in text.stdout


def test_integers_are_whole_in_tables(opened, tmp_path):
    large = 2**53
    cells = [[1, large + at, 1234567 + at, "NaN" if at == 3 else 1.5] for at in range(-1, 20)]
    cells.append([2, -large - 1, 20261130, None])
    table = (["train/global_step", "tweet", "id", "loss"], cells)
    run = record_in_memory([], tables={"tweets": table}, directory=tmp_path)
    page = opened(write_report([run], tmp_path / "page.html"))
    card = page.locator(".card.table")
    card.get_by_role("button", name="Last evaluation only").click()
    status = card.get_by_role("status")
    assert table_rows(page)[2][1:3] == ["9,007,199,254,740,993", "1,234,568"]
    for text, number in {
        "9007199254740993": 1,
        f">{large}": 19,
        f"<={large}": 3,
        f"{large + 1}..{large + 2}": 2,
    }.items():
        card.get_by_label("Filter tweet").fill(text)
        assert status.text_content() == f"{number} of 22 rows", text
    card.get_by_label("Filter tweet").fill("")
    card.get_by_role("button", name="tweet").click()
    shown = [int(row[1].replace(",", "").replace("\N{MINUS SIGN}", "-")) for row in table_rows(page)]
    assert shown == sorted(row[1] for row in cells)
    card.get_by_label("Filter id").fill("20261130")
    assert table_rows(page)[0][2] == "20,261,130"


def test_final_values_and_what_is_left_out(opened, tmp_path):
    summary = {"test": {"acc": 0.75, "word": BOLD}, "tweet": 2**53 + 1}
    runs = [
        record_in_memory([{"note": "text"}], summary=summary),
        record_in_memory([{"page": {"_type": "html-file"}}], summary={"test": {"acc": 0.5}}, run_id="two"),
    ]
    page = opened(write_report(runs, tmp_path / "page.html"))
    dash = "\N{EN DASH}"
    rows = table_rows(page, "#final")
    assert rows == [["test.acc", "0.75", "0.5"], ["test.word", BOLD, dash], ["tweet", "9,007,199,254,740,993", dash]]
    said = page.locator("#runs > .note").text_content()
    assert said == "Logged, and not shown in this page: 1 \N{MULTIPLICATION SIGN} html, 1 \N{MULTIPLICATION SIGN} text."


def test_a_step_that_is_no_number_hides_no_rows(opened, tmp_path):
    table = (["train/global_step", "n"], [[1, 1], ["NaN", 2], [2, 3]])
    run = record_in_memory([], tables={"steps": table}, directory=tmp_path)
    page = opened(write_report([run], tmp_path / "page.html"))
    assert [row[1] for row in table_rows(page)] == ["3"]


@pytest.mark.nightly
def test_pages_of_odd_runs_open(opened, tmp_path):
    odd = [
        record_in_memory([], name=""),
        record_in_memory([{"eval/loss": 1.0}], run_id="one", config={"a": {}}),
        record_in_memory([{"train/global_step": 1, "train/loss": "NaN"}] * 3, run_id="nan"),
        record_in_memory(
            [{"train/global_step": 1, "train/loss": "-Infinity", "p": {"_type": "histogram"}}], run_id="x"
        ),
        record_in_memory([{"train/global_step": 1, "%{x} <b>": 1e300}, {"train/global_step": 2, "%{x} <b>": -1e-300}]),
    ]
    for number, runs in enumerate([odd[:1], odd[1:2], odd, odd * 6]):
        page = opened(write_report(runs, tmp_path / f"{number}.html"))
        assert page.locator("h1").text_content()


@pytest.mark.nightly
def test_long_runs_keep_their_peaks_and_say_that_they_were_thinned(opened, tmp_path):
    rows = [{"train/global_step": step, "train/loss": 1.0 + (step == 12_345)} for step in range(1, 30_001)]
    page = opened(write_report([record_in_memory(rows)], tmp_path / "page.html"))
    (line,) = drawn(page, "loss")
    assert line["x"][int(np.argmax(line["y"]))] == 12_345
    assert (
        f"Thinned from 30,000 to {len(line['x']):,} points" in page.locator('[data-chart="loss"] .note').text_content()
    )


def test_a_page_of_a_hundred_thousand_rows_is_small(tmp_path):
    random = np.random.default_rng(0)
    names = ["train/loss", "train/learning_rate", "train/grad_norm", "train/samples_per_second"]
    runs = [
        record_in_memory(
            [
                {"train/global_step": step, **dict(zip(names, random.random(4).tolist(), strict=True))}
                for step in range(5000)
            ],
            run_id=f"run{number}",
        )
        for number in range(20)
    ]
    path = write_report(runs, tmp_path / "page.html")
    assert os.path.getsize(path) < 10_000_000
    assert json.dumps(runs[0].name)
