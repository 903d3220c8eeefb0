"""save_only_model: checkpoints without the state of the training."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny
from helpers import KERASES, nightly, samples

import tf_hfwb
from tf_hfwb import TFTrainer, TFTrainingArguments, WandbModelCheckpoint
from tf_hfwb.checkpoint.store import Checkpoint, Store
from tf_hfwb.errors import NotACheckpointError

STATE = "training_state.safetensors"


def trainer_of(kind="tf_keras", **options):
    defaults = {"report_to": "none", "disable_tqdm": True, "output_dir": "out", "save_steps": 3, "learning_rate": 0.01}
    defaults |= {"per_device_train_batch_size": 4, "max_steps": 6, "save_only_model": True}
    model = tiny.functional(kind) if kind in KERASES else tiny.bert()
    data = tiny.named(samples(12)) if kind in KERASES else tiny.classified(12)
    return TFTrainer(
        model,
        TFTrainingArguments(**{**defaults, **options}),
        train_dataset=data,
        eval_dataset=data,
        processing_class=None if kind in KERASES else tiny.tokenizer(),
    )


@pytest.mark.parametrize("kind", [nightly("tf_keras"), "keras", "bert"])
def test_the_model_is_whole_and_its_state_is_not_there(kind):
    trainer = trainer_of(kind)
    trainer.train()
    assert [one.step for one in Store("out").checkpoints()] == [3, 6]
    checkpoint = Checkpoint.open(Path("out/checkpoint-6"))
    checkpoint.verify()
    assert STATE not in checkpoint.files
    assert json.loads((checkpoint.path / "trainer_state.json").read_text())["global_step"] == 6
    if kind == "bert":
        loaded = type(trainer.model).from_pretrained("out/checkpoint-6")
    else:
        loaded = tf_hfwb.load_model("out/checkpoint-6")
    for one, other in zip(loaded.get_weights(), trainer.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("source", [True, nightly("out/checkpoint-3"), nightly("out")])
def test_a_resume_is_refused_before_anything_changes(source):
    trainer_of().train()
    trainer = trainer_of(save_only_model=False, learning_rate=0.5, max_steps=9)
    before = trainer.model.get_weights()
    with pytest.raises(NotACheckpointError, match=r"checkpoint-\d was saved with save_only_model=True: .*load_model"):
        trainer.train(resume_from_checkpoint=source)
    for one, other in zip(before, trainer.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    model = tiny.functional("tf_keras", optimizer="sgd")
    with pytest.raises(NotACheckpointError, match="save_only_model=True"):
        tf_hfwb.restore(model, source, output_dir="out")


@pytest.mark.parametrize("kind", ["tf_keras", nightly("keras"), nightly("bert")])
def test_the_best_model_is_loaded(kind):
    options = {"eval_strategy": "steps", "eval_steps": 3, "save_total_limit": 1, "load_best_model_at_end": True}
    trainer = trainer_of(kind, metric_for_best_model="loss", greater_is_better=True, **options)  # The first one is.
    trainer.train()
    first = next(row["eval_loss"] for row in trainer.state.log_history if "eval_loss" in row)
    kept = [one.step for one in Store("out").checkpoints()]
    assert kept == [3, 6]
    assert trainer.evaluate()["eval_loss"] == pytest.approx(first, rel=1e-6)
    other = trainer_of(kind)
    other.model.set_weights(trainer.model.get_weights())
    other.train_dataset = trainer.train_dataset
    loaded = tf_hfwb.load_model("out/checkpoint-3") if kind != "bert" else None
    if loaded is not None:
        for one, two in zip(loaded.get_weights(), trainer.model.get_weights(), strict=True):
            np.testing.assert_array_equal(one, two)


def test_a_whole_checkpoint_beside_them_can_be_resumed():
    trainer_of(max_steps=3, save_only_model=False).train()
    shutil.copytree("out/checkpoint-3", "whole")
    trainer_of(max_steps=6).train(resume_from_checkpoint="out/checkpoint-3")
    assert trainer_of(max_steps=6).train(resume_from_checkpoint="whole").global_step == 6


def test_plain_fit():
    model = tiny.functional("keras", optimizer="sgd")
    save = WandbModelCheckpoint("out", save_only_model=True)
    model.fit(*tiny.named(samples(8)), verbose=0, callbacks=[save])
    assert STATE not in Checkpoint.open(next(Path("out").glob("checkpoint-*"))).files
