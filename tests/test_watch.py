"""``WandbWatch``: what it logs is what gradients and weights are, and training does not notice."""

from __future__ import annotations

import importlib
import json
import os
import pathlib
import shutil

import numpy as np
import pytest
import tiny
from helpers import KERASES, classifier, finish, nightly, python, samples

from tf_hfwb import (
    TFTrainer,
    TFTrainingArguments,
    WandbMetricsLogger,
    WandbModelCheckpoint,
    WandbWatch,
    restore,
    training_batches,
)
from tf_hfwb.dashboards.log_entries import Histogram
from tf_hfwb.errors import SettingError
from tf_hfwb.keras_compat import distribution_of_array, host_of
from tf_hfwb.tracking.run_history import rows_in
from tf_hfwb.tracking.wandb_histogram import wandb_histogram

STEP = "train/global_step"
HERE = [str(pathlib.Path(__file__).parent)]


def backend() -> str:
    return os.environ.get("KERAS_BACKEND", "tensorflow")


def name_of(variable) -> str:
    return getattr(variable, "path", variable.name).partition(":")[0]


def watched(directory=None) -> list[dict]:
    """The rows of ``WandbWatch`` in a run, each histogram as (counts, edges)."""
    rows = []
    for row in rows_in(directory or finish()):
        whole = {name: value for name, value in row.items() if name.startswith(("train/", "gradients_", "parameters_"))}
        for name, value in row.items():
            if isinstance(value, dict):
                whole[name] = value["values"], value["bins"]
        if any(name.startswith(("gradients", "parameters")) for name in whole):
            rows.append(whole)
    return rows


def gradients_by_hand(model, x, y, variables=None) -> dict[str, np.ndarray]:
    variables = variables or model.trainable_variables
    loss_of = host_of(model).keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    if backend() == "jax":
        import jax

        fixed = [variable.value for variable in model.non_trainable_variables]

        def loss(values):
            outputs, _ = model.stateless_call(values, fixed, x, training=True)
            return loss_of(y, outputs)

        found = jax.grad(loss)([variable.value for variable in variables])
    else:
        import tensorflow as tf

        with tf.GradientTape() as tape:
            loss = loss_of(tf.constant(y), model(x, training=True))
        plain = [variable if isinstance(variable, tf.Variable) else variable.value for variable in variables]
        found = map(tf.convert_to_tensor, tape.gradient(loss, plain))
    return dict(zip(map(name_of, variables), map(np.array, found), strict=True))


def assert_is(row: dict, room: str, name: str, values: np.ndarray) -> None:
    """The row holds the norm and the histogram of ``values``."""
    assert row[f"{room}_norm/{name}"] == pytest.approx(np.linalg.norm(values), rel=1e-5, abs=1e-7), name
    counts, edges = row[f"{room}/{name}"]
    expected, expected_edges = np.histogram(values, 64)
    np.testing.assert_allclose(edges, expected_edges, rtol=1e-3, atol=1e-6)
    # A value on the edge of a bin may fall to either side.
    assert np.sum(counts) == values.size
    assert np.abs(np.cumsum(counts) - np.cumsum(expected)).max() <= 1, name


def assert_gradients(rows: list[dict], model, x, y, batch_size: int, batches: int = 1) -> None:
    """Every row holds the gradients of its step, of ``batches`` batches; the model must not have changed."""
    for row in rows:
        last = row[STEP] * batches * batch_size
        part = slice(last - batch_size * batches, last)
        by_hand = gradients_by_hand(model, x[part], y[part])
        assert {name.partition("/")[2] for name in row if name.startswith("gradients/")} == set(by_hand)
        for name, values in by_hand.items():
            assert_is(row, "gradients", name, values)
        total = np.sqrt(sum(np.sum(np.square(values, dtype=np.float64)) for values in by_hand.values()))
        assert row["train/grad_norm"] == pytest.approx(total, rel=1e-5)


def sgd(kind: str, **options):
    return importlib.import_module(kind).optimizers.SGD(0.0, **options)


def scaled(kind: str):
    keras = importlib.import_module(kind)
    module = keras.mixed_precision if kind == "tf_keras" else keras.optimizers
    return module.LossScaleOptimizer(sgd(kind))


def legacy(kind: str):
    import transformers

    return transformers.AdamWeightDecay(0.0, weight_decay_rate=0.0, clipnorm=0.01)


