"""The notebook of the examples: from top to bottom, with a cell run again, interrupted, and after a kernel has died."""

from __future__ import annotations

import asyncio
import contextlib
import glob
import importlib.util
import os
import pathlib
import sys
import threading
import time
from collections.abc import Iterator

import pytest
from helpers import eval_rows, history, records, train_rows

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")

pytestmark = [
    pytest.mark.nightly,
    # Not imported: trainings of other tests would take this process for a notebook's, and leave signals alone.
    pytest.mark.skipif(importlib.util.find_spec("ipykernel") is None, reason="it needs ipykernel"),
]

FILE = pathlib.Path(__file__).parent.parent / "examples" / "colab_text_classification.ipynb"
EPOCHS = 3


class Notebook:
    """The notebook in a kernel of its own, with shorter trainings."""

    def __init__(self) -> None:
        self.content = nbformat.read(FILE, as_version=4)
        for cell in self.content.cells:
            cell.source = cell.source.replace("EPOCHS = 15", f"EPOCHS = {EPOCHS}")
        self.client = nbclient.NotebookClient(self.content, timeout=500, kernel_name="python3")
        code = [index for index, cell in enumerate(self.content.cells) if cell.cell_type == "code"]
        self.training = next(index for index in code if "trainer.train()" in self.content.cells[index].source)
        self.before = [index for index in code if index < self.training]
        self.after = [index for index in code if index > self.training]

    def run(self, *indices: int) -> None:
        for index in indices:
            self.client.execute_cell(self.content.cells[index], index)

    @contextlib.contextmanager
    def kernel(self) -> Iterator[None]:
        with self.client.setup_kernel():
            yield

    def outputs(self, index: int) -> list:
        return self.content.cells[index].outputs

    def printed(self, index: int) -> str:
        """What a cell has printed, as a notebook shows it: of each line what was written last."""
        texts = [one.text for one in self.outputs(index) if one.output_type == "stream" and one.name == "stdout"]
        return "\n".join(line.rpartition("\r")[2].rstrip() for line in "".join(texts).splitlines())


@pytest.fixture
def notebook(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    monkeypatch.setenv("IPYTHONDIR", os.path.abspath("ipython"))
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    monkeypatch.delenv("WANDB_MODE")  # Nobody is logged in.
    return Notebook()


def runs() -> list[str]:
    return sorted(glob.glob("wandb/offline-run-*"), key=os.path.getctime)


def exit_codes(folder: str) -> list[int]:
    return [record["exit"].get("exit_code", 0) for record in records(folder) if record["type"] == "exit"]


def check_whole(folder: str) -> None:
    """A run of a whole training."""
    rows = history(folder)
    steps = [row["train/global_step"] for row in train_rows(rows)]
    assert steps == sorted(set(steps))
    assert [row["train/epoch"] for row in eval_rows(rows)] == [float(epoch + 1) for epoch in range(EPOCHS)]
    assert exit_codes(folder) == [0]


def train_until_killed(notebook: Notebook) -> None:
    """Run the training cell, and kill the kernel when there is a checkpoint."""

    def kill() -> None:
        wait_for_checkpoint()
        asyncio.run(notebook.client.km.signal_kernel(9))

    thread = threading.Thread(target=kill)
    thread.start()
    with pytest.raises(nbclient.exceptions.DeadKernelError):
        notebook.run(notebook.training)
    thread.join()


def wait_for_checkpoint() -> None:
    end = time.monotonic() + 300
    while not glob.glob("questions_model/checkpoint-*") and time.monotonic() < end:
        time.sleep(0.1)


def test_it_runs_from_top_to_bottom(notebook):
    notebook.client.execute()
    printed = notebook.printed(notebook.training)
    assert printed.startswith("Training on 1 x CPU:0\n")
    assert "Training has ended at step" in printed
    assert "offline; upload it with: wandb sync wandb" in printed
    for line in printed.splitlines():
        assert not line.startswith(" 0%"), printed
    table, plot = notebook.after[:2]
    assert "question" in notebook.outputs(table)[-1].data["text/html"]
    assert any("image/png" in output.get("data", {}) for output in notebook.outputs(plot))
    (folder,) = runs()
    check_whole(folder)


def test_the_training_cell_can_be_run_again(notebook):
    with notebook.kernel():
        notebook.run(*notebook.before, notebook.training, notebook.training, *notebook.after)
    first, second = runs()
    check_whole(first)
    check_whole(second)


def test_an_interrupted_cell_leaves_a_run_that_says_so(notebook):
    def interrupt() -> None:
        wait_for_checkpoint()
        asyncio.run(notebook.client.km.interrupt_kernel())

    with notebook.kernel():
        notebook.run(*notebook.before)
        cell = notebook.content.cells[notebook.training]
        cell.source = cell.source.replace(f"EPOCHS = {EPOCHS}", "EPOCHS = 200")
        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises(nbclient.exceptions.CellExecutionError, match="KeyboardInterrupt"):
            notebook.run(notebook.training)
        thread.join()
        assert "Training was interrupted at step" in notebook.printed(notebook.training)
        cell.source = cell.source.replace("EPOCHS = 200", f"EPOCHS = {EPOCHS}")
        notebook.run(notebook.training, *notebook.after)
    first, second = runs()
    assert exit_codes(first) == [255]
    steps = [row["train/global_step"] for row in train_rows(history(first))]
    assert steps == sorted(set(steps))
    check_whole(second)


def test_after_a_kernel_has_died_the_notebook_begins_anew(notebook):
    with contextlib.suppress(RuntimeError), notebook.kernel():  # Its end is not what is tested.
        notebook.run(*notebook.before)
        cell = notebook.content.cells[notebook.training]
        cell.source = cell.source.replace(f"EPOCHS = {EPOCHS}", "EPOCHS = 200")
        train_until_killed(notebook)
    again = Notebook()
    again.client.execute()
    first, second = runs()
    assert train_rows(history(first))
    check_whole(second)


def test_after_a_kernel_has_died_the_training_may_continue(notebook):
    with contextlib.suppress(RuntimeError), notebook.kernel():
        notebook.run(*notebook.before)
        train_until_killed(notebook)
    again = Notebook()
    cell = again.content.cells[again.training]
    cell.source = cell.source.replace("trainer.train()", "trainer.train(resume_from_checkpoint=True)")
    again.client.execute()
    assert len({folder.rpartition("-")[2] for folder in runs()}) == 1  # The same run.
    rows = [row for folder in runs() for row in history(folder)]
    steps = [row["train/global_step"] for row in train_rows(rows)]
    assert steps == sorted(set(steps))
    assert [row["train/epoch"] for row in eval_rows(rows)] == [float(epoch + 1) for epoch in range(EPOCHS)]
