"""Keras 3 on several devices of JAX: ``keras.distribution`` divides the batch, or the model too."""

from __future__ import annotations

import json

import pytest
from forking import Launcher

pytest.importorskip("jax")

SCRIPT = """
import json, sys
import keras
import numpy as np
import tiny
from helpers import samples
from tf_hfwb import TFTrainer, TFTrainingArguments
from tf_hfwb.errors import DataError

kind, trainings = sys.argv[1], json.loads(sys.argv[2])
devices = keras.distribution.list_devices()
assert len(devices) == 4, devices
if kind == "data":
    keras.distribution.set_distribution(keras.distribution.DataParallel())
if kind == "model":
    mesh = keras.distribution.DeviceMesh((2, 2), ["batch", "model"], devices)
    layout = keras.distribution.LayoutMap(mesh)
    layout["dense.*kernel"] = ("model", None)
    keras.distribution.set_distribution(keras.distribution.ModelParallel(layout_map=layout, batch_dim_name="batch"))
shards = {"data": 4, "model": 2, "one": 1}[kind]

def found(out, dropout=0.0, resume=None, train=48, held_out=32, **more):
    model = tiny.functional("keras", dropout=dropout)
    args = TFTrainingArguments(
        out, num_train_epochs=3, learning_rate=1e-2, logging_steps=1, save_steps=5, eval_strategy="epoch",
        per_device_train_batch_size=12 // shards, per_device_eval_batch_size=8 // shards, disable_tqdm=True, **more,
    )
    data = [tiny.named(samples(number)) for number in (train, held_out)]
    try:
        trainer = TFTrainer(model, args, train_dataset=data[0], eval_dataset=data[1])
        output = trainer.train(resume_from_checkpoint=resume)
    except DataError as error:
        return {"error": str(error)}
    kernel = model.trainable_variables[0].value
    rows = [{name: value for name, value in row.items() if "loss" in name or name in ("epoch", "step", "eval_accuracy")}
            for row in trainer.state.log_history]
    return {
        "step": output.global_step, "rows": rows, "devices": len(kernel.sharding.device_set),
        "is_whole": kernel.sharding.is_fully_replicated, "sums": [float(np.sum(one)) for one in model.get_weights()],
    }

print("\\n" + json.dumps([found(**training) for training in trainings]))
"""


@pytest.fixture(scope="module")
def one_process():
    """Makes trainings one after the other in a process of their own; gives what became of each."""
    # Keras and XLA read them once: at their import, or later.
    flags = {"KERAS_BACKEND": "jax", "XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    with Launcher(**flags) as launcher:

        def run(kind: str, *trainings: dict) -> list[dict]:
            ended = launcher.python(SCRIPT, kind, json.dumps(trainings), **flags)
            return json.loads(ended.stdout.splitlines()[-1])

        yield run


@pytest.fixture
def jax(one_process):
    return lambda kind, out, **options: one_process(kind, {"out": out, **options})[0]


def like(rows: list[dict]) -> list:
    return [pytest.approx(row, rel=2e-5, abs=1e-6) for row in rows]


@pytest.mark.nightly
def test_data_parallel_trains_as_one_device_and_goes_on_there(jax, tmp_path):
    one = jax("one", str(tmp_path / "one"))
    parallel = jax("data", str(tmp_path / "data"))
    assert (one["devices"], parallel["devices"], parallel["is_whole"]) == (1, 4, True)
    assert parallel["rows"] == like(one["rows"])
    moved = jax("one", str(tmp_path / "moved"), resume=str(tmp_path / "data" / "checkpoint-5"))
    assert moved["rows"] == like(one["rows"])


@pytest.mark.nightly
@pytest.mark.parametrize("options", [{}, {"gradient_accumulation_steps": 2}, {"dropout": 0.2}])
def test_model_parallel_goes_on_with_its_parts_on_other_devices(jax, tmp_path, options):
    straight = jax("model", str(tmp_path / "straight"), **options)
    assert (straight["devices"], straight["is_whole"]) == (4, False)
    assert straight["rows"] == like(jax("one", str(tmp_path / "one"), **options)["rows"])
    checkpoint = str(tmp_path / "straight" / "checkpoint-5")
    assert jax("model", str(tmp_path / "again"), resume=checkpoint, **options) == straight
    assert jax("data", str(tmp_path / "data"), resume=checkpoint, **options)["rows"] == like(straight["rows"])


@pytest.mark.nightly
def test_mixed_precision_in_parallel(jax, tmp_path):
    one, parallel = (jax(kind, str(tmp_path / kind), bf16=True) for kind in ("one", "data"))
    pairs = zip(one["rows"], parallel["rows"], strict=True)
    assert all(found.get("loss", 0) == pytest.approx(row.get("loss", 0), rel=0.02) for row, found in pairs)


def test_batches_that_cannot_be_divided_are_refused_before_training(one_process, tmp_path):
    """JAX would refuse them at the end of the first epoch."""
    cases = {"train": 50}, {"held_out": 31}, {"train": 50, "dataloader_drop_last": True}
    trainings = [{"out": str(tmp_path / str(number)), **case} for number, case in enumerate(cases)]
    first, second, third = one_process("data", *trainings)
    said = "train_dataset has 50 samples, whose last batch of 2 cannot be divided among the 4 devices"
    assert first["error"].startswith(said)
    assert second["error"].startswith("The data to evaluate has 31 samples, whose last batch of 7 cannot be divided")
    assert third["step"] == 12
