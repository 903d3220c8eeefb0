"""SIGTERM and Ctrl-C where nothing saves checkpoints: the run has its end, and everything else is as it was."""

from __future__ import annotations

import importlib
import json
import signal

import pytest
import tiny
from helpers import classifier, nightly, python, samples
from test_run_ends import MAIN, folder_of

from tf_hfwb import TFTrainer, TFTrainingArguments, WandbMetricsLogger, WandbModelCheckpoint
from tf_hfwb.errors import SettingError
from tf_hfwb.fit.fit_session import running_session
from tf_hfwb.fit.signals import is_watched

pytestmark = pytest.mark.keras3

# A signal in a step, or when the last epoch has ended.
TRAINING = """
import importlib, os, signal, sys
import tiny
from helpers import samples
from tf_hfwb import TFTrainer, TFTrainingArguments

kind, name, moment, report_to = sys.argv[1:]
keras = importlib.import_module(kind)

class Signal(keras.callbacks.Callback):
    epoch = 0

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if moment == "step" and self.epoch == 1 and batch == 0:
            os.kill(os.getpid(), getattr(signal, name))

    def on_epoch_end(self, epoch, logs=None):
        if moment == "end" and epoch == 2:
            os.kill(os.getpid(), getattr(signal, name))

args = TFTrainingArguments(
    "out", save_strategy="no", report_to=report_to, logging_steps=1, per_device_train_batch_size=4, disable_tqdm=True
)
trainer = TFTrainer(tiny.functional(kind), args, train_dataset=tiny.named(samples(12)), callbacks=[Signal()])
trainer.train()
print("trained")
"""


def exit_code_of(run_id: str) -> int | None:
    return json.loads(python("-c", MAIN, "show", "--json", folder_of(run_id)).stdout)["exit_code"]


@pytest.mark.nightly
@pytest.mark.parametrize("kind", ["keras", nightly("tf_keras")])
def test_the_run_of_a_trainer_that_saves_nothing_has_its_end(kind, launcher):
    cases = {
        ("SIGTERM", "step"): ([128 + signal.SIGTERM], 128 + signal.SIGTERM),
        ("SIGTERM", "end"): ([128 + signal.SIGTERM], 128 + signal.SIGTERM),
        ("SIGINT", "step"): ([-signal.SIGINT, 1], 255),
    }
    started = {case: launcher.start(TRAINING, kind, *case, "wandb", WANDB_RUN_ID="-".join(case)) for case in cases}
    for case, (statuses, exit_code) in cases.items():
        ended = started[case].wait()
        assert ended.returncode in statuses, (case, ended.stderr)
        assert "trained" not in ended.stdout
        assert ("SIGTERM: ending the W&B run when this step has ended" in ended.stderr) == (case[0] == "SIGTERM")
        assert exit_code_of("-".join(case)) == exit_code, case


def test_without_a_run_the_signal_does_what_it_did_before(launcher):
    ended = launcher.python(TRAINING, "keras", "SIGTERM", "step", "none", check=False)
    assert ended.returncode == -signal.SIGTERM
    assert "SIGTERM" not in ended.stderr


@pytest.mark.parametrize("kind", ["keras", nightly("tf_keras")])
def test_nothing_is_done_per_step_and_the_handler_is_given_back(kind):
    keras = importlib.import_module(kind)
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    class Look(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append((list(running_session(self.model).hooks.before), signal.getsignal(signal.SIGTERM)))

    model, (x, y) = classifier(kind), samples(8)
    model.fit(x, y, verbose=0, callbacks=[WandbMetricsLogger(), Look()])
    assert seen[0][0] == []
    assert seen[0][1] != before
    assert signal.getsignal(signal.SIGTERM) == before


def test_after_an_exception_the_next_fit_takes_the_handler_over():
    keras = importlib.import_module("keras")
    before = signal.getsignal(signal.SIGTERM)

    class Failing(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise ArithmeticError

    model, (x, y) = classifier("keras"), samples(8)
    with pytest.raises(ArithmeticError):
        model.fit(x, y, verbose=0, callbacks=[WandbMetricsLogger(), Failing()])
    assert not is_watched(signal.SIGTERM)
    model.fit(x, y, verbose=0, callbacks=[WandbMetricsLogger()])
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_callback_that_saves_takes_over():
    keras = importlib.import_module("keras")
    owners = []

    class Look(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            owners.append(signal.getsignal(signal.SIGTERM).__self__)

    model, (x, y) = classifier("keras"), samples(8)
    saver = WandbModelCheckpoint("out")
    model.fit(x, y, verbose=0, callbacks=[WandbMetricsLogger(), Look(), saver])
    assert owners == [saver._signals]


def test_a_registry_beside_a_checkpoint_callback_of_the_users_is_not_dropped():
    args = TFTrainingArguments("out", save_strategy="no", link_to_registry="bert", report_to="wandb")
    with pytest.raises(SettingError, match=r"link_to_registry='bert' cannot be used. Expected None beside your own"):
        TFTrainer(tiny.functional("keras"), args, callbacks=[WandbModelCheckpoint("own", save_freq="no")])
