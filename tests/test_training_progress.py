"""What a user sees of a training: the bar on a terminal, lines in a log, and the table at the end."""

from __future__ import annotations

import fcntl
import importlib
import logging
import os
import re
import struct
import sys
import termios
import threading
import time

import keras
import numpy as np
import pytest
from helpers import KERASES, classifier, nightly, python, samples

from tf_hfwb import EarlyStopping, TFTrainer, TFTrainingArguments
from tf_hfwb.trainer.progress.progress_line import Progress, bar_line
from tf_hfwb.trainer.progress.progress_output import Medium, ProgressOutput
from tf_hfwb.trainer.progress.step_pace import StepPace

pytestmark = pytest.mark.keras3

X, Y = samples(64)


GAPS = "tf_hfwb.trainer.progress.training_progress.seconds_between_lines"


@pytest.fixture(autouse=True)
def no_line_of_a_log_is_due(monkeypatch):
    """On a busy machine a training takes so long that it would get one."""
    monkeypatch.setattr(GAPS, lambda elapsed: float("inf"))


def trainer_of(package: str = "keras", callbacks=(), compiled=None, **options) -> TFTrainer:
    """Eight steps an epoch."""
    model = classifier(package, learning_rate=0.1, **(compiled or {}))
    defaults = {"num_train_epochs": 2, "save_strategy": "no", "report_to": "none", "output_dir": "out"}
    args = TFTrainingArguments(**{**defaults, **options})
    return TFTrainer(model, args, train_dataset=(X, Y), eval_dataset=(X, Y), callbacks=list(callbacks))


def slow_down(package: str, seconds: float):
    """A callback that lets every batch take so long."""
    kind = importlib.import_module(package).callbacks.Callback

    class Slow(kind):
        def on_train_batch_end(self, batch, logs=None):
            time.sleep(seconds)

    return Slow()


@pytest.fixture
def terminal(monkeypatch):
    """Standard output is a terminal; its columns can be set, and what it was sent be read."""
    leader, follower = os.openpty()
    sent = []

    def read():
        while True:
            try:
                sent.append(os.read(leader, 4096))
            except OSError:
                return

    class Terminal:
        def begin(self) -> None:
            """Called by the test itself, as pytest captures what it prints by setting the same attribute."""
            monkeypatch.setattr(sys, "stdout", stream)

        def resize(self, columns: int) -> None:
            fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))

        def end(self) -> str:
            stream.close()
            thread.join(5)
            return b"".join(sent).decode()

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    stream = os.fdopen(follower, "w")
    terminal = Terminal()
    terminal.resize(80)
    yield terminal
    os.close(leader)


def screen_of(sent: str, columns: int) -> list[str]:
    """The lines that a terminal shows; none may be longer than it is wide."""
    lines = [""]
    for part in re.split(r"(\r|\n)", sent):
        if part == "\n":
            lines.append("")
            column = 0
        elif part == "\r":
            column = 0
        elif part:
            before = lines[-1]
            lines[-1] = before[:column] + part + before[column + len(part) :]
            column += len(part)
            assert column < columns, part
    return [line.rstrip() for line in lines]


# -- words -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", [None, 0.5, 1.23456e-12, -12345.678, float("nan"), float("inf")])
@pytest.mark.parametrize("rate", [None, 0.0, 1e-5, 12345.6])
def test_a_bar_fits_into_any_terminal(loss, rate):
    for step in (0, 1, 999_999, 1_000_000):
        progress = Progress(step, 0, 1_000_000, 3, 100, loss, rate, 1e6, 1e7)
        lines = [bar_line(progress, width) for width in range(200)]
        assert all(len(line) <= width for width, line in enumerate(lines))
        assert [len(line) for line in lines] == sorted(len(line) for line in lines[:40]) + [
            len(line) for line in lines[40:]
        ]
        assert f"{step:7}/1000000" in lines[-1]


def test_a_training_of_no_steps_has_no_share():
    assert Progress(5, 5, 5, 1, 1).share == 0.0


