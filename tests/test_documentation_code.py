"""Every block of code in the README and the pages is run, or says what it needs."""

from __future__ import annotations

import ast
import json
import subprocess

import documentation
import optuna
import pytest
from documentation import blocks_of, pages, run_page
from forking import Launcher
from helpers import nightly

QUICK = ("README.md",)
# What the page says of its searches is true of the studies that they leave behind.
SEARCHES = {"docs/search.md": {"search_output": "search", "grid_output": "grid"}}
# Their code is that of the English ones, which another test holds against each other.
TRANSLATED = ("README.ko.md", "docs/ko/start.md")


def _with_code() -> list:
    found = []
    for page in pages():
        runs = any(block.language in ("python", "bash") and block.needs is None for block in blocks_of(page))
        if runs and page not in TRANSLATED:
            found.append(pytest.param(page, marks=pytest.mark.slow) if page in QUICK else nightly(page))
    return found


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """Runs pages where the Hub's client has a cache, and finds in it what the pages load."""
    home = str(tmp_path_factory.mktemp("hub"))
    with Launcher(HF_HOME=home, HF_HUB_OFFLINE="1") as launcher:
        launcher.python(f"import hub_cache; hub_cache.fill({home!r})")
        yield launcher


@pytest.mark.parametrize("page", _with_code())
def test_the_code_of_a_page_runs(reader, page):
    run_page(reader, page)
    for directory, name in SEARCHES.get(page, {}).items():
        study = optuna.load_study(study_name=name, storage=f"sqlite:///{directory}/search/optuna.db")
        assert len(study.trials) == 2


@pytest.mark.parametrize("page", pages())
def test_every_block_is_code_that_can_be_read(page):
    for block in blocks_of(page):
        place = f"{page}:{block.line}"
        if block.language == "python":
            ast.parse(block.code, place)
        elif block.language == "bash":
            checked = subprocess.run(["bash", "-n"], input=block.code, text=True, capture_output=True)
            assert checked.returncode == 0, f"{place}: {checked.stderr}"
        elif block.language == "json":
            json.loads(block.code)
        else:
            assert block.language in ("text", "mermaid", "yaml", "toml", "bibtex"), f"{place} is in {block.language!r}"


def test_a_block_that_is_not_run_says_why(tmp_path, monkeypatch):
    monkeypatch.setattr(documentation, "ROOT", tmp_path)
    (tmp_path / "page.md").write_text(
        "<!-- needs: an account -->\n\n```bash\ntrue\n```\n\n- a\n\n    ```python\n    if 1:\n        2\n    ```\n"
    )
    first, second = blocks_of("page.md")
    assert (first.needs, first.line, first.code, second.needs) == ("an account", 3, "true\n", None)
    assert (second.language, second.code) == ("python", "if 1:\n    2\n")
