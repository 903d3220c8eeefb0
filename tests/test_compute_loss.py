"""A loss of the user's: ``compute_loss`` of a subclass of ``TFTrainer``, and ``compute_loss_func``."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import tensorflow as tf
import tiny
import transformers
from helpers import KERASES, finish, history, nightly, python, samples, train_rows

from tf_hfwb import TFTrainer, TFTrainingArguments
from tf_hfwb.checkpoint.store import Store
from tf_hfwb.errors import SettingError


def trainer_of(model, data, trainer=TFTrainer, *, compute_metrics=None, compute_loss_func=None, **options):
    defaults = {"report_to": "none", "disable_tqdm": True, "save_strategy": "no", "num_train_epochs": 2}
    defaults |= {"per_device_train_batch_size": 4, "per_device_eval_batch_size": 4, "learning_rate": 1e-2}
    return trainer(
        model,
        TFTrainingArguments(**{**defaults, **options}),
        train_dataset=data,
        eval_dataset=data,
        processing_class=tiny.tokenizer() if hasattr(model, "hf_compute_loss") else None,
        compute_metrics=compute_metrics,
        compute_loss_func=compute_loss_func,
    )


def same_weights(left, right, tolerance=0.0):
    assert len(left.get_weights()) == len(right.get_weights()) > 0
    for one, other in zip(left.get_weights(), right.get_weights(), strict=True):
        np.testing.assert_allclose(np.asarray(one), np.asarray(other), rtol=0, atol=tolerance)


def cross_entropy(logits, labels):
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, tf.cast(logits, tf.float32))


class ByHand(TFTrainer):
    """Written as for PyTorch, with TensorFlow's function for the loss."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        labels = inputs.pop("labels")
        outputs = model(**inputs)
        loss = tf.reduce_mean(cross_entropy(outputs.get("logits"), labels))
        return (loss, outputs) if return_outputs else loss


class OfPlainModel(TFTrainer):
    def compute_loss(self, model, inputs, return_outputs=False):
        labels = inputs.pop("labels")
        logits = model(inputs)
        loss = cross_entropy(logits, labels)
        return (loss, logits) if return_outputs else loss


class Whatever(TFTrainer):
    """Changes nothing."""

    def compute_loss(self, model, inputs, return_outputs=False, **more):
        return super().compute_loss(model, inputs, return_outputs, **more)


MODELS = {
    "bert": (tiny.bert, tiny.classified),
    "bert with dropout": (lambda: tiny.bert(hidden_dropout_prob=0.3), tiny.classified),
    "distilbert": (tiny.distilbert, tiny.tagged),
    "gpt2": (tiny.gpt2, tiny.next_words),
    "t5": (lambda: tiny.t5(dropout=0.1), tiny.answered),
    "vit": (tiny.vit, tiny.pictures),
    "tf_keras": (lambda: tiny.functional("tf_keras", dropout=0.3), lambda: tiny.named(samples(11))),
    "keras": (lambda: tiny.functional("keras", dropout=0.3), lambda: tiny.named(samples(11))),
}