BOTH = {
    "plain": ({}, {}),
    "clipped": ({"optimizer": lambda kind: sgd(kind, global_clipnorm=0.01)}, {}),
    "loss scale": ({"optimizer": scaled}, {}),
    "jit": ({"jit_compile": True}, {}),
    "eager": ({"run_eagerly": True}, {}),
    "steps per execution": ({"steps_per_execution": 4}, {"steps": [4, 8, 10]}),
}
ONE = {
    "legacy": ("tf_keras", {"optimizer": legacy}, {}),
    "accumulation": (
        "keras",
        {"optimizer": lambda kind: sgd(kind, gradient_accumulation_steps=2, clipnorm=0.01)},
        {"steps": [3], "batches": 2},
    ),
    "accumulation and steps per execution": (
        "keras",
        {"optimizer": lambda kind: sgd(kind, gradient_accumulation_steps=2), "steps_per_execution": 3},
        {"steps": [3], "batches": 2},
    ),
}
NIGHTLY = [("tf_keras", "clipped"), ("keras", "jit"), ("tf_keras", "eager")]
CASES = [
    (nightly if (kind, name) in NIGHTLY else pytest.param)(kind, *BOTH[name]) for name in BOTH for kind in KERASES
] + list(ONE.values())


def check_gradients(kind: str, options: dict, steps=(3, 6, 9), batches: int = 1) -> None:
    options = {name: value(kind) if name == "optimizer" else value for name, value in options.items()}
    x, y = samples(40)
    model = classifier(kind, **options)
    model.fit(x, y, batch_size=4, shuffle=False, verbose=0, callbacks=[WandbWatch(log_freq=3)])
    rows = watched()
    assert [row[STEP] for row in rows] == list(steps)
    assert_gradients(rows, model, x, y, 4, batches)


@pytest.mark.parametrize(("kind", "options", "expected"), CASES)
def test_gradients_are_those_computed_by_hand(kind, options, expected):
    check_gradients(kind, options, **expected)


class Subclassed:
    """Built by its first batch; words occur twice in a batch; a layer is frozen, another gets no gradient."""

    @staticmethod
    def of(kind: str):
        keras = importlib.import_module(kind)
        keras.utils.set_random_seed(0)

        class Words(keras.Model):
            def __init__(self):
                super().__init__()
                self.embedding = keras.layers.Embedding(10, 4)
                self.frozen = keras.layers.Dense(4, trainable=False)
                self.unused = keras.layers.Dense(2)
                self.out = keras.layers.Dense(3)

            def call(self, words, training=False):
                vectors = self.embedding(words)
                self.unused(vectors)
                return self.out(self.frozen(vectors[:, 0] + vectors[:, 1]))

        model = Words()
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(optimizer=sgd(kind, clipnorm=0.1), loss=loss)
        return model


@pytest.mark.parametrize("kind", ["keras", nightly("tf_keras")])
def test_a_training_that_is_too_short_to_be_seen_says_so(kind, caplog):
    x, y = samples(12)
    for log_freq, number in ((np.int64(100), 1), (3, 0)):
        caplog.clear()
        classifier(kind).fit(x, y, batch_size=4, callbacks=[WandbWatch("all", log_freq)], verbose=0)
        finish()
        assert caplog.text.count("none of the steps 1 to 3 is a multiple of log_freq=100") == number


@pytest.mark.parametrize("kind", ["tf_keras", nightly("keras")])
def test_sparse_frozen_and_missing_gradients_of_a_model_built_by_its_first_batch(kind):
    model = Subclassed.of(kind)
    words, y = np.arange(24).reshape(12, 2) % 3, samples(12)[1]
    model.fit(words, y, batch_size=4, shuffle=False, verbose=0, callbacks=[WandbWatch("all", log_freq=2)])
    (row,) = watched()
    trained = [*model.embedding.trainable_variables, *model.out.trainable_variables]
    by_hand = gradients_by_hand(model, words[4:8], y[4:8], trained)
    assert {name for name in row if name.startswith("gradients/")} == {f"gradients/{name}" for name in by_hand}
    for name, values in by_hand.items():
        assert_is(row, "gradients", name, values)
    shown = {name for name in row if name.startswith("parameters/")}
    assert shown == {f"parameters/{name_of(variable)}" for variable in model.trainable_variables}
    for variable in model.trainable_variables:
        assert_is(row, "parameters", name_of(variable), np.array(variable))


