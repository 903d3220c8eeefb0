"""The pages: links lead somewhere, messages are explained, Korean keeps step with English, the site builds."""

from __future__ import annotations

import os
import pathlib
import re
import runpy
import shutil
import subprocess
import sys
import urllib.parse

import pytest
from documentation import ROOT, blocks_of, pages

DOCS = ROOT / "docs"
TRANSLATIONS = [("README.md", "README.ko.md"), ("docs/start.md", "docs/ko/start.md")]
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
CELL_CODE = re.compile(r"`[^`]+`")


def prose(page: str) -> list[str]:
    """The lines of a page outside of its blocks."""
    kept, inside = [], False
    for line in (ROOT / page).read_text().splitlines():
        if line.lstrip().startswith("```"):
            inside = not inside
        elif not inside:
            kept.append(line)
    return kept


def headings(page: str) -> list[tuple[int, str]]:
    found = (re.match(r"(#+) (.+)", line) for line in prose(page))
    return [(len(match[1]), match[2]) for match in found if match]


def tables(page: str) -> list[list[list[str]]]:
    """The rows of each table of a page, as cells."""
    found: list[list[list[str]]] = [[]]
    for line in prose(page):
        if line.startswith("|"):
            found[-1].append(re.split(r"(?<!\\)\|", line.strip("|")))
        elif found[-1]:
            found.append([])
    return [table for table in found if table]


def anchors(path: pathlib.Path) -> set[str]:
    page = str(path.relative_to(ROOT))
    return {re.sub(r"[^\w\- ]", "", text.lower()).strip().replace(" ", "-") for _, text in headings(page)}


@pytest.mark.parametrize("page", [page for page in pages() if not page.startswith("docs/")])
def test_links_lead_to_files_and_headings(page):
    """Those of ``docs`` are checked when the site is built."""
    for target in LINK.findall("\n".join(prose(page))):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        file, _, anchor = target.partition("#")
        path = ((ROOT / page).parent / file).resolve() if file else ROOT / page
        assert path.is_file(), f"{page}: {target}"
        assert not anchor or anchor in anchors(path), f"{page}: {target}"


@pytest.mark.parametrize(("english", "korean"), TRANSLATIONS)
def test_korean_keeps_step_with_english(english, korean):
    assert [level for level, _ in headings(korean)] == [level for level, _ in headings(english)]
    ours, theirs = blocks_of(korean), blocks_of(english)
    assert [(b.language, b.code, b.needs) for b in ours] == [(b.language, b.code, b.needs) for b in theirs]
    for translated, original in zip(tables(korean), tables(english), strict=True):
        assert [len(row) for row in translated] == [len(row) for row in original]
        for row, origin in zip(translated, original, strict=True):
            assert [CELL_CODE.findall(cell) for cell in row] == [CELL_CODE.findall(cell) for cell in origin]
    assert any(pathlib.PurePath(link).name == pathlib.PurePath(korean).name for link in _links(english))
    assert any(pathlib.PurePath(link).name == pathlib.PurePath(english).name for link in _links(korean))
    text = "".join(prose(korean))
    assert len(re.findall("[가-힣]", text)) > 300


def _links(page: str) -> list[str]:
    return LINK.findall("\n".join(prose(page)))


def test_each_message_is_on_the_page_with_what_to_do():
    generator = runpy.run_path(str(DOCS / "generate_troubleshooting.py"))
    messages, advice = generator["messages"](), generator["ADVICE"]
    begins = {message.begin for message in messages}
    assert len(messages) > 400
    assert {message.kind for message in messages} >= {"warning", "news", "SettingError", "DataError", "ServerError"}
    without = [m.text for m in messages if generator["without_advice"](m) and m.begin not in advice]
    assert not without, f"docs/messages.yml does not say what to do: {without}"
    assert set(advice) <= begins, f"docs/messages.yml has messages of the past: {set(advice) - begins}"
    page = (DOCS / "troubleshooting.md").read_text()
    for message in messages:
        assert re.search(rf"^#### (… )?{re.escape(generator['escaped'](message.begin))}$", page, re.M), message.text
    assert page == generator["page"](), "python docs/generate_troubleshooting.py > docs/troubleshooting.md"


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> pathlib.Path:
    pytest.importorskip("mkdocs")
    environment = {**os.environ, "PATH": f"{pathlib.Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    directory = tmp_path_factory.mktemp("documentation") / "site"
    built = subprocess.run(["bash", DOCS / "build", directory], env=environment, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    return directory


def test_the_site_has_every_page_and_asks_for_nothing_outside_of_it(site):
    written = {path.relative_to(site).with_suffix(".md").as_posix() for path in site.glob("**/*.html")}
    assert {path.relative_to(DOCS).as_posix() for path in DOCS.glob("**/*.md")} == written - {"404.md"}
    loaded = re.compile(r"""<(?:script|img|iframe|link)\b[^>]*\b(?:src|href)=["']?(?:https?:)?//|@import|url\(http""")
    for path in [*site.glob("**/*.html"), *site.glob("**/*.css")]:
        assert not loaded.search(path.read_text()), path.name
    api = (site / "api.html").read_text()
    assert 'id="tf_hfwb.TFTrainer.train"' in api
    assert "&gt;&gt;&gt; " in api
    assert ":class:" not in api
    assert 'class="layers"' in (site / "architecture.html").read_text()


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("EarlyStopping stands behind", "#earlystopping-stands-behind-wandbmodelcheckpoint"),
        ("save_total_limit", "arguments.html"),
        ("체크포인트", "ko/start.html"),
    ],
)
def test_search_finds_pages_without_a_network(site, tmp_path, words, found):
    browser = shutil.which("chromium")
    if browser is None:
        pytest.skip("there is no chromium")
    page = f"file://{site}/index.html?q={urllib.parse.quote(words)}"
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND"]
    options += [f"--user-data-dir={tmp_path}", "--virtual-time-budget=8000", "--enable-logging=stderr", "--dump-dom"]
    seen = subprocess.run([browser, *options, page], capture_output=True, text=True, timeout=120)
    results = seen.stdout.partition('class="md-search-result__list"')[2].partition("</ol>")[0]
    assert "md-search-result__item" in results, seen.stderr[-2000:]
    assert found in results
    assert "Uncaught" not in seen.stderr