def test_the_pace_leaves_the_first_step_and_evaluations_out_of_the_rate():
    pace = StepPace(0.0, 100, 200)
    pace.see(0.5, 100)
    assert (pace.has_begun, pace.rate, pace.seconds_left(0.5)) == (False, None, None)
    pace.see(60.0, 101)  # Compiled.
    assert (pace.has_begun, pace.rate, pace.seconds_left(60.0)) == (True, None, None)
    pace.see(60.5, 100)  # A look in the middle of the counting.
    assert pace.step == 101
    pace.see(61.0, 105)
    assert pace.rate == 4.0
    pace.leave(62.0)
    assert pace.is_away
    pace.come_back(162.0)
    pace.see(163.0, 113)
    assert pace.rate == pytest.approx(12 / 3)
    assert pace.seconds_left(163.0) == pytest.approx(103 / 12 * 87)  # There will be evaluations again.
    for second in range(164, 300):
        pace.see(float(second), 113 + second - 163)
    assert pace.rate == pytest.approx(1.0)


# -- a log -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("package", ["keras", nightly("tf_keras")])
def test_a_log_has_lines_of_evaluations_and_a_table(package, capsys):
    trainer = trainer_of(package, eval_strategy="steps", eval_steps=6, save_strategy="steps", save_steps=4)
    trainer.train()
    printed = capsys.readouterr().out
    assert "\r" not in printed
    number = r"-?[\d.e-]+"
    expected = [
        *(
            rf"Step {step}/16 \({percent}%, epoch {epoch}/2\): eval_loss {number}, eval_accuracy {number}"
            for step, percent, epoch in [(6, 37, 1), (12, 75, 2)]
        ),
        r"Training has ended at step 16 of 16, epoch 2\.",
        rf"  trained        16 steps in \d:\d\d, {number} (steps/s|s/step), {number} samples/s",
        rf"  train_loss     {number} on average, {number} in the last row",
        rf"  eval_loss      {number}",
        rf"  eval_accuracy  {number}( \(best {number} at step 6\))?",
        r"  checkpoints    checkpoint-4, checkpoint-8, checkpoint-12, checkpoint-16 in out",
    ]
    lines = printed.splitlines()
    assert len(lines) == len(expected)
    for line, pattern in zip(lines, expected, strict=True):
        assert re.fullmatch(pattern, line), (line, pattern)
    evaluated = [row for row in trainer.state.log_history if "eval_loss" in row]
    assert [f"eval_loss {row['eval_loss']:.4g}," in line for row, line in zip(evaluated, lines[:2], strict=True)] == [
        True,
        True,
    ]


def test_an_evaluated_epoch_has_one_line_with_all_its_metrics(capsys):
    trainer_of(eval_strategy="epoch").train()
    lines = capsys.readouterr().out.splitlines()
    assert [re.sub(r" [\d.]+(?=,|$)", "", line) for line in lines[:2]] == [
        f"Step {step}/16 ({percent}%, epoch {epoch}/2): loss, eval_loss, accuracy, eval_accuracy"
        for step, percent, epoch in [(8, 50, 1), (16, 100, 2)]
    ]


@pytest.mark.parametrize("package", ["tf_keras", nightly("keras")])
def test_without_a_bar_nothing_is_printed(package, capsys):
    trainer_of(package, disable_tqdm=True, eval_strategy="epoch", save_strategy="epoch").train()
    assert capsys.readouterr() == ("", "")


def test_a_log_has_a_line_now_and_then(capsys, monkeypatch):
    monkeypatch.setattr(GAPS, lambda elapsed: 0.6)
    trainer_of(callbacks=[slow_down("keras", 0.15)]).train()
    lines = [line for line in capsys.readouterr().out.splitlines() if " left" in line]
    assert 1 <= len(lines) <= 4
    pattern = r"Step \d+/16 \(\d+%, epoch [12]/2\): loss [\d.]+, [\d.]+ (steps/s|s/step), after 0:0\d, 0:0\d left"
    assert all(re.fullmatch(pattern, line) for line in lines[1:])


