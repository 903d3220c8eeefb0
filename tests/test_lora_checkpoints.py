"""Checkpoints of a LoRA training: what is trained, and the name of the base; resumed, loaded, refused."""

from __future__ import annotations

import importlib.util
import json
import os
import pathlib
import shutil

import keras
import lora_models
import numpy as np
import pytest
from helpers import nightly, python
from lora_models import FIT, data, plain, same, weights
from safetensors.numpy import load_file

from tf_hfwb import (
    EarlyStopping,
    TFTrainer,
    TFTrainingArguments,
    WandbMetricsLogger,
    WandbModelCheckpoint,
    export_for_serving,
    load_model,
    restore,
)
from tf_hfwb.checkpoint.store import Checkpoint
from tf_hfwb.cli import main
from tf_hfwb.errors import (
    CheckpointWriteError,
    CorruptCheckpointError,
    NotACheckpointError,
    StateMismatchError,
)
from tf_hfwb.keras_compat.keras3_host import Keras3Host
from tf_hfwb.resume.checkpoint_listing import checkpoints
from tf_hfwb.tracking import current_tracker

HAS_KERAS_HUB = importlib.util.find_spec("keras_hub") is not None
pytestmark = pytest.mark.core
needs_keras_hub = pytest.mark.skipif(not HAS_KERAS_HUB, reason="KerasHub is not installed")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A directory with a training of 16 steps, saved at 8 and 16; tests copy it before they change it."""
    directory = tmp_path_factory.mktemp("trained")
    model = plain()
    model.fit(*data(model), **FIT, callbacks=[WandbModelCheckpoint(directory / "out", save_freq=8)])
    model.save(directory / "stock.keras")
    return directory


@pytest.fixture
def out(trained):
    return pathlib.Path(shutil.copytree(trained / "out", "out"))


def base_of(out: pathlib.Path) -> pathlib.Path:
    (base,) = out.glob("base-*")
    return base


# -- what is written ---------------------------------------------------------------------------------------------------


def test_a_checkpoint_holds_what_is_trained_and_names_its_base(trained):
    model, out = plain(), trained / "out"
    adapters = load_file(out / "checkpoint-16" / "adapters.safetensors")
    base = load_file(base_of(out) / "base.safetensors")
    trained_sizes = sorted(int(np.prod(variable.shape)) for variable in model.trainable_variables)
    statistics = [32, 32]
    assert sorted(value.size for value in adapters.values()) == sorted([*trained_sizes, *statistics])
    assert sum(value.size for value in base.values()) == 50 * 16 + 16 * 32 + 32 * 32 + 33 * 32
    kernels = [layer.get_weights()[0] for layer in plain(rank=0).layers if layer.name in ("words", "query", "inner")]
    for kernel in kernels:  # As they were before the training, and not merged.
        assert any(np.array_equal(kernel, value) for value in base.values())

    described = json.loads((out / "checkpoint-16" / "lora.json").read_text())
    manifest = json.loads((base_of(out) / "manifest.json").read_text())
    assert described["base"]["sha256"] == manifest["files"]["base.safetensors"]["sha256"]
    assert described["base"]["name"] == base_of(out).name == f"base-{described['base']['sha256'][:16]}"
    assert [layer["rank"] for layer in described["layers"]] == [2, 2, 2]


@pytest.mark.nightly
def test_the_cost_of_a_save_does_not_grow_with_the_base():
    sizes = {}
    for width in (64, 256):
        model, out = plain(width=width), pathlib.Path(f"out-{width}")
        model.fit(*data(model), **FIT, callbacks=[WandbModelCheckpoint(out, save_freq=8)])
        sizes[width] = [
            sum(file.stat().st_size for file in path.iterdir()) for path in (out / "checkpoint-16", base_of(out))
        ]
    checkpoint, base = (large - small for large, small in zip(sizes[256], sizes[64], strict=True))
    assert base > 500_000
    assert checkpoint < base / 3  # Vectors of the width: biases, statistics, LoRA's matrices, and two slots of each.


def test_a_base_that_could_not_be_written_is_written_with_the_next_checkpoint(monkeypatch, caplog):
    import tf_hfwb.resume.training_state as training_state

    write, calls = training_state.write_base, []

    def fail_once(*arguments):
        calls.append(1)
        if len(calls) == 1:
            raise CheckpointWriteError(28, "The disk is full.")
        return write(*arguments)

    monkeypatch.setattr(training_state, "write_base", fail_once)
    model = plain()
    model.fit(*data(model), **FIT, callbacks=[WandbModelCheckpoint("out", save_freq=4)])
    assert "The disk is full" in caplog.text
    assert len(calls) == 2
    assert sorted(path.name for path in pathlib.Path("out").glob("checkpoint-*")) == [
        "checkpoint-12",
        "checkpoint-16",
        "checkpoint-8",
    ]
    load_model("out/checkpoint-8")


def test_a_base_goes_with_the_last_checkpoint_that_names_it(out):
    first, unreadable = base_of(out), pathlib.Path("out/checkpoint-9/lora.json")
    unreadable.parent.mkdir()
    unreadable.write_text("{}")
    other = plain(seed=1)
    fit = {**FIT, "epochs": 1}
    other.fit(*data(other), **fit, callbacks=[WandbModelCheckpoint(out, save_freq=8, save_total_limit=1)])
    assert {path.name for path in out.glob("checkpoint-*")} == {"checkpoint-9", "checkpoint-8"}
    assert first.exists()  # Nobody knows which one checkpoint-9 needs.
    unreadable.unlink()
    other.fit(*data(other), **fit, callbacks=[WandbModelCheckpoint(out, save_freq=4, save_total_limit=1)])
    assert not first.exists()
    load_model(max(out.glob("checkpoint-1*")))


def test_frozen_weights_that_change_are_reported(caplog):
    class Change(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            kernel = self.model.get_layer("frozen").kernel
            kernel.assign(kernel + 1.0)

    model = plain()
    model.fit(*data(model), **FIT, callbacks=[WandbModelCheckpoint("out", save_freq=4), Change()])
    assert "Frozen weights have changed since the first checkpoint in out was saved" in caplog.text


# -- resumed and loaded ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("quantize", [False, nightly(True)])
def test_a_training_continues_exactly_and_is_loaded(quantize):
    lora_models.check_training(plain, "out", quantize=quantize)


@pytest.mark.nightly
@pytest.mark.slow
@needs_keras_hub
@pytest.mark.parametrize("quantize", [False, True])
def test_a_model_of_keras_hub_continues_exactly(quantize):
    lora_models.check_training(lora_models.hub, "out", quantize=quantize)


JAX = """
import sys, keras, lora_models
kind, quantize = sys.argv[1], sys.argv[2] == "True"
lora_models.check_training(getattr(lora_models, kind), "out", quantize=quantize)
print(keras.backend.backend())
"""


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize("quantize", [False, True])
@pytest.mark.parametrize("kind", ["plain", pytest.param("hub", marks=needs_keras_hub)])
def test_a_training_on_jax_continues_exactly(kind, quantize):
    assert python("-c", JAX, kind, str(quantize), KERAS_BACKEND="jax").stdout.split()[-1] == "jax"


def test_a_loaded_model_is_what_keras_would_save(trained):
    loaded, stock = load_model(trained / "out" / "checkpoint-16"), keras.models.load_model(trained / "stock.keras")
    assert same(loaded, stock)
    assert load_model(trained / "out" / "checkpoint-16", compile=False).compiled is False


def test_a_whole_checkpoint_of_an_earlier_release_is_continued(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Keras3Host, "lora_files", lambda self: None)
        model = plain()
        model.fit(*data(model), **FIT, callbacks=[WandbModelCheckpoint("out", save_freq=8)])
    assert not pathlib.Path("out/checkpoint-16/lora.json").exists()
    again = plain(seed=1)  # They have the base, too.
    assert restore(again, "out/checkpoint-16").step == 16
    assert same(again, model)


@pytest.mark.parametrize("only_model", [False, nightly(True)])
def test_the_best_weights_come_back_at_the_end(only_model):
    model = plain()
    x, y = data(model)
    saved = WandbModelCheckpoint(
        "out", save_freq="epoch", monitor="val_loss", mode="max", load_best_at_end=True, save_only_model=only_model
    )
    model.fit(x, y, **FIT, validation_data=(x, y), callbacks=[saved])
    best = saved.best_checkpoint
    expected = load_model(best).predict(x, verbose=0)
    np.testing.assert_array_equal(model.predict(x, verbose=0), expected)
    assert pathlib.Path(best, "training_state.safetensors").exists() is not only_model
    if only_model:
        with pytest.raises(NotACheckpointError, match="save_only_model"):
            restore(plain(), best)


@pytest.mark.nightly
def test_early_stopping_finds_the_best_weights_after_a_resume():
    def train(model, epochs, out):
        callbacks = [
            EarlyStopping("val_loss", patience=1, mode="max", restore_best_weights=True),
            WandbModelCheckpoint(out, save_freq="epoch"),
        ]
        x, y = data(model)
        model.fit(x, y, **{**FIT, "epochs": epochs}, validation_data=(x, y), callbacks=callbacks)

    model = plain()
    train(model, 1, "out")
    best = load_model("out/checkpoint-8")
    again = plain()
    restore(again, "out/checkpoint-8")
    train(again, 3, "out")
    x, _ = data(again)
    np.testing.assert_array_equal(again.predict(x, verbose=0), best.predict(x, verbose=0))


@pytest.mark.nightly
def test_a_trainer_continues():
    def trainer(epochs):
        model = plain()
        x, y = data(model)
        args = TFTrainingArguments(
            "out",
            num_train_epochs=epochs,
            save_strategy="epoch",
            per_device_train_batch_size=8,
            report_to="none",
            learning_rate=1e-2,
            lr_scheduler_type="constant",
            disable_tqdm=True,
        )
        return TFTrainer(model, args, train_dataset=({"ids": x}, y))

    straight = trainer(2)
    straight.train()
    shutil.rmtree("out")
    trainer(1).train()
    continued = trainer(2)
    continued.train(resume_from_checkpoint=True)
    assert same(continued.model, straight.model)
    assert pathlib.Path("out/checkpoint-8/lora.json").exists()


# -- refused -----------------------------------------------------------------------------------------------------------


def test_another_base_is_refused(out):
    model = plain(seed=1)
    before = weights(model)
    with pytest.raises(StateMismatchError, match=r"on another base than the model has: on base-\w{16} .* Expected the"):
        restore(model, out)
    assert all(np.array_equal(a, b) for a, b in zip(weights(model), before, strict=True))
    changed = plain()
    changed.get_layer("frozen").bias.assign(np.full(32, 1e-6, "float32"))
    with pytest.raises(StateMismatchError, match="another base"):
        restore(changed, out)
    assert restore(plain(), out).step == 16


def test_a_model_without_the_same_lora_is_refused(out):
    with pytest.raises(
        StateMismatchError, match=r"Functional has no layer with LoRA .*Call enable_lora, with the same"
    ):
        restore(plain(rank=0), out)
    with pytest.raises(
        StateMismatchError,
        match=r"lora_embeddings_a: float32\[50, 2\] in the checkpoint, float32\[50, 3\] in the model",
    ):
        restore(plain(rank=3), out)


@pytest.mark.parametrize("damage", ["missing", "cut", "other"])
def test_without_its_base_a_model_is_not_loaded(damage, out):
    base = base_of(out)
    if damage == "missing":
        shutil.move(base, "elsewhere")
        with pytest.raises(NotACheckpointError, match=rf"without their base: .*{base.name}.* Copy {base.name} there"):
            load_model(out / "checkpoint-16")
        assert main(["export", str(out / "checkpoint-16"), "servables"]) == 1
        assert restore(plain(), out).step == 16  # The base is in the model.
        shutil.move("elsewhere", base)
        load_model(out / "checkpoint-16")
        return
    if damage == "cut":
        (base / "base.safetensors").write_bytes(b"")
    else:
        shutil.rmtree(base)
        shutil.copytree(out / "checkpoint-8", base)
    with pytest.raises(
        CorruptCheckpointError, match="damaged" if damage == "cut" else "not the base that its name says"
    ):
        load_model(out / "checkpoint-16")


@pytest.mark.parametrize(
    "change",
    [
        {"base": {"sha256": "../../other", "size": 1}},
        {"layers": [{"layer": "layers/dense/vars", "rank": 0, "alpha": 1, "kernel": None, "a": "a", "b": "b"}]},
        {"layers": [{"layer": "x/vars", "rank": 2, "alpha": 1, "kernel": None, "a": "a", "b": "b"}]},
        {"format": 2},
        None,
    ],
)
def test_a_description_that_no_save_writes(change, out, capsys):
    path = out / "checkpoint-16"
    described = None if change is None else json.loads((path / "lora.json").read_text()) | change
    rewrite(path, "lora.json", json.dumps(described).encode())
    with pytest.raises(CorruptCheckpointError, match=r"lora\.json cannot be used|do not go together"):
        load_model(path)
    is_readable = change is not None and "x/vars" in str(change)
    assert [bool(one.damage) for one in checkpoints(out)] == [False, not is_readable]


def rewrite(path: pathlib.Path, name: str, content: bytes) -> None:
    """Put another file into a checkpoint, as somebody may who knows the format."""
    from tf_hfwb.checkpoint.manifest import FileEntry, manifest_of, sha256_of

    checkpoint = Checkpoint.open(path)
    files = {**checkpoint.files, name: FileEntry(len(content), sha256_of(content))}
    (path / name).write_bytes(content)
    (path / "manifest.json").write_bytes(manifest_of(files, checkpoint.sequence))


# -- artifacts ---------------------------------------------------------------------------------------------------------


def train(run_name: str, out: str):
    model = plain()
    callbacks = [
        WandbMetricsLogger(4, run_name=run_name),
        WandbModelCheckpoint(out, save_freq=4, log_model="checkpoint", artifact_name=run_name),
    ]
    model.fit(*data(model), **FIT, callbacks=callbacks)
    current_tracker().finish()
    return model


@pytest.mark.nightly
def test_a_base_is_uploaded_once_and_found_by_its_name(server):
    model = train("first", "out")
    name = base_of(pathlib.Path("out")).name
    base_size = os.path.getsize(f"out/{name}/base.safetensors")
    versions = server.collection("checkpoint-first").versions
    assert [version.metadata["base"] for version in versions] == [name] * 4
    assert all("base.safetensors" not in version.files for version in versions)
    (base,) = server.collection(name).versions
    assert len(base.files["base.safetensors"]) == base_size
    before = server.uploaded_bytes
    train("second", "more")
    assert len(server.collection(name).versions) == 1
    sizes = [sum(map(len, version.files.values())) for version in server.collection("checkpoint-second").versions]
    final = sum(map(len, server.collection("model-second").versions[0].files.values()))
    assert server.uploaded_bytes - before < sum(sizes) + final + base_size

    shutil.rmtree("out")
    shutil.rmtree("more")
    x, _ = data(model)
    answers = model.predict(x, verbose=0)
    np.testing.assert_array_equal(load_model("checkpoint-first:latest").predict(x, verbose=0), answers)
    again = plain()
    assert restore(again, "checkpoint-first:step-8").step == 8
    assert {one.base for one in checkpoints("checkpoint-first")} == {name}


def test_offline_the_names_lead_there_too(capsys):
    train("first", "out")
    shutil.move("out/checkpoint-16", "copy")
    assert load_model("copy").built  # Its base lies elsewhere, and is known.
    name = base_of(pathlib.Path("out")).name
    assert main(["checkpoints", "out", "--json"]) == 0
    assert {one["base"] for one in json.loads(capsys.readouterr().out)} == {name}
    assert main(["checkpoints", "out"]) == 0
    assert "base" in capsys.readouterr().out


@pytest.mark.nightly
@pytest.mark.slow
def test_a_checkpoint_is_exported(out):
    import tensorflow as tf

    model = load_model(out / "checkpoint-16")
    x, _ = data(model)
    path = export_for_serving(str(out / "checkpoint-16"), "servables")
    found = tf.saved_model.load(str(path)).signatures["serving_default"](ids=tf.constant(x))
    np.testing.assert_allclose(found["output_0"], model.predict(x, verbose=0), rtol=1e-5)
