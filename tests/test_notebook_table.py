"""The table of metrics in a notebook: its HTML, and a training in a real kernel."""

from __future__ import annotations

import importlib.util
import os
import re
import sys

import pytest

from tf_hfwb.trainer.progress.notebook_table import NotebookTable, html_table

pytestmark = pytest.mark.core


def test_the_html_of_a_table():
    rows = {8: {"eval_loss": 0.25, "epoch": 1.0}, 4: {"epoch": 0.5, "<b>m</b>": float("nan"), "loss": 1 / 3}}
    html = html_table(rows)
    assert re.findall("<th>(.*?)</th>", html) == ["step", "epoch", "eval_loss", "loss", "&lt;b&gt;m&lt;/b&gt;"]
    assert re.findall("<td>(.*?)</td>", html) == ["4", "0.5", "", "0.3333", "nan", "8", "1", "0.25", "", ""]
    assert html_table({}) == "<table><thead><tr><th>step</th></tr></thead><tbody></tbody></table>"
    many = html_table({step: {"loss": 1.0} for step in range(2000)})
    assert re.findall("<td>(\\d+)</td><td>", many) == [str(step) for step in range(1500, 2000)]


def test_without_a_notebook_there_is_no_table():
    table = NotebookTable()
    assert not table.is_shown
    table.add(1, {"loss": 1.0})


CELL = """
import keras, numpy as np
from tf_hfwb import TFTrainer, TFTrainingArguments
keras.utils.set_random_seed(0)
model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(3)])
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile(keras.optimizers.SGD(0.1), loss, metrics=["accuracy"])
data = np.random.normal(size=(64, 4)).astype("float32"), np.zeros(64, "int64")
args = TFTrainingArguments(
    "out", num_train_epochs=2, save_strategy="no", report_to="none", eval_strategy="steps", eval_steps=6,
    disable_tqdm=TQDM,
)
TFTrainer(model, args, train_dataset=data, eval_dataset=data).train()
"""


@pytest.mark.nightly
@pytest.mark.skipif(importlib.util.find_spec("ipykernel") is None, reason="it needs ipykernel")
def test_an_evaluation_is_a_row_in_a_table_that_grows_in_its_place(monkeypatch):
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    monkeypatch.setenv("IPYTHONDIR", os.path.abspath("ipython"))
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    cells = [nbformat.v4.new_code_cell(CELL.replace("TQDM", word)) for word in ("False", "True")]
    content = nbformat.v4.new_notebook(cells=cells)
    nbclient.NotebookClient(content, timeout=300, kernel_name="python3").execute()
    with_table, without = (
        [output.data["text/html"] for output in cell.outputs if "text/html" in output.get("data", {})] for cell in cells
    )
    (html,) = with_table  # One place, whose content is the newest.
    assert re.findall("<th>(.*?)</th>", html) == ["step", "epoch", "loss", "eval_loss", "eval_accuracy", "accuracy"]
    rows = [re.findall("<td>(.*?)</td>", row) for row in re.findall("<tr>(<td>.*?)</tr>", html)]
    assert [row[:2] for row in rows] == [["6", "0.75"], ["8", "1"], ["12", "1.5"], ["16", "2"]]
    assert all(row[2] for row in rows)
    assert [bool(row[3]) for row in rows] == [True, False, True, False]
    printed = "".join(output.text for output in cells[0].outputs if output.get("name") == "stdout")
    assert "Training has ended at step 16 of 16" in printed
    assert "Step 6/16" not in printed
    assert without == []