def test_one_short_training_is_quiet(capsys):
    trainer_of(num_train_epochs=1).train()
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_several_trainings_and_a_resume_count_on(capsys):
    trainer = trainer_of(save_strategy="steps", save_steps=10)
    trainer.train()
    assert "ended at step 16 of 16" in capsys.readouterr().out
    trainer.train()
    printed = capsys.readouterr().out
    assert "ended at step 32 of 32, epoch 2." in printed
    assert "trained      16 steps in" in printed
    resumed = trainer_of(save_strategy="steps", save_steps=10)
    resumed.train(resume_from_checkpoint="out/checkpoint-10")
    printed = capsys.readouterr().out
    assert "ended at step 16 of 16, epoch 2." in printed
    assert "trained      6 steps since step 10 in" in printed
    resumed = trainer_of(save_strategy="no")
    resumed.train(resume_from_checkpoint="out/checkpoint-16")
    assert "trained     no step" in capsys.readouterr().out


@pytest.mark.parametrize("package", [KERASES[1], nightly(KERASES[0])])
def test_steps_of_one_execution_are_counted(package, capsys):
    trainer = trainer_of(package, compiled={"steps_per_execution": 3}, eval_strategy="steps", eval_steps=5)
    trainer.train()
    lines = capsys.readouterr().out.splitlines()
    evaluated = [row["step"] for row in trainer.state.log_history if "eval_loss" in row]
    assert len(evaluated) >= 2
    assert [line for step in evaluated for line in lines if line.startswith(f"Step {step}/16 ")] == lines[:-5]


