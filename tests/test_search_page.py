"""The page on searches says what works."""

from __future__ import annotations

import pathlib
import re

import optuna
import pytest

PAGE = (pathlib.Path(__file__).parents[1] / "docs" / "search.md").read_text()


@pytest.mark.nightly
def test_the_code_of_the_page_runs():
    pytest.importorskip("ray")
    names: dict = {}
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    assert len(blocks) == 5
    for block in blocks:
        if block.startswith("# needs: a W&B server"):
            continue
        exec(block, names)
    for directory, name, number in (("search_output", "search", 2), ("grid_output", "grid", 2)):
        study = optuna.load_study(study_name=name, storage=f"sqlite:///{directory}/search/optuna.db")
        assert len(study.trials) == number