@pytest.mark.parametrize("kind", KERASES)
def test_weights_are_those_after_the_step(kind):
    keras = importlib.import_module(kind)
    x, y = samples(12)
    model = classifier(kind, optimizer=keras.optimizers.SGD(0.1))
    model.fit(x, y, batch_size=4, shuffle=False, verbose=0, callbacks=[WandbWatch("parameters", log_freq=3)])
    (row,) = watched()
    assert not [name for name in row if "grad" in name]
    for variable in model.trainable_variables:
        assert_is(row, "parameters", name_of(variable), np.array(variable))
    assert not hasattr(getattr(model.optimizer, "_clip_gradients"), "observer")  # noqa: B009


@pytest.mark.parametrize("kind", ["keras", nightly("tf_keras")])
def test_what_is_not_finite_is_counted_and_left_out(kind):
    x, y = samples(8)
    x[5] = np.nan
    model = classifier(kind)
    before = [np.array(weight) for weight in model.get_weights()]
    model.fit(x, y, batch_size=4, shuffle=False, verbose=0, callbacks=[WandbWatch("all", log_freq=1)])
    good, bad = watched()
    assert np.isfinite(good["train/grad_norm"])
    assert np.isnan(bad["train/grad_norm"])
    for variable, values in zip(model.trainable_variables, before, strict=True):
        name = name_of(variable)
        assert bad[f"gradients_nonfinite/{name}"] == values.size
        assert np.sum(bad[f"gradients/{name}"][0]) == 0
        assert np.isnan(bad[f"parameters_norm/{name}"])
        assert not [key for key in good if "nonfinite" in key]


def test_counting_agrees_wherever_it_is_done():
    import tensorflow as tf

    from tf_hfwb.keras_compat.gradients.histogram_bins import (
        distribution_of_vector,
        vector_in_jax,
        vector_in_tensorflow,
    )

    random = np.random.default_rng(0)
    mixed = random.normal(size=1000).astype("float32")
    mixed[[3, 4, 5]] = np.nan, np.inf, -np.inf
    huge = np.array([-1e37, 1e37], np.float32)
    for array in (mixed, mixed[6:].reshape(71, 14), np.full([7], 3.0), np.zeros(5), np.full(3, np.nan), huge):
        found = [distribution_of_array(array)]
        for compiled in (False, True):
            function = tf.function(vector_in_tensorflow, jit_compile=compiled)
            found.append(distribution_of_vector(function(array.astype("float32"), compiled=compiled).numpy()))
        if importlib.util.find_spec("jax"):
            found.append(distribution_of_vector(np.array(vector_in_jax(array.astype("float32")))))
        finite = array[np.isfinite(array)]
        for one in found:
            assert np.sum(one.counts) == finite.size
            assert one.nonfinite == array.size - finite.size
            np.testing.assert_array_equal(one.counts, found[0].counts)
            assert np.all(np.diff(one.edges) > 0)
            if finite.size == array.size and array is not huge:
                assert one.norm == pytest.approx(np.linalg.norm(array), rel=1e-6)
    one = distribution_of_array(np.full([7], 3.0))
    assert one.edges[np.flatnonzero(one.counts)[0]] == pytest.approx(3.0)
    assert str(distribution_of_array(np.array([np.nan, 1.0])).norm) == "nan"


@pytest.mark.parametrize(("low", "high"), [(-0.03, 0.04), (-1e-45, 1e-45), (1.0, 1.0000001), (-1e37, 1e37), (5.0, 5.0)])
def test_edges_that_are_written_have_the_digits_that_their_range_needs(low, high):
    distribution = distribution_of_array(np.array([low, high], np.float32))
    edges = wandb_histogram(Histogram(distribution.counts, distribution.edges)).bins
    assert np.all(np.diff(edges) > 0)
    np.testing.assert_allclose(edges, distribution.edges, rtol=0, atol=1e-6 * (edges[-1] - edges[0]))


def test_edges_that_are_written_are_short():
    distribution = distribution_of_array(np.array([-0.0301234567, 0.0401234567], np.float32))
    assert (
        max(len(repr(edge)) for edge in wandb_histogram(Histogram(distribution.counts, distribution.edges)).bins) <= 12
    )


