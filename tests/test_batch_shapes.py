"""Few widths of batches, so that what is compiled for each shape is compiled a few times: XLA, TPUs and JAX."""

from __future__ import annotations

import json
import pathlib

import numpy as np
import pytest
import tiny
import transformers
from forking import Launcher
from helpers import nightly

from tf_hfwb import TFTrainer, TFTrainingArguments


def trainer_of(model, directory, *, collator=None, **arguments):
    settings = {"per_device_train_batch_size": 4, "num_train_epochs": 2, "report_to": "none", "save_strategy": "no"}
    args = TFTrainingArguments(str(directory), disable_tqdm=True, **{**settings, **arguments})
    data = tiny.classified(48).remove_columns("text")
    return TFTrainer(model, args, train_dataset=data, processing_class=tiny.tokenizer(), data_collator=collator)


def padding(**options):
    return transformers.DataCollatorWithPadding(tiny.tokenizer(), return_tensors="np", **options)


def shapes_of(trainer, number: int) -> set[tuple[int, ...]]:
    return {tuple(inputs["input_ids"].shape) for inputs, _ in trainer.get_train_tfdataset().take(number)}


def test_groups_of_equal_length_have_few_widths(tmp_path):
    grouped = {"group_by_length": True, "dataloader_drop_last": True}
    rounded = trainer_of(tiny.bert(), tmp_path, collator=padding(pad_to_multiple_of=8), **grouped)
    assert shapes_of(rounded, 24) == {(4, 8), (4, 16), (4, 24)}
    assert len(shapes_of(trainer_of(tiny.bert(), tmp_path, **grouped), 24)) > 3


def test_one_static_shape_is_what_a_tpu_gets(tmp_path):
    collator = padding(padding="max_length", max_length=24)
    trainer = trainer_of(tiny.bert(), tmp_path, collator=collator, dataloader_drop_last=True)
    inputs, labels = trainer.get_train_tfdataset().element_spec
    assert {name: spec.shape for name, spec in inputs.items()} == dict.fromkeys(
        ("input_ids", "attention_mask"), (4, 24)
    )
    assert labels.shape == (4,)


class Traced(transformers.TFBertForSequenceClassification):
    """Counts how often its step becomes a graph."""

    traces = 0

    def train_step(self, data):
        self.traces += 1
        return super().train_step(data)


@pytest.mark.parametrize("xla", [False, nightly(True)])
def test_a_training_is_not_traced_for_each_width(xla, tmp_path):
    model = tiny.seeded(Traced, tiny.bert_config())
    trainer = trainer_of(
        model, tmp_path, collator=padding(pad_to_multiple_of=8), xla=xla, group_by_length=True, num_train_epochs=1
    )
    assert len(shapes_of(trainer, 12)) > 2
    assert np.isfinite(trainer.train().training_loss)
    assert model.traces <= 2, "Once, and once more when the variables are there."


JAX = """
import json, sys
sys.path.insert(0, sys.argv[2])
import keras, tiny
from test_batch_shapes import padding, trainer_of

class Counted(keras.layers.Layer):
    shapes = []
    def call(self, x, training=False):
        if training and None not in x.shape:  # Else it is the model that is being built.
            self.shapes.append(x.shape[:2])
        return x

ids = keras.Input((None,), name="input_ids", dtype="int64")
hidden = Counted()(keras.layers.Embedding(tiny.VOCAB_SIZE, 8)(ids))
model = keras.Model({"input_ids": ids}, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling1D()(hidden)))
model.compile("adam", loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
options = json.loads(sys.argv[1])
collator = padding(**options) if options else None
trainer = trainer_of(model, "out", collator=collator, dataloader_drop_last=True, group_by_length=True)
Counted.shapes.clear()
trainer.train()
print(json.dumps([keras.backend.backend(), [list(map(int, shape)) for shape in Counted.shapes]]))
"""


@pytest.mark.nightly
def test_jax_compiles_once_for_each_width(tmp_path):
    with Launcher(KERAS_BACKEND="jax") as launcher:

        def shapes(**options):
            here = str(pathlib.Path(__file__).parent)
            ended = launcher.python(JAX, json.dumps(options), here, directory=tmp_path, KERAS_BACKEND="jax")
            backend, found = json.loads(ended.stdout.splitlines()[-1])
            assert backend == "jax"
            return found

        few, many = shapes(pad_to_multiple_of=8), shapes()
        assert sorted(set(map(tuple, few))) == [(4, 8), (4, 16), (4, 24)]
        assert len(few) < len(many)
        assert len(set(map(tuple, many))) > 3
