"""The same trainings by ``TFTrainer`` and by the PyTorch ``Trainer``."""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import itertools
import json
import pathlib
import tempfile

import numpy as np
import tiny
from helpers import samples
from pytorch_training import norm, run_pytorch
from trainer_events import Recorder, accuracy, acting, course_of

from tf_hfwb import TFTrainer, TFTrainingArguments
from tf_hfwb.data import training_batches
from tf_hfwb.models.pytorch_format import pytorch_tensors, save_pytorch_format

FOLDER = pathlib.Path(__file__).parent
NUMBER = 11
DATA = samples(NUMBER)
KERNEL = np.random.default_rng(7).normal(size=(4, 3)).astype("float32")
BIAS = np.random.default_rng(8).normal(size=3).astype("float32")


def sequences(labels=None) -> dict[str, np.ndarray]:
    """Texts of 2 to 9 tokens, padded; labels are those of the samples, or the tokens themselves."""
    dice = np.random.default_rng(3)
    mask = np.arange(9) < dice.permutation([2, 3, 9, 4, 9, 2, 7, 3, 5, 8, 2])[:, None]
    ids = np.where(mask, dice.integers(5, tiny.VOCAB_SIZE, mask.shape), 0)
    labels = np.where(mask, ids, -100) if labels is None else labels
    return {"input_ids": ids, "attention_mask": mask.astype("int64"), "labels": labels}


def classes():
    return sequences(np.arange(NUMBER) % 3)


def tags():
    found = sequences()
    return {**found, "labels": np.where(found["labels"] == -100, -100, found["labels"] % 4)}


def continuations():
    """The first token is no label: else the Trainer counts it with some models, though nothing predicts it."""
    found = sequences()
    return {**found, "labels": np.where(np.arange(9) == 0, -100, found["labels"])}


MODELS = {
    "bert": (tiny.bert, classes),
    "distilbert": (tiny.distilbert, tags),
    "gpt2": (tiny.gpt2, continuations),
    "t5": (tiny.t5, sequences),
}
SHARED = {
    "per_device_train_batch_size": 4,
    "per_device_eval_batch_size": 4,
    "learning_rate": 0.1,
    "num_train_epochs": 2,
    "save_strategy": "no",
}


@dataclasses.dataclass
class Case:
    """A training.

    Attributes:
        args: Its arguments.
        wishes: What a callback asks for: arguments of :func:`trainer_events.asking`.
        model: A name in :data:`MODELS`; None for a classifier of one layer.
    """

    args: dict
    wishes: list = dataclasses.field(default_factory=list)
    model: str | None = None

    def __post_init__(self):
        self.args = {**SHARED, **self.args}

    @property
    def order(self) -> list[list[int]]:
        """The samples of each epoch, as TFTrainer takes them."""
        made = training_batches(
            np.arange(NUMBER, dtype="int64"),
            self.args["per_device_train_batch_size"],
            seed=42,
            drop_remainder=self.args.get("dataloader_drop_last", False),
            num_epochs=12,
        )
        batches = [batch.tolist() for batch in made.dataset.as_numpy_iterator()]
        each = made.steps_per_epoch
        epochs = (batches[first : first + each] for first in range(0, len(batches), each))
        return [[sample for batch in epoch for sample in batch] for epoch in epochs]

    @property
    def columns(self) -> dict[str, np.ndarray]:
        """The samples."""
        return {"x": DATA[0], "labels": DATA[1]} if self.model is None else MODELS[self.model][1]()

    def make_model(self, kind: str):
        if self.model is not None:
            return MODELS[self.model][0]()
        keras = importlib.import_module(kind)
        x = keras.Input((4,), name="x")
        model = keras.Model({"x": x}, keras.layers.Dense(3)(x))
        model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        model.set_weights([KERNEL, BIAS])
        return model


def by_steps(logging: float, evaluation: float, saving: float) -> dict:
    """Arguments with these intervals."""
    strategies = {"eval_strategy": "steps", "save_strategy": "steps"}
    return {**strategies, "logging_steps": logging, "eval_steps": evaluation, "save_steps": saving}