@pytest.mark.parametrize("kind", ["keras", nightly("tf_keras")])
def test_an_optimizer_that_hides_its_gradients_is_told_of(kind, caplog):
    keras = importlib.import_module(kind)

    class Own(keras.optimizers.SGD):
        def apply_gradients(self, grads_and_vars, **_):
            for gradient, variable in grads_and_vars:
                variable.assign_sub(0.01 * gradient)

        def apply(self, grads, trainable_variables=None):
            self.apply_gradients(zip(grads, trainable_variables, strict=True))

    x, y = samples(12)
    model = classifier(kind, optimizer=Own(0.1))
    model.fit(x, y, batch_size=4, verbose=0, callbacks=[WandbWatch(log_freq=1)])
    assert [message for message in caplog.messages if "WandbWatch has seen no gradients in" in message]


# -- training does not notice --------------------------------------------------------------------------------------


def trained(kind: str, callbacks, epochs: int = 2, **options):
    """Weights and optimizer after a fit with dropout and Adam."""
    keras = importlib.import_module(kind)
    model = tiny.functional(kind, dropout=0.2, optimizer=keras.optimizers.Adam(0.01, clipnorm=0.5), **options)
    x, y = tiny.named(samples(40))
    model.fit(x, y, batch_size=4, epochs=epochs, shuffle=False, verbose=0, callbacks=callbacks)
    return model


def state(model) -> list[bytes]:
    variables = [*model.weights, *host_of(model).optimizer_variables().values()]
    return [np.array(variable).tobytes() for variable in variables]


@pytest.mark.parametrize("kind", ["tf_keras", nightly("keras")])
def test_the_training_stays_the_same_bit_for_bit(kind):
    assert state(trained(kind, [WandbWatch("all", log_freq=3)])) == state(trained(kind, []))


class Traces:
    """Counts how often the train step is traced."""

    def __init__(self, model):
        self.number, step = 0, model.train_step

        def counted(*args):
            self.number += 1
            return step(*args)

        model.train_step = counted


@pytest.mark.parametrize("kind", KERASES)
def test_later_fits_trace_nothing_anew_and_look_only_when_watched(kind):
    x, y = samples(40)
    model = classifier(kind)
    traces = Traces(model)
    fit = {"batch_size": 4, "shuffle": False, "verbose": 0}
    model.fit(x, y, callbacks=[WandbWatch(log_freq=4)], **fit)
    number = traces.number
    observer = host_of(model).observe_gradients()
    seen = np.array(observer.capture())
    assert seen[-1, 0] == 7
    model.fit(x, y, callbacks=[WandbMetricsLogger()], **fit)
    np.testing.assert_array_equal(observer.capture(), seen)
    model.fit(x, y, callbacks=[WandbWatch(log_freq=4)], **fit)
    assert host_of(model).observe_gradients() is observer
    assert traces.number == number
    rows = watched()
    assert [row[STEP] for row in rows] == [4, 8, 24, 28]
    assert np.array(observer.capture())[-1, 0] == 27
    assert rows[0]["train/grad_norm"] == pytest.approx(
        np.sqrt(sum(np.sum(g**2) for g in gradients_by_hand(model, x[12:16], y[12:16]).values())), rel=1e-5
    )


@pytest.mark.parametrize("kind", ["keras", nightly("tf_keras")])
def test_a_model_compiled_anew_with_the_same_optimizer_is_still_watched(kind):
    x, y = samples(12)
    model = classifier(kind, optimizer=sgd(kind))
    loss = model.loss
    model.fit(x, y, batch_size=4, shuffle=False, verbose=0, callbacks=[WandbWatch(log_freq=3)])
    model.compile(optimizer=model.optimizer, loss=loss, jit_compile=True)
    model.fit(x, y, batch_size=4, shuffle=False, verbose=0, callbacks=[WandbWatch(log_freq=3)])
    one, other = watched()
    assert other["train/grad_norm"] == pytest.approx(one["train/grad_norm"], rel=1e-5)


