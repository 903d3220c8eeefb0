"""A snapshot holds what the variables were, whatever writes to them afterwards; so does a copy where it must be one."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import tf_keras
import tiny
from helpers import nightly, samples

from tf_hfwb.keras_compat import host_of

OTHERS = ["SGD", "RMSprop", "Adagrad", "Adadelta", "Adamax", "Nadam", "Ftrl", "Lion"]
OPTIMIZERS = ["Adam", "AdamW", "Adafactor", *map(nightly, OTHERS)]


def variables_of(model):
    host = host_of(model)
    return [*model.weights, *host.optimizer_variables().values(), *host.random_variables().values()]


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("kind", ["keras", nightly("tf_keras")])
def test_later_steps_do_not_change_it(kind, name):
    keras = importlib.import_module(kind)
    if not hasattr(keras.optimizers, name):
        pytest.skip(f"{kind} has no {name}")
    model = tiny.functional(kind, dropout=0.1, optimizer=getattr(keras.optimizers, name)(1e-2))
    host_of(model).keep_random_state()
    x, y = tiny.named(samples(16))
    model.fit(x, y, batch_size=8, verbose=0)
    changes(model, lambda: model.fit(x, y, batch_size=8, epochs=2, verbose=0))


@pytest.mark.parametrize("jit", [True, nightly(False)])
def test_nor_with_sparse_gradients_and_batch_normalisation_and_xla(jit):
    tf_keras.utils.set_random_seed(0)
    layers = tf_keras.layers
    model = tf_keras.Sequential(
        [layers.Embedding(50, 8, input_length=4), layers.Flatten(), layers.BatchNormalization(), layers.Dense(2)]
    )
    loss = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(tf_keras.optimizers.legacy.Adam(1e-2), loss, jit_compile=jit)
    x, y = np.random.default_rng(0).integers(0, 50, (16, 4)), np.arange(16) % 2
    model.fit(x, y, verbose=0)
    changes(model, lambda: model.fit(x, y, epochs=2, verbose=0))


def changes(model, act):
    variables = variables_of(model)
    taken = host_of(model).snapshot(variables)
    copies = [np.array(variable.numpy()) for variable in variables]
    act()
    moved = [not np.array_equal(variable.numpy(), copy) for variable, copy in zip(variables, copies, strict=True)]
    assert sum(moved) >= len(model.trainable_variables)
    for value, copy in zip(taken, copies, strict=True):
        assert np.array_equal(np.asarray(value), copy)


def test_where_a_read_is_no_copy_on_write_it_is_copied(monkeypatch):
    module = importlib.import_module("tf_hfwb.keras_compat.variable_snapshot")
    assert module.copies_on_write()
    monkeypatch.setattr(module, "copies_on_write", lambda: False)
    model = tiny.functional("tf_keras", optimizer="adam")
    assert all(isinstance(value, np.ndarray) for value in host_of(model).snapshot(model.weights))


def test_the_trial_notices_a_read_that_is_no_copy(monkeypatch):
    module = importlib.import_module("tf_hfwb.keras_compat.variable_snapshot")
    monkeypatch.setattr(module, "read", lambda variable: variable)  # What is read later is what it is then.
    assert not module._try()