BY_EPOCHS = dict.fromkeys(("logging_strategy", "eval_strategy", "save_strategy"), "epoch")


def by_pytorch(cases: list[Case]) -> list[dict]:
    """What the PyTorch ``Trainer`` makes of the cases."""
    with tempfile.TemporaryDirectory() as folder:
        asked: dict = {"folder": folder, "kernel": KERNEL.tolist(), "bias": BIAS.tolist(), "cases": []}
        for number, case in enumerate(cases):
            if case.model is not None:
                save_pytorch_format(case.make_model("tf_keras"), pathlib.Path(folder, str(number)))
            columns = {name: column.tolist() for name, column in case.columns.items()}
            asked["cases"].append({**dataclasses.asdict(case), "order": case.order, "columns": columns})
        source = pathlib.Path(folder, "cases.json")
        source.write_text(json.dumps(asked))
        printed = run_pytorch((FOLDER / "pytorch_trainer.py").read_text(), source, PYTHONPATH=str(FOLDER))
        answers = json.loads(printed.splitlines()[-1])
        for number, answer in enumerate(answers):
            answer["weights"] = dict(np.load(f"{folder}/{number}.npz"))
    return answers


def by_tensorflow(case: Case, kind: str, *, is_silent: bool = False) -> dict:
    """What ``TFTrainer`` makes of a case."""
    recorder = Recorder(acting(case.wishes))
    model, columns = case.make_model(kind), case.columns
    before = weights_of(model, case)
    labels = columns.pop("labels")
    with tempfile.TemporaryDirectory() as folder:
        args = TFTrainingArguments(folder, report_to="none", disable_tqdm=True, **case.args)
        trainer = TFTrainer(
            model,
            args,
            train_dataset=(columns, labels),
            eval_dataset=(columns, labels),
            callbacks=[] if is_silent else [recorder],
            compute_metrics=accuracy if case.model is None else None,
        )
        output = trainer.train()
        answer = course_of(trainer, recorder, output, folder)
    return {**json.loads(json.dumps(answer)), "weights": weights_of(model, case), "before": before}


def weights_of(model, case) -> dict[str, np.ndarray]:
    """The weights under PyTorch's names."""
    if case.model is not None:
        return pytorch_tensors(model)
    kernel, bias = model.get_weights()
    return {"layer.weight": kernel.T, "layer.bias": bias}


# -- the course of a training ------------------------------------------------------------------------------------------


def course_differences(
    cases: dict[str, Case], answers: list[dict], kind: str, *, is_silent: bool = False
) -> dict[str, list[str]]:
    """How the courses of trainings differ, by the case's name; without those that do not.

    The last step has a row here, even if none is due.

    Args:
        cases: The trainings.
        answers: Those of :func:`by_pytorch`.
        kind: The Keras of the model.
        is_silent: Whether ``TFTrainer`` has no callback, so that only what is left behind is compared.
    """
    found = {}
    for (name, case), theirs in zip(cases.items(), answers, strict=True):
        ours = by_tensorflow(case, kind, is_silent=is_silent)
        leave_last_row_out(ours, theirs)
        lines = [*history_lines(ours, theirs), *end_lines(ours, theirs)]
        if not is_silent:
            lines += event_lines(ours, theirs)
        if lines:
            found[name] = lines
    return found


def leave_last_row_out(ours: dict, theirs: dict) -> None:
    """Take out the row of the last step, where only ours has one."""
    newest = max((row["step"] for row in theirs["state"]["log_history"] if "loss" in row), default=0)
    history = ours["state"]["log_history"]
    last = next((row for row in history if row["step"] > newest and "loss" in row), None)
    if last is None:
        return
    assert last["step"] == ours["output"][0]
    history.remove(last)
    told = [place for place, event in enumerate(ours["heard"]) if event[0] == "on_log" and "loss" in event]
    if not told:
        return
    del ours["heard"][told[-1]], ours["states"][told[-1]]
    for state in ours["states"][told[-1] :]:
        state[1] -= 1  # Rows in the history.
    for event in ours["heard"]:
        if event[:2] == ["on_step_end", last["step"]] and "log" in event:
            event.remove("log")