@pytest.mark.parametrize("kind", ["tf_keras", nightly("keras")])
def test_after_an_exception_nobody_looks_any_more(kind):
    keras = importlib.import_module(kind)
    x, y = samples(40)
    model = classifier(kind)

    class Fails(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 4:
                raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        model.fit(x, y, batch_size=4, verbose=0, callbacks=[WandbWatch(log_freq=7), Fails()])
    model.fit(x, y, batch_size=4, verbose=0)
    assert np.array(host_of(model).observe_gradients().capture())[-1, 0] in (-1, 6)


# -- going on ------------------------------------------------------------------------------------------------------


def fitted(model, callbacks, start=0):
    batches = training_batches(tiny.named(samples(40)), 4, model=model, start_step=start)
    steps = batches.steps_per_epoch
    model.fit(batches.dataset, steps_per_epoch=steps, epochs=2, callbacks=callbacks, shuffle=False, verbose=0)


def resumable(kind: str):
    keras = importlib.import_module(kind)
    keras.backend.clear_session()  # The layers are called the same, as in another process.
    return tiny.functional(kind, dropout=0.2, optimizer=keras.optimizers.Adam(0.01))


def check_resume(kind: str) -> None:
    """Saved with and without, restored with and without: the same training, and no row twice."""
    straight = resumable(kind)
    watch = [WandbMetricsLogger(3), WandbWatch("all", log_freq=3)]
    fitted(straight, [*watch, WandbModelCheckpoint("out", save_freq=7)])
    first = finish()
    rows = watched(first)
    assert [row[STEP] for row in rows] == [3, 6, 9, 12, 15, 18]
    facts = json.loads(pathlib.Path("out/checkpoint-7/trainer_state.json").read_text())
    assert {"train/grad_norm", "train/epoch", STEP} in [set(row) for row in facts["log_history"]]
    for again in ([], [WandbMetricsLogger(3), WandbWatch("all", log_freq=3)]):
        other = resumable(kind)
        position = restore(other, "out/checkpoint-7")
        fitted(other, again, start=position.batches)
        assert state(other) == state(straight)
    assert watched() == []  # The run had all of it.
    shutil.rmtree("wandb")  # Where the rows are not known, they are written.
    bare = resumable(kind)
    fitted(bare, [WandbModelCheckpoint("bare", save_freq=7)])
    other = resumable(kind)
    position = restore(other, "bare/checkpoint-7")
    fitted(other, [WandbWatch("all", log_freq=3)], start=position.batches)
    assert state(other) == state(straight) == state(bare)
    late = watched()
    assert [row[STEP] for row in late] == [9, 12, 15, 18]
    assert late == rows[2:]


@pytest.mark.nightly
@pytest.mark.parametrize("kind", ["keras", nightly("tf_keras")])
def test_a_checkpoint_fits_with_and_without(kind):
    check_resume(kind)


@pytest.mark.parametrize("kind", ["tf_keras", nightly("keras")])
def test_a_watched_model_is_saved_as_any_other(kind):
    keras = importlib.import_module(kind)
    model = trained(kind, [WandbWatch(log_freq=3)], epochs=1)
    model.save("model.keras")
    loaded = keras.models.load_model("model.keras")
    assert len(loaded.optimizer.variables) == len(trained(kind, [], epochs=1).optimizer.variables)
    assert state(loaded) == state(model)


# -- arguments -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"log": "weights"}, r"log='weights' .* 'gradients', 'parameters', 'all'"),
        ({"log": "false"}, "log='false'"),
        ({"log_freq": 0}, "log_freq=0"),
        ({"log_freq": "epoch"}, "log_freq='epoch'"),
        ({"initial_global_step": -1}, "initial_global_step=-1"),
    ],
)
def test_arguments_are_checked(options, message):
    with pytest.raises(SettingError, match=message):
        WandbWatch(**options)


def test_a_wrong_word_in_the_environment_is_told_before_training(monkeypatch):
    monkeypatch.setenv("WANDB_WATCH", "everything")
    with pytest.raises(SettingError, match="WANDB_WATCH='everything'"):
        WandbWatch()


def test_an_argument_wins_over_the_environment(monkeypatch):
    monkeypatch.setenv("WANDB_WATCH", "Parameters")
    x, y = samples(4)
    model = classifier("tf_keras")
    for callback in (WandbWatch(log_freq=1), WandbWatch("gradients", log_freq=1)):
        model.fit(x, y, batch_size=4, verbose=0, callbacks=[callback])
    (one, other) = watched()
    assert any(name.startswith("parameters/") for name in one)
    assert not any(name.startswith("gradients") for name in one)
    assert not any(name.startswith("parameters") for name in other)


@pytest.mark.filterwarnings("ignore:WANDB_DISABLED")
def test_without_a_run_nothing_is_watched(monkeypatch):
    monkeypatch.setenv("WANDB_DISABLED", "true")
    x, y = samples(4)
    model = classifier("keras")
    model.fit(x, y, batch_size=4, verbose=0, callbacks=[WandbWatch("all", log_freq=1)])
    assert not hasattr(model.optimizer._clip_gradients, "observer")