@pytest.mark.parametrize("name", [name if name == "keras" else nightly(name) for name in MODELS])
def test_an_override_that_changes_nothing_changes_nothing(name):
    """Weights, losses and metrics are those of a trainer without it; so the model trains within the override."""
    make, data = MODELS[name]
    trainers = [trainer_of(make(), data(), kind) for kind in (TFTrainer, Whatever)]
    outputs = [trainer.train() for trainer in trainers]
    same_weights(trainers[0].model, trainers[1].model, tolerance=2e-6)
    assert outputs[1].training_loss == pytest.approx(outputs[0].training_loss, rel=1e-6)
    plain, own = (trainer.evaluate() for trainer in trainers)
    assert own.keys() == plain.keys()
    for metric in plain:
        if not metric.endswith(("runtime", "per_second")):
            assert own[metric] == pytest.approx(plain[metric], rel=1e-5)
    expected, found = (trainer.predict(trainer.eval_dataset) for trainer in trainers)
    for one, other in zip(_arrays(expected.predictions), _arrays(found.predictions), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def _arrays(predictions):
    return predictions if isinstance(predictions, tuple) else (predictions,)


@pytest.mark.nightly
def test_a_loss_written_as_for_pytorch():
    trainers = [trainer_of(tiny.bert(hidden_dropout_prob=0.3), tiny.classified(), kind) for kind in (TFTrainer, ByHand)]
    for trainer in trainers:
        trainer.train()
    same_weights(trainers[0].model, trainers[1].model, tolerance=2e-6)
    assert trainers[1].evaluate()["eval_loss"] == pytest.approx(trainers[0].evaluate()["eval_loss"], rel=1e-5)


@pytest.mark.parametrize("kind", ["tf_keras", nightly("keras")])
def test_a_loss_of_a_plain_model_with_an_old_signature(kind):
    data = tiny.named(samples(11))
    trainers = [trainer_of(tiny.functional(kind), data, one) for one in (TFTrainer, OfPlainModel)]
    for trainer in trainers:
        trainer.train()
    same_weights(trainers[0].model, trainers[1].model, tolerance=2e-6)
    plain, own = (trainer.evaluate() for trainer in trainers)
    assert own["eval_loss"] == pytest.approx(plain["eval_loss"], rel=1e-5)
    assert own["eval_accuracy"] == plain["eval_accuracy"]


@pytest.mark.parametrize("kind", KERASES)
def test_a_model_without_a_loss_that_was_never_compiled(kind):
    keras = importlib.import_module(kind)
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(3)])

    class Weighted(TFTrainer):
        def compute_loss(self, model, inputs, return_outputs=False):
            logits = model(inputs["inputs"])
            weights = tf.cast(inputs["sample_weight"], tf.float32)
            loss = tf.reduce_mean(weights * cross_entropy(logits, inputs["labels"]))
            return (loss, logits) if return_outputs else loss

    x, y = samples(8)
    weights = np.arange(8.0).astype("float32")
    before = [tf.Variable(np.asarray(weight)) for weight in model.get_weights()]
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(weights * cross_entropy(x @ before[0] + before[1], y))
    gradients = tape.gradient(loss, before)
    trainer = Weighted(
        model,
        TFTrainingArguments(report_to="none", disable_tqdm=True, save_strategy="no", max_steps=1),
        train_dataset=(x, y, weights),
        eval_dataset=(x, y, weights),
        optimizers=(keras.optimizers.SGD(0.1), None),
    )
    assert trainer.evaluate()["eval_loss"] == pytest.approx(float(loss), rel=1e-5)
    assert trainer.train().training_loss == pytest.approx(float(loss), rel=1e-5)
    for new, old, gradient in zip(model.get_weights(), before, gradients, strict=True):
        np.testing.assert_allclose(np.asarray(new), old - 0.1 * gradient, atol=1e-6)


@pytest.mark.parametrize("kind", ["tf_keras", nightly("keras")])
def test_what_layers_add_to_the_loss_is_added_once(kind):
    keras = importlib.import_module(kind)

    def model():
        keras.utils.set_random_seed(0)
        regularizer = keras.regularizers.L2(0.3)
        model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(3, kernel_regularizer=regularizer)])
        model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        return model

    trainers = [trainer_of(model(), samples(11), one) for one in (TFTrainer, Whatever)]
    outputs = [trainer.train() for trainer in trainers]
    same_weights(trainers[0].model, trainers[1].model, tolerance=2e-6)
    assert outputs[1].training_loss == pytest.approx(outputs[0].training_loss, rel=1e-6)


