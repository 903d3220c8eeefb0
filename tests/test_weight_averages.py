"""Optimizers that average the weights: the averages are in the model behind a training, not in what it goes on from."""

from __future__ import annotations

import importlib
import warnings

import numpy as np
import pytest
from helpers import KERASES, classifier, nightly, on_both, samples

from tf_hfwb import WandbModelCheckpoint, restore

pytestmark = [pytest.mark.core, pytest.mark.torch]
DATA = samples(20)


def averaging(kind, **options):
    optimizers = importlib.import_module(kind).optimizers
    return classifier(kind, optimizer=optimizers.Adam(0.05, use_ema=True, ema_momentum=0.9, **options))


def fit(model, directory, *callbacks, epochs, save_freq=3):
    """Five steps an epoch."""
    saver = WandbModelCheckpoint(directory, save_freq=save_freq, log_model="false")
    options = {"batch_size": 4, "shuffle": False, "verbose": 0}
    return model.fit(*DATA, epochs=epochs, callbacks=[*callbacks, saver], **options)


def same(one, other):
    return all(map(np.array_equal, one.get_weights(), other.get_weights()))


def ending(kind, how):
    """A callback that ends the fit at its fourth step, or when its first epoch has ended."""

    class Ending(importlib.import_module(kind).callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if how == "error" and batch == 3:
                raise ArithmeticError
            self.model.stop_training = how == "step" and batch == 3

        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = True

    return Ending()


@pytest.mark.parametrize("kind", KERASES)
def test_a_training_that_ended_between_two_saves_goes_on_as_if_it_had_not(kind, tmp_path):
    straight, ended, resumed = averaging(kind), averaging(kind), averaging(kind)
    expected = fit(straight, tmp_path / "straight", epochs=4).history
    fit(ended, tmp_path / "ended", epochs=2)
    restore(resumed, tmp_path / "ended" / "checkpoint-10")
    assert not same(resumed, ended)  # The model has the averages.
    history = fit(resumed, tmp_path / "resumed", epochs=4).history
    assert history == {name: values[2:] for name, values in expected.items()}
    assert same(resumed, straight)
    again = averaging(kind)
    restore(again, tmp_path / "ended" / "checkpoint-10")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit(again, tmp_path / "again", epochs=2)  # Nothing is left to train.
    assert same(again, ended)


@pytest.mark.parametrize(("kind", "how"), on_both(("step", "epoch")))
def test_so_does_one_that_was_stopped(kind, how, tmp_path):
    straight, stopped, resumed = averaging(kind), averaging(kind), averaging(kind)
    fit(straight, tmp_path / "straight", epochs=2)
    fit(stopped, tmp_path / "stopped", ending(kind, how), epochs=2)
    assert restore(resumed, True, output_dir=tmp_path / "stopped").step == {"step": 4, "epoch": 5}[how]
    fit(resumed, tmp_path / "resumed", epochs=2)
    assert same(resumed, straight)
    assert "finalize_variable_values" not in vars(stopped.optimizer)


@pytest.mark.parametrize("kind", KERASES)
def test_an_error_saves_no_step(kind, tmp_path):
    model = classifier(kind)  # Of Keras's own, one that averages on JAX has no second fit.
    try:
        raise ValueError
    except ValueError:  # Errors that are handled around the fit are others.
        fit(model, tmp_path / "ended", epochs=1)
        with pytest.raises(ArithmeticError):
            fit(model, tmp_path / "failed", ending(kind, "error"), epochs=1)
    fit(model, tmp_path / "after", epochs=1, save_freq=100)
    steps = {name: sorted(p.name for p in (tmp_path / name).glob("checkpoint-*")) for name in ("ended", "failed")}
    assert steps == {"ended": ["checkpoint-3", "checkpoint-5"], "failed": ["checkpoint-6"]}


@pytest.mark.parametrize(("save_freq", "is_behind"), [("epoch", True), nightly("epoch", False), nightly(3, True)])
def test_averages_that_are_swapped_in_at_epochs_are_behind_the_checkpoints_or_told_of(
    save_freq, is_behind, tmp_path, caplog
):
    keras = importlib.import_module("keras")

    def swapped(model, directory, epochs):
        callbacks = [
            WandbModelCheckpoint(directory, save_freq=save_freq, log_model="false"),
            keras.callbacks.SwapEMAWeights(swap_on_epoch=True),
        ]
        callbacks = callbacks if is_behind else callbacks[::-1]
        model.fit(*DATA, epochs=epochs, batch_size=4, shuffle=False, verbose=0, callbacks=callbacks)

    straight, resumed = averaging("keras"), averaging("keras")
    swapped(straight, tmp_path / "straight", 3)
    is_told = "stands behind" in caplog.text or "stands in front" in caplog.text
    assert is_told == (save_freq != "epoch" or not is_behind)
    if not is_told:
        restore(resumed, tmp_path / "straight" / "checkpoint-5")
        swapped(resumed, tmp_path / "resumed", 3)
        rounds = keras.backend.backend() == "tensorflow"  # Sums and differences exchange them there.
        for one, other in zip(resumed.get_weights(), straight.get_weights(), strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-5 if rounds else 0.0)