def test_the_trainer_watches_what_the_environment_asks_for(monkeypatch):
    monkeypatch.setenv("WANDB_WATCH", "all")
    args = TFTrainingArguments(
        max_steps=101, per_device_train_batch_size=4, logging_steps=20, save_strategy="no", disable_tqdm=True
    )
    rows = []
    for own in ([], [WandbWatch("gradients", log_freq=7)]):
        model = tiny.functional("keras")
        TFTrainer(model, args, train_dataset=tiny.named(samples(8)), callbacks=own).train()
        rows.append(watched())
    assert [[row[STEP] for row in some] for some in rows] == [[100], list(range(7, 102, 7))]
    assert [any(name.startswith("parameters/") for name in some[0]) for some in rows] == [True, False]


def test_a_transformers_model_with_its_own_loss_and_a_sparse_gradient():
    model, data = tiny.bert(), tiny.classified(8)
    model.compile(sgd("tf_keras"))
    batch = next(iter(training_batches(data, 8, model=model, processing_class=tiny.tokenizer()).dataset))
    import tensorflow as tf

    dataset = tf.data.Dataset.from_tensors(batch).repeat(3)
    model.fit(dataset, verbose=0, callbacks=[WandbWatch(log_freq=3)])
    (row,) = watched()
    inputs = {**batch[0], "labels": batch[1]} if isinstance(batch, tuple) else batch
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(model(inputs, training=True).loss)
    gradients = tape.gradient(loss, model.trainable_variables)
    assert any(isinstance(gradient, tf.IndexedSlices) for gradient in gradients)
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        if gradient is not None:
            values = tf.convert_to_tensor(gradient).numpy()
            assert row[f"gradients_norm/{name_of(variable)}"] == pytest.approx(
                np.linalg.norm(values), rel=1e-4, abs=1e-7
            )


# -- in processes of their own -------------------------------------------------------------------------------------

MIRRORED = """
import json, sys
import numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
sys.path[:0] = {path!r}
import test_watch as test
from helpers import classifier, samples
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
for kind in ("tf_keras", "keras"):
    for optimizer in (test.sgd, test.scaled, *([test.legacy] if kind == "tf_keras" else [])):
        x, y = samples(40)
        with strategy.scope():
            model = classifier(kind, optimizer=optimizer(kind))
        model.fit(x, y, batch_size=8, shuffle=False, verbose=0, callbacks=[test.WandbWatch("all", log_freq=2)])
        rows = test.watched()
        assert [row["train/global_step"] for row in rows] == [2, 4], rows
        single = classifier(kind)
        single.set_weights(model.get_weights())
        names = dict(zip(map(test.name_of, single.trainable_variables), map(test.name_of, model.trainable_variables)))
        for row in rows:
            part = slice(8 * row["train/global_step"] - 8, 8 * row["train/global_step"])
            for name, values in test.gradients_by_hand(single, x[part], y[part]).items():
                test.assert_is(row, "gradients", names[name], values)
        print(kind, optimizer.__name__)
"""


@pytest.mark.nightly
@pytest.mark.slow
def test_two_replicas_show_the_gradients_of_the_whole_batch(launcher):
    printed = launcher.python(MIRRORED.format(path=HERE)).stdout.splitlines()
    expected = ["tf_keras sgd", "tf_keras scaled", "tf_keras legacy", "keras sgd", "keras scaled"]
    assert printed[-5:] == expected


JAX = """
import sys
sys.path[:0] = {path!r}
import keras, test_watch as test
assert keras.backend.backend() == "jax"
for name, (options, expected) in test.BOTH.items():
    test.check_gradients("keras", options, **expected)
for name, (kind, options, expected) in test.ONE.items():
    if kind == "keras":
        test.check_gradients(kind, options, **expected)
test.test_the_training_stays_the_same_bit_for_bit("keras")
test.finish()
test.test_later_fits_trace_nothing_anew_and_look_only_when_watched("keras")
test.test_what_is_not_finite_is_counted_and_left_out("keras")
test.check_resume("keras")
test.test_a_watched_model_is_saved_as_any_other("keras")
print("done")
"""


@pytest.mark.nightly
def test_on_jax():
    pytest.importorskip("jax")
    assert python("-c", JAX.format(path=HERE), KERAS_BACKEND="jax").stdout.split()[-1] == "done"