@pytest.mark.parametrize("kind", ["keras", nightly("tf_keras")])
def test_the_mode_of_the_step_and_of_other_models(kind):
    """Without ``training`` the model is in the mode of the step, and a teacher does not train."""
    keras = importlib.import_module(kind)
    data = tiny.named(samples(8))
    teacher = tiny.functional(kind, dropout=0.9)
    fixed = np.asarray(teacher(data[0], training=False))
    seen = {}

    class Student(TFTrainer):
        def compute_loss(self, model, inputs, return_outputs=False):
            labels = inputs.pop("labels")
            twice = [model(inputs), model(inputs)]
            still = [model(inputs, training=False), model(inputs, training=False)]
            taught = teacher(inputs)
            tf.py_function(lambda *values: seen.update(values=[value.numpy() for value in values]), twice + still, [])
            loss = cross_entropy(twice[0], labels) + tf.reduce_sum((taught - fixed) ** 2)
            return (loss, twice[0]) if return_outputs else loss

    model = tiny.functional(kind, dropout=0.5)
    model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    trainer = trainer_of(
        model,
        data,
        Student,
        max_steps=1,
        learning_rate=0.0,
        per_device_train_batch_size=8,
        per_device_eval_batch_size=8,
    )
    trainer.get_train_tfdataset = lambda: tf.data.Dataset.from_tensors(data)
    loss = trainer.train().training_loss
    first, second, third, fourth = seen["values"]
    assert not np.allclose(first, second)
    np.testing.assert_array_equal(third, fourth)
    assert loss < 5  # A teacher that drops out is farther from itself.
    trainer.evaluate()
    first, second, third, _ = seen["values"]
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(first, third)


# -- compute_loss_func -------------------------------------------------------------------------------------------------


@pytest.mark.nightly
def test_a_loss_function_of_outputs_and_labels():
    """Per word, as for PyTorch: the sum over the words divided by their number, without those of -100."""
    numbers = []

    def of_words(outputs, labels, num_items_in_batch=None):
        numbers.append(num_items_in_batch)
        logits, labels = outputs["logits"][:, :-1], labels[:, 1:]
        mask = tf.cast(labels != -100, tf.float32)
        losses = cross_entropy(logits, tf.maximum(labels, 0)) * mask
        return tf.reduce_sum(losses) / num_items_in_batch

    trainer = trainer_of(tiny.gpt2(), tiny.next_words(), compute_loss_func=of_words, learning_rate=0.0, max_steps=1)
    batch = next(iter(trainer.get_train_dataloader()))
    logits = np.asarray(trainer.model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits)
    labels = batch["labels"]
    log_probabilities = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    rows, places = np.nonzero(labels[:, 1:] != -100)
    expected = -log_probabilities[rows, places, labels[rows, places + 1]].sum() / np.sum(labels != -100)
    assert trainer.train().training_loss == pytest.approx(expected, rel=1e-5)
    assert all(number.dtype == tf.float32 for number in numbers)
    metrics = trainer.evaluate()
    assert 0 < metrics["eval_loss"] < 10


@pytest.mark.parametrize("kind", ["keras", nightly("tf_keras")])
def test_a_loss_function_of_a_plain_model(kind):
    data = tiny.named(samples(11))
    own = trainer_of(
        tiny.functional(kind), data, compute_loss_func=lambda outputs, labels, **_: cross_entropy(outputs, labels)
    )
    plain = trainer_of(tiny.functional(kind), data)
    for trainer in (own, plain):
        trainer.train()
    same_weights(own.model, plain.model, tolerance=2e-6)


# -- evaluation --------------------------------------------------------------------------------------------------------


class TwiceAsMuch(TFTrainer):
    def compute_loss(self, model, inputs, return_outputs=False, **more):
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True, **more)
        outputs = {"loss": loss, "logits": outputs["logits"] * 2} if isinstance(outputs, dict) else outputs * 2
        return (2 * loss, outputs) if return_outputs else 2 * loss