def history_lines(ours: dict, theirs: dict) -> list[str]:
    lines = []
    rows, expected = ours["state"]["log_history"], theirs["state"]["log_history"]
    for row, other in itertools.zip_longest(rows, expected, fillvalue={}):
        other = {name: value for name, value in other.items() if name not in ("grad_norm", "total_flos")}
        names = [name for name in other if not name.endswith(("_runtime", "_per_second"))]
        if row.keys() != other.keys() or any(not is_close(row[name], other[name]) for name in names):
            lines.append(f"row {row} and not {other}")
    return lines


def end_lines(ours: dict, theirs: dict) -> list[str]:
    """Differences of the state, the output, the files and the weights."""
    lines = [
        f"state.{name} is {value} and not {theirs['state'][name]}"
        for name, value in ours["state"].items()
        if name not in ("log_history", "total_flos") and not is_close(value, theirs["state"][name])
    ]
    saved = [name for name in ours["saved"] if name.startswith("checkpoint-")]
    if saved != theirs["saved"]:
        lines.append(f"saved {saved} and not {theirs['saved']}")
    step, loss, names = theirs["output"]
    if ours["output"][0] != step or not is_close(ours["output"][1], loss):
        lines.append(f"output {ours['output'][:2]} and not {theirs['output'][:2]}")
    if ours["output"][2] != [name for name in names if name != "total_flos"]:
        lines.append(f"metrics {ours['output'][2]} and not {names}")
    off = max(float(np.abs(weight - theirs["weights"][name]).max()) for name, weight in ours["weights"].items())
    return [*lines, f"weights differ by {off}"] if off > 1e-5 else lines


def event_lines(ours: dict, theirs: dict) -> list[str]:
    """Differences of the events: their order, what control wants, what the state says, what callbacks get."""
    lines = []
    if ours["heard"] != theirs["heard"]:
        heard, expected = ([str(event) for event in answer["heard"]] for answer in (ours, theirs))
        lines += difflib.unified_diff(expected, heard, "PyTorch", "TensorFlow", lineterm="", n=1)
    elif ours["states"] != theirs["states"]:
        pairs = zip(ours["states"], theirs["states"], strict=True)
        lines += [f"{state} and not {other}" for state, other in pairs if state != other]
    if ours["keywords"] != theirs["keywords"]:
        lines.append(f"keywords {ours['keywords']} and not {theirs['keywords']}")
    return lines


def is_close(value, other) -> bool:
    if isinstance(value, float) and isinstance(other, float):
        return abs(value - other) <= 1e-5 + 1e-4 * abs(other)
    return value == other


# -- updates -----------------------------------------------------------------------------------------------------------


def update_differences(cases: dict[str, Case], answers: list[dict]) -> dict[str, list[str]]:
    """How the losses and the weights of trainings differ, by the case's name; without those that do not.

    Weights differ by the norm of the difference as a share of the norm of the change. Arguments as of
    :func:`course_differences`.
    """
    found = {}
    for (name, case), theirs in zip(cases.items(), answers, strict=True):
        ours = by_tensorflow(case, "tf_keras", is_silent=True)
        losses, expected = (
            [row["loss"] for row in answer["state"]["log_history"] if "loss" in row] for answer in (ours, theirs)
        )
        lines = []
        if not np.allclose(losses, expected, rtol=1e-4):
            lines.append(f"losses {losses} and not {expected}")
        weights = {weight: theirs["weights"][weight] for weight in ours["weights"]}
        change = norm(value - ours["before"][weight] for weight, value in weights.items())
        off = norm(value - ours["weights"][weight] for weight, value in weights.items()) / change
        if not off < 1e-4:
            lines.append(f"weights differ by {off:.1e} of their change")
        if lines:
            found[name] = lines
    return found