def test_a_training_that_is_stopped_says_so(capsys):
    stopping = EarlyStopping("eval_loss", min_delta=100.0)
    trainer_of(num_train_epochs=9, eval_strategy="epoch", callbacks=[stopping]).train()
    assert "Training was ended early, at step 16 of 72, epoch 2." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "said"),
    [(KeyboardInterrupt, "Training was interrupted at step"), (ZeroDivisionError, "Training failed at step")],
)
def test_what_has_ended_a_training_is_told_and_what_there_is(error, said, capsys):
    class Ending(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 5:
                raise error

    filters = [*logging.getLogger("tf_hfwb").filters]
    with pytest.raises(error):
        trainer_of(save_strategy="steps", save_steps=2, callbacks=[Ending()]).train()
    printed = capsys.readouterr().out
    assert re.search(rf"{said} 6 of 16, epoch 0.75", printed)
    assert "checkpoint-4" in printed
    assert not any(thread.name == "tf_hfwb-progress" for thread in threading.enumerate())
    assert logging.getLogger("tf_hfwb").filters == filters


def test_the_table_names_the_newest_and_the_best_of_many_checkpoints(capsys):
    trainer = trainer_of(
        save_strategy="steps", save_steps=2, eval_strategy="steps", eval_steps=2, load_best_model_at_end=True
    )
    trainer.train()
    best = f"checkpoint-{trainer.state.best_global_step}"
    assert f"8 in out, the newest is checkpoint-16; the best is {best}" in capsys.readouterr().out


def test_the_table_says_where_the_run_is(capsys):
    trainer = trainer_of(report_to="wandb")
    trainer.train()
    folder = os.path.relpath(trainer.run_directory)
    assert f"  run         offline; upload it with: wandb sync {folder}\n" in capsys.readouterr().out


# -- a terminal --------------------------------------------------------------------------------------------------------


class Printing(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        sys.stdout.write(f"epoch {epoch} has ended\n")


def test_a_terminal_has_a_bar_and_lines_that_nothing_is_left_in(terminal):
    terminal.begin()
    trainer = trainer_of(
        callbacks=[slow_down("keras", 0.1), Printing(), EarlyStopping("eval_loss", patience=50, verbose=1)],
        eval_strategy="steps",
        eval_steps=6,
    )
    trainer.train()
    sent = terminal.end()
    lines = screen_of(sent, 80)
    assert [line.partition(":")[0] for line in lines] == [
        "Step 6/16 (37%, epoch 1/2)",
        "epoch 0 has ended",
        "Step 8/16 (50%, epoch 1/2)",
        "Step 12/16 (75%, epoch 2/2)",
        "epoch 1 has ended",
        "Step 16/16 (100%, epoch 2/2)",
        "Training has ended at step 16 of 16, epoch 2.",
        *[line.partition(":")[0] for line in lines[7:11]],
        "",
    ]
    assert "  0% [>                   ]  0/16, epoch 1/2, preparing the first step, 0:00" in sent
    assert re.search(r"\r [1-9]\d% \[=+> +\]  ?\d+/16, epoch [12]/2, loss [\d.]+, [\d.]+ steps/s, 0:0\d left", sent)


def test_a_narrow_terminal_has_short_lines_and_may_change(terminal):
    terminal.begin()
    terminal.resize(30)

    class Resizing(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            terminal.resize(50)

    trainer_of(callbacks=[slow_down("keras", 0.1), Resizing()]).train()
    bars = [line for line in re.split(r"[\r\n]+", terminal.end()) if re.match(r" *\d+% ", line)]
    half = next(i for i, bar in enumerate(bars) if int(bar.partition("%")[0]) >= 50)  # A busy machine shows few.
    assert max(len(bar) for bar in bars[:half]) < 30
    assert 30 <= max(len(bar) for bar in bars[half:]) < 50


def test_a_message_takes_the_place_of_the_bar(terminal):
    terminal.begin()
    output = ProgressOutput()
    assert output.medium is Medium.TERMINAL
    output.show("=" * 60)
    output.clear()
    sys.stdout.write("short\n")
    output.show("=" * 10)
    output.leave()
    output.show("hidden")
    assert screen_of(terminal.end(), 80) == ["short", "==========", ""]


def test_an_interrupt_leaves_the_bar_where_it_was(terminal):
    terminal.begin()

    class Ending(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            time.sleep(0.2)
            if batch == 5:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trainer_of(callbacks=[Ending()]).train()
    lines = screen_of(terminal.end(), 80)
    assert re.match(r" \d\d% \[", lines[0])
    assert lines[1].startswith("Training was interrupted at step 6 of 16")


def test_an_output_that_takes_nothing_does_not_end_the_training(monkeypatch):
    reading, writing = os.pipe()
    stream = os.fdopen(writing, "w")
    monkeypatch.setattr(sys, "stdout", stream)
    os.close(reading)
    assert trainer_of(eval_strategy="epoch").train().global_step == 16
    monkeypatch.setattr(sys, "stdout", None)
    assert trainer_of(eval_strategy="epoch").train().global_step == 16
    with pytest.raises(BrokenPipeError):
        stream.close()


def test_letters_that_the_output_lacks_are_replaced(tmp_path, monkeypatch):
    with open(tmp_path / "log", "w", encoding="ascii") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        ProgressOutput().write_line("précision 0.5")
    assert (tmp_path / "log").read_text() == "pr?cision 0.5\n"


# -- losses in the bar -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("package", ["keras", nightly("tf_keras")])
def test_the_loss_is_the_mean_of_the_last_steps(package, terminal):
    terminal.begin()
    losses = np.linspace(5, 1, 12, dtype="float32")
    other = importlib.import_module(package)
    model = other.Sequential([other.layers.Input((1,)), other.layers.Dense(1)])
    model.compile(loss=lambda y, outputs: y + 0.0 * outputs)
    terminal.resize(100)
    args = TFTrainingArguments(
        num_train_epochs=1, save_strategy="no", report_to="none", per_device_train_batch_size=1, data_seed=0
    )
    TFTrainer(
        model,
        args,
        train_dataset=(np.ones((12, 1), "float32"), losses[:, None]),
        callbacks=[slow_down(package, 0.15)],
    ).train()
    shown = re.findall(r" (\d+)/12, loss ([\d.]+)", terminal.end())
    assert len(shown) >= 2
    history = {int(step): float(loss) for step, loss in shown}
    assert all(1 <= loss <= 5 for loss in history.values())
    assert len(set(history.values())) == len(history)


ON_JAX = """
import sys
sys.path.insert(0, {tests!r})
from test_training_progress import slow_down, trainer_of
import keras
assert keras.backend.backend() == "jax"
trainer_of(callbacks=[slow_down("keras", 0.05)], eval_strategy="steps", eval_steps=6).train()
"""


@pytest.mark.nightly
def test_on_jax():
    printed = python("-c", ON_JAX.format(tests=os.path.dirname(__file__)), KERAS_BACKEND="jax").stdout
    assert [line.partition(":")[0] for line in printed.splitlines()[:3]] == [
        "Step 6/16 (37%, epoch 1/2)",
        "Step 12/16 (75%, epoch 2/2)",
        "Training has ended at step 16 of 16, epoch 2.",
    ]