@pytest.mark.parametrize("make", [tiny.bert, lambda: tiny.functional("keras")])
def test_evaluation_uses_the_loss_too(make):
    model = make()
    data = tiny.classified() if hasattr(model, "hf_compute_loss") else tiny.named(samples(11))
    seen = []

    def compute_metrics(prediction):
        seen.append(prediction.predictions)
        return {"accuracy": np.mean(prediction.predictions.argmax(-1) == prediction.label_ids)}

    plain = trainer_of(model, data, compute_metrics=compute_metrics)
    expected = plain.evaluate()
    found = trainer_of(model, data, TwiceAsMuch, compute_metrics=compute_metrics).evaluate()
    assert found["eval_loss"] == pytest.approx(2 * expected["eval_loss"], rel=1e-5)
    if hasattr(model, "hf_compute_loss"):
        np.testing.assert_allclose(seen[1], 2 * seen[0], rtol=1e-5)
    assert plain.evaluate()["eval_loss"] == pytest.approx(expected["eval_loss"], rel=1e-6)  # It was taken out again.


def test_without_labels_there_is_no_loss():
    trainer = trainer_of(tiny.bert(), tiny.classified(), ByHand)
    output = trainer.predict(tiny.texts(5))
    assert output.predictions.shape == (5, 3)
    assert "test_loss" not in output.metrics


@pytest.mark.nightly
def test_outputs_are_needed_where_something_reads_them():
    class Forgetful(TFTrainer):
        def compute_loss(self, model, inputs, return_outputs=False):
            return model(**inputs)["loss"]

    trainer = trainer_of(tiny.bert(), tiny.classified(), Forgetful, max_steps=2)
    assert trainer.train().training_loss > 0  # Nothing reads them.
    with pytest.raises(SettingError, match=r"return_outputs=True.*Expected a pair \(loss, outputs\).*End it with"):
        trainer.evaluate()

    class Silent(TFTrainer):
        def compute_loss(self, model, inputs, return_outputs=False):
            model(**inputs)

    with pytest.raises(SettingError, match=r"compute_loss.*None cannot be used. Expected the loss as a tensor"):
        trainer_of(tiny.bert(), tiny.classified(), Silent, max_steps=2).train()


# -- everything else of a training stays -------------------------------------------------------------------------------


@pytest.mark.nightly
@pytest.mark.parametrize("kind", ["tf_keras", nightly("keras")])
def test_rows_and_checkpoints_of_a_resumed_training(kind, tmp_path):
    """Every loss is recorded, and a training that resumes makes the same steps."""
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"

    def train(path, resume=None, **options):
        model = tiny.functional(kind, dropout=0.2)
        options = {"output_dir": str(path), "save_strategy": "steps", "save_steps": 3, "logging_steps": 1, **options}
        trainer = trainer_of(
            model, tiny.named(samples(22)), OfPlainModel, max_steps=10, full_determinism=True, **options
        )
        trainer.train(resume)
        return trainer

    expected = train(whole, report_to="wandb")
    rows = train_rows(history(finish()))
    assert [row["train/global_step"] for row in rows] == list(range(1, 11))
    assert all(np.isfinite(row["train/loss"]) for row in rows)
    steps = [checkpoint.step for checkpoint in Store(str(whole)).checkpoints()]
    assert steps == [3, 6, 9, 10]
    found = train(resumed, str(whole / "checkpoint-6"))
    same_weights(expected.model, found.model)


@pytest.mark.nightly
@pytest.mark.parametrize("kind", ["tf_keras", nightly("keras")])
def test_several_steps_in_an_execution_and_clipping(kind):
    data = tiny.named(samples(22))
    models, steps = [], []
    for one in (TFTrainer, OfPlainModel):
        model = tiny.functional(kind)
        model.compile(
            optimizer=model.optimizer, loss=model.loss, metrics=["accuracy"], steps_per_execution=4, jit_compile=False
        )
        trainer = trainer_of(model, data, one, max_grad_norm=0.05, max_steps=10)
        steps.append(trainer.train().global_step)
        models.append(model)
    assert steps[0] == steps[1] >= 10
    same_weights(*models, tolerance=2e-6)


