"""Checkpoints that version 1 of the format has written can be read from now on.

``python tests/test_checkpoint_format.py DIRECTORY`` writes such checkpoints, for the next version of the format; those
in ``tests/data`` are never written again.
"""

from __future__ import annotations

import hashlib
import json
import pathlib
import shutil
import sys

import numpy as np
import pytest
import tf_keras
import tiny
import transformers
from helpers import samples

from tf_hfwb import WandbModelCheckpoint, load_model, restore, training_batches
from tf_hfwb.checkpoint.store import Checkpoint

DATA = pathlib.Path(__file__).parent / "data" / "format-1"


def bert():
    model = tiny.bert(hidden_dropout_prob=0.1)
    model.compile(tf_keras.optimizers.Adam(1e-2), metrics=["accuracy"])
    return model


def keras3():
    return tiny.functional("keras", dropout=0.1, optimizer="adam")


MODELS = {"bert": (bert, tiny.classified), "keras": (keras3, lambda: tiny.named(samples(11)))}
STEP = 5  # The second batch of the second epoch of 3 comes next.
DIGESTS = {
    "bert": "b49c2a16c92daf8f5c96ad5079227d5f5114524024f04ec92fc8c7503257ddfc",
    "keras": "c96c86facc5dd4e1b698a9096921ad45a2b9d5882a9bd6b6cb58311625ed129a",
}


def digest(model) -> str:
    return hashlib.sha256(b"".join(np.array(weight).tobytes() for weight in model.get_weights())).hexdigest()


def train(name: str, directory: pathlib.Path):
    build, data = MODELS[name]
    model = build()
    batches = training_batches(data(), 4, model=model, processing_class=tiny.tokenizer() if name == "bert" else None)
    callbacks = [WandbModelCheckpoint(directory, save_freq=STEP)]
    model.fit(batches.dataset, steps_per_epoch=3, epochs=2, callbacks=callbacks, verbose=0)


@pytest.mark.parametrize("name", MODELS)
def test_version_1_is_read(name, tmp_path):
    directory = DATA / name / f"checkpoint-{STEP}"
    checkpoint = Checkpoint.open(directory)
    assert checkpoint.version == 1
    assert "digest" not in json.loads((directory / "manifest.json").read_text())  # Nor had it a sequence then.
    checkpoint.verify()
    model = MODELS[name][0]()
    position = restore(model, directory)
    assert (position.step, position.epoch, position.batch, position.batches) == (5, 1, 2, 5)
    assert digest(model) == digest(load_model(directory)) == DIGESTS[name]
    if name == "bert":
        stock = transformers.TFAutoModelForSequenceClassification.from_pretrained(directory)
        assert digest(stock) == DIGESTS[name]


if __name__ == "__main__":
    for name in MODELS:
        target = pathlib.Path(sys.argv[1]) / name
        train(name, target)
        shutil.rmtree(target / "checkpoint-6")
        (target / ".tf_hfwb.lock").unlink(missing_ok=True)
        sys.stdout.write(f"{name} {digest(load_model(target / f'checkpoint-{STEP}'))}\n")
