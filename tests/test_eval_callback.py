"""``WandbEvalCallback``: the example of W&B's documentation, with another import only."""

from __future__ import annotations

import importlib
import json
import pathlib

import numpy as np
import pytest
import tensorflow as tf
import wandb
from helpers import finish, nightly, records

from tf_hfwb import WandbEvalCallback, WandbMetricsLogger
from tf_hfwb.errors import SettingError

pytestmark = pytest.mark.keras3


class WandbClfEvalCallback(WandbEvalCallback):
    def __init__(self, validation_data, data_table_columns, pred_table_columns, num_samples=100):
        super().__init__(data_table_columns, pred_table_columns)
        self.x = validation_data[0][:num_samples]
        self.y = validation_data[1][:num_samples]

    def add_ground_truth(self, logs=None):
        for idx, (image, label) in enumerate(zip(self.x, self.y, strict=True)):
            self.data_table.add_data(idx, wandb.Image(image), label)

    def add_model_predictions(self, epoch, logs=None):
        preds = self.model.predict(self.x, verbose=0)
        preds = tf.argmax(preds, axis=-1)
        table_idxs = self.data_table_ref.get_index()
        for idx in table_idxs:
            pred = preds[idx]
            self.pred_table.add_data(
                epoch,
                self.data_table_ref.data[idx][0],
                self.data_table_ref.data[idx][1],
                self.data_table_ref.data[idx][2],
                pred,
            )


class WithoutLogs(WandbClfEvalCallback):
    """As W&B's own docstring has it."""

    def add_ground_truth(self):
        super().add_ground_truth()

    def add_model_predictions(self, epoch):
        super().add_model_predictions(epoch)


def train(kind, callback_class=WandbClfEvalCallback):
    keras = importlib.import_module(kind)
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).integers(0, 255, (12, 8, 8, 3)).astype("uint8")
    y = np.arange(12) % 3
    model = keras.Sequential([keras.layers.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(3)])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    table = callback_class(
        (x, y),
        data_table_columns=["idx", "image", "label"],
        pred_table_columns=["epoch", "idx", "image", "label", "pred"],
        num_samples=5,
    )
    model.fit(x, y, epochs=2, callbacks=[WandbMetricsLogger(), table], verbose=0)
    return model, x


@pytest.mark.parametrize("kind", ["keras", nightly("tf_keras")])
@pytest.mark.parametrize("callback_class", [WandbClfEvalCallback, WithoutLogs])
def test_offline(kind, callback_class):
    model, x = train(kind, callback_class)
    artifacts = [one["artifact"] for one in records(finish()) if one["type"] in ("artifact", "use_artifact")]
    tables = {}
    for artifact in artifacts:
        for entry in artifact["manifest"]["contents"]:
            if entry["path"].endswith(".table.json"):
                content = json.loads(pathlib.Path(entry["local_path"]).read_text())
                tables.setdefault((artifact["type"], entry["path"]), []).append(content)
    assert set(tables) == {("dataset", "val_data.table.json"), ("evaluation", "eval_data.table.json")}
    first, second = tables["evaluation", "eval_data.table.json"]
    assert [row[0] for row in first["data"]] == [0] * 5
    assert [row[0] for row in second["data"]] == [1] * 5
    expected = np.asarray(model.predict(x[:5], verbose=0)).argmax(-1)
    assert [row[4] for row in second["data"]] == expected.tolist()
    assert second["data"][0][2]["_type"] == "image-file"


@pytest.mark.nightly
def test_online_predictions_refer_to_the_samples(server):
    train("keras")
    finish()
    (run,) = server.runs.values()
    (samples,) = server.collection("val").versions
    predictions = server.collection(f"run_{run.id}_pred").versions
    assert len(predictions) == 2
    assert any(name.startswith("media/images") for name in samples.files)
    assert not any(name.startswith("media/images") and name.endswith("png") and content[:4] == b"\x89PNG"
                   for name, content in predictions[0].files.items())  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([], ["a"]), r"data_table_columns=\[\]"),
        ((["a"], "epoch"), "pred_table_columns='epoch'"),
        ((["a"], [1]), "pred"),
    ],
)
def test_wrong_columns(arguments, message):
    with pytest.raises(SettingError, match=message):
        type("Mine", (WandbEvalCallback,), {"add_ground_truth": print, "add_model_predictions": print})(*arguments)


def test_a_class_without_the_hooks_says_which():
    with pytest.raises(
        SettingError, match=r"add_ground_truth='WandbEvalCallback'.*add_ground_truth\(self, logs=None\)"
    ):
        WandbEvalCallback(["a"], ["b"])