@pytest.mark.nightly
@pytest.mark.parametrize("kind", ["keras", nightly("tf_keras")])
def test_mixed_precision(kind):
    keras = importlib.import_module(kind)
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        models = []
        for one in (TFTrainer, OfPlainModel):
            model = tiny.functional(kind)
            trainer = trainer_of(model, tiny.named(samples(22)), one, max_steps=6)
            assert np.isfinite(trainer.train().training_loss)
            assert hasattr(model.optimizer, "inner_optimizer")
            models.append(model)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    same_weights(*models, tolerance=2e-3)


def test_a_model_that_is_compiled_again_keeps_the_loss():
    model = tiny.functional("tf_keras")
    trainer = trainer_of(model, tiny.named(samples(11)), OfPlainModel, max_steps=2)
    trainer.train()
    model.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    expected = trainer_of(model, tiny.named(samples(11)), OfPlainModel).evaluate()["eval_loss"]
    assert trainer.evaluate()["eval_loss"] == pytest.approx(expected)
    assert 0.1 < expected < 3  # That of logits, and not of probabilities.


REPLICAS = """
import numpy as np, tensorflow as tf, tiny
from helpers import samples
from test_compute_loss import ByHand, OfPlainModel, trainer_of
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
numbers = []
for strategy in (tf.distribute.get_strategy(), tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])):
    for name, kind in (("bert", ByHand), ("tf_keras", OfPlainModel), ("keras", OfPlainModel)):
        size = 8 // strategy.num_replicas_in_sync
        with strategy.scope():
            model = tiny.bert() if name == "bert" else tiny.functional(name)
        data = tiny.classified(24) if name == "bert" else tiny.named(samples(24))
        sizes = dict(per_device_train_batch_size=size, per_device_eval_batch_size=size)
        trainer = trainer_of(model, data, kind, max_grad_norm=0.0, **sizes)  # Keras 3 clips replicas apart.
        loss = trainer.train().training_loss
        weights = np.concatenate([np.ravel(weight) for weight in model.get_weights()])
        numbers.append((loss, trainer.evaluate()["eval_loss"], float(np.abs(weights).sum())))
print(numbers)
np.testing.assert_allclose(numbers[:3], numbers[3:], rtol=1e-4)
"""


@pytest.mark.nightly
def test_two_replicas(launcher):
    """Each computes the mean of its half of the batch."""
    launcher.python(REPLICAS)


ON_JAX = """
import keras, numpy as np, tiny
from helpers import samples
from tf_hfwb import TFTrainer
from test_compute_loss import Whatever, same_weights, trainer_of
assert keras.backend.backend() == "jax"

class Own(TFTrainer):
    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        labels = inputs.pop("labels")
        logits = model(inputs)
        losses = keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)
        loss = keras.ops.sum(losses) / num_items_in_batch
        return (loss, logits) if return_outputs else loss

data = tiny.named(samples(11))
found = []
for kind in (TFTrainer, Own, Whatever):
    trainer = trainer_of(tiny.functional("keras", dropout=0.3), data, kind)
    loss = trainer.train().training_loss
    metrics = trainer.evaluate()
    found.append((loss, metrics["eval_loss"], metrics["eval_accuracy"], trainer.model))
for one in found[1:]:
    np.testing.assert_allclose(one[:3], found[0][:3], rtol=1e-5)
    same_weights(one[3], found[0][3], tolerance=2e-6)
"""


@pytest.mark.nightly
def test_on_jax():
    pytest.importorskip("jax")
    python("-c", ON_JAX, KERAS_BACKEND="jax")


def test_it_is_called_eagerly_too():
    trainer = trainer_of(tiny.bert(), tiny.classified())
    batch = next(iter(trainer.get_eval_dataloader()))
    loss, outputs = trainer.compute_loss(trainer.model, batch, return_outputs=True)
    assert isinstance(outputs, transformers.modeling_tf_outputs.TFSequenceClassifierOutput)
    assert float(tf.reduce_mean(loss)) > 0
