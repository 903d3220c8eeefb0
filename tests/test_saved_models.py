"""A checkpoint's model is what ``save`` of its Keras would write: assets, and what layers compute when saved, too."""

from __future__ import annotations

import importlib
import io
import os
import pathlib
import zipfile

import h5py
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
import tiny
import transformers
from helpers import KERASES, nightly, python

from tf_hfwb import EarlyStopping, WandbModelCheckpoint, export_for_serving, load_model, restore
from tf_hfwb.cli import main
from tf_hfwb.errors import SettingError, StateMismatchError, UnsafeModelError
from tf_hfwb.serving.export_source import load_source

WORDS = ["red", "green", "blue", "red", "blue", "red"]


def own_layers(keras):
    """A layer that writes another value than its variable, and one with a file."""

    class Doubled(keras.layers.Layer):
        def build(self, shape):
            self.scale = self.add_weight(shape=(1,), initializer="ones", name="scale")

        def call(self, inputs):
            return inputs * self.scale

        def save_own_variables(self, store):
            store["twice"] = 2 * np.asarray(self.scale)

        def load_own_variables(self, store):
            self.scale.assign(np.asarray(store["twice"]) / 2)

    class WithFile(keras.layers.Layer):
        words = ""

        def call(self, inputs):
            return inputs

        def save_assets(self, dir_path):
            pathlib.Path(dir_path, "words.txt").write_text(self.words)

        def load_assets(self, dir_path):
            self.words = pathlib.Path(dir_path, "words.txt").read_text()

    return {"Doubled": Doubled, "WithFile": WithFile}


def model_of(kind: str, own, words=WORDS, bins=3, shift=0.0, has_lora=False):
    """All layers that have more than weights, in one model with a nested one and a shared layer; compiled."""
    keras = importlib.import_module(kind)
    layers = keras.layers
    keras.utils.set_random_seed(0)
    numbers = np.linspace(0, 1, 30, dtype="float32")[:, None] ** 2
    text, number, key = (
        keras.Input((1,), dtype="string", name="text"),
        keras.Input((1,), name="number"),
        keras.Input((1,), dtype="int64", name="key"),
    )
    vector = layers.TextVectorization(output_sequence_length=2)
    weighted = layers.TextVectorization(4, output_mode="tf_idf", pad_to_max_tokens=True)
    looked_up = layers.StringLookup(max_tokens=5, pad_to_max_tokens=True, output_mode="one_hot")
    whole = layers.IntegerLookup(max_tokens=5, pad_to_max_tokens=True, output_mode="one_hot")
    binned = layers.Discretization(num_bins=bins)
    normal = layers.Normalization()
    for layer, data in ((vector, words), (weighted, words), (looked_up, words)):
        layer.adapt(np.array(data))
    whole.adapt(np.array([7, 7, 9]))
    binned.adapt(numbers)
    normal.adapt(numbers + shift)
    embedding = layers.Embedding(8, 4)
    inner = keras.Input((1,), dtype="string")
    nested_lookup = layers.StringLookup(max_tokens=5, pad_to_max_tokens=True, output_mode="one_hot")
    nested_lookup.adapt(np.array(words))
    nested = keras.Model(inner, layers.Dense(4)(layers.Reshape((5,))(nested_lookup(inner))), name="nested")
    encoded = layers.CategoryEncoding(num_tokens=4, output_mode="one_hot")(binned(number))
    hashed = layers.CategoryEncoding(num_tokens=5, output_mode="one_hot")(layers.Hashing(5)(text))
    parts = [weighted(text), looked_up(text), whole(key), encoded, hashed]
    dense, file = layers.Dense(4), own["WithFile"]()
    file.words = "some\nwords"
    joined = layers.Concatenate()(
        [
            layers.Flatten()(embedding(vector(text))),
            nested(text),
            dense(normal(number)),
            dense(own["Doubled"]()(number)),
            *(layers.Flatten()(part) for part in parts),
        ]
    )
    if kind == "keras":
        joined = layers.EinsumDense("ab,bc->ac", output_shape=4, bias_axes="c")(joined)
    logits = layers.Dense(3)(layers.Dropout(0.2)(file(joined)))
    model = keras.Model({"text": text, "number": number, "key": key}, logits)
    if has_lora:
        for layer in (model.layers[-1], dense, embedding, next(x for x in model.layers if "einsum" in x.name)):
            layer.enable_lora(2)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-2), loss, metrics=["accuracy"])
    return model


INPUTS = {
    "text": np.array([WORDS[n % 6] for n in range(16)])[:, None],
    "number": np.arange(16, dtype="float32")[:, None] / 16,
    "key": np.array([7, 9] * 8)[:, None],
}


def batches():
    inputs = {name: tf.constant(value) for name, value in INPUTS.items()}
    return tf.data.Dataset.from_tensor_slices((inputs, np.arange(16) % 3)).batch(4)


def entries(path):
    """Each file of an archive, and each array of its weights but the optimizer's and the metrics'."""
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    arrays = {}

    def take(name, item):
        if isinstance(item, h5py.Dataset) and name.split("/")[0] not in ("optimizer", "metrics"):
            arrays[name] = np.array(item)

    with h5py.File(io.BytesIO(files.pop("model.weights.h5"))) as file:
        file.visititems(take)
    return {name: content for name, content in files.items() if name != "metadata.json"}, arrays


def same_archive(ours, stock):
    (files, arrays), (stock_files, stock_arrays) = entries(ours), entries(stock)
    assert files == stock_files
    assert arrays.keys() == stock_arrays.keys()
    for name, value in stock_arrays.items():
        assert value.dtype == arrays[name].dtype, name
        np.testing.assert_array_equal(arrays[name], value, err_msg=name)
    return files, arrays


def answers(model):
    return np.asarray(model({name: tf.constant(value) for name, value in INPUTS.items()}))


@pytest.mark.parametrize(("kind", "has_lora"), [("keras", False), nightly("keras", True), nightly("tf_keras", False)])
def test_a_checkpoints_model_is_what_keras_would_save_and_training_goes_on_exactly(kind, has_lora):
    own = own_layers(importlib.import_module(kind))
    model = model_of(kind, own, has_lora=has_lora)
    model.fit(batches(), epochs=2, verbose=0, callbacks=[WandbModelCheckpoint("out", log_model="end")])
    model.save("stock.keras")
    np.testing.assert_array_equal(answers(load_model("out/checkpoint-8", custom_objects=own)), answers(model))
    for directory in ("out/model",) if has_lora else ("out/checkpoint-8", "out/model"):
        files, arrays = same_archive(f"{directory}/model.keras", "stock.keras")
        assert any(name.startswith("assets/") and name.endswith("words.txt") for name in files)
        assert sum(name.endswith("vocabulary.txt") for name in files) == 7
        assert sum(name.endswith("/twice") for name in arrays) == 1
        np.testing.assert_array_equal(answers(load_model(directory, custom_objects=own)), answers(model))
    assert load_source("out/model", custom_objects=own)[0].built

    again = model_of(kind, own, shift=1.0, has_lora=has_lora)  # Normalization comes with the weights.
    again.predict(batches().take(1), verbose=0)
    assert restore(again, "out/checkpoint-4").step == 4
    again.fit(batches(), epochs=2, verbose=0, callbacks=[WandbModelCheckpoint("again", log_model="end")])
    np.testing.assert_array_equal(answers(again), answers(model))
    np.testing.assert_array_equal(again.predict(batches(), verbose=0), model.predict(batches(), verbose=0))
    again.save("stock.keras")
    same_archive("again/model/model.keras", "stock.keras")

    for change in ({"words": ["blue", "green", "red"]}, {"bins": 4}):
        with pytest.raises(StateMismatchError, match=r"have learned .* is not what it was in .*Adapt the layers"):
            restore(model_of(kind, own, has_lora=has_lora, **change), "out/checkpoint-8")


def classifier_of_words(kind: str, **lookup):
    keras = importlib.import_module(kind)
    text = keras.Input((1,), dtype="string", name="text")
    layer = keras.layers.StringLookup(output_mode="one_hot", **lookup)
    if not lookup:
        layer.adapt(np.array(WORDS))
    model = keras.Model(text, keras.layers.Dense(3)(layer(text)))
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


@pytest.mark.parametrize("kind", KERASES)
def test_a_vocabulary_in_the_configuration_is_compared_too(kind):
    data = tf.data.Dataset.from_tensor_slices((INPUTS["text"], np.arange(16) % 3)).batch(8)
    model = classifier_of_words(kind, vocabulary=["red", "green", "blue"])
    early = EarlyStopping("loss", restore_best_weights=True)
    model.fit(data, verbose=0, callbacks=[early, WandbModelCheckpoint("out")])
    assert restore(classifier_of_words(kind, vocabulary=["red", "green", "blue"]), "out/checkpoint-2").step == 2
    with pytest.raises(StateMismatchError, match="string_lookup"):
        restore(classifier_of_words(kind, vocabulary=["blue", "green", "red"]), "out/checkpoint-2")


def layers_with_places_of_their_own(keras):
    """A layer whose keys have slashes, and one that does with the file of weights what it wants."""

    class Scaled(keras.layers.Layer):
        def build(self, shape):
            self.scale = self.add_weight(shape=(1,), initializer="ones", name="scale")

        def call(self, inputs):
            return inputs * self.scale

    class Slashed(Scaled):
        def save_own_variables(self, store):
            store["part/scale"] = np.asarray(self.scale) if keras.__name__ == "tf_keras" else self.scale
            store["part/deep/twice"] = 2 * np.asarray(self.scale)

        def load_own_variables(self, store):
            np.testing.assert_array_equal(2 * np.asarray(store["part/scale"]), np.asarray(store["part/deep/twice"]))
            self.scale.assign(np.asarray(store["part/scale"]))

    class WritesByItself(Scaled):
        def save_own_variables(self, store):
            file = store if keras.__name__ == "tf_keras" else store.h5_file
            file.create_dataset("beside", data=np.asarray(self.scale))

        def load_own_variables(self, store):
            file = store if keras.__name__ == "tf_keras" else store.h5_file
            self.scale.assign(np.asarray(file["beside"]))

    return {"Slashed": Slashed, "WritesByItself": WritesByItself}


def model_with(layer, kind, *, frozen=False):
    keras = importlib.import_module(kind)
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), layer(), keras.layers.Dense(3)])
    model.layers[1].trainable = model.layers[0].trainable = not frozen
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


X, Y = np.random.default_rng(0).normal(size=(16, 4)).astype("float32"), np.arange(16) % 3
FIT = {"batch_size": 4, "epochs": 2, "shuffle": False, "verbose": 0}


def goes_on_as_before(model, make):
    again = make()
    assert restore(again, "out/checkpoint-4").step == 4
    again.fit(X, Y, **FIT)
    np.testing.assert_array_equal(again.predict(X, verbose=0), model.predict(X, verbose=0))


@pytest.mark.parametrize("kind", ["tf_keras", nightly("keras")])
def test_keys_with_slashes_are_kept(kind):
    own = layers_with_places_of_their_own(importlib.import_module(kind))
    model = model_with(own["Slashed"], kind)
    model.fit(X, Y, **FIT, callbacks=[WandbModelCheckpoint("out", log_model="end")])
    model.save("stock.keras")
    for directory in ("out/checkpoint-8", "out/model"):
        _, arrays = same_archive(f"{directory}/model.keras", "stock.keras")
        assert sum(name.endswith(("/vars/part/scale", "/vars/part/deep/twice")) for name in arrays) == 2
        loaded = load_model(directory, custom_objects=own)
        np.testing.assert_array_equal(loaded.predict(X, verbose=0), model.predict(X, verbose=0))
    goes_on_as_before(model, lambda: model_with(own["Slashed"], kind))


def test_keys_with_slashes_are_kept_in_shards():
    keras = importlib.import_module("keras")
    own = layers_with_places_of_their_own(keras)
    del own["Slashed"].save_own_variables, own["Slashed"].load_own_variables
    own["Slashed"].save_own_variables = lambda self, store: store.__setitem__("part/scale", self.scale)
    own["Slashed"].load_own_variables = lambda self, store: self.scale.assign(store["part/scale"])
    model = model_with(own["Slashed"], "keras", frozen=True)
    model.layers[1].scale.assign([3.0])
    model.fit(X, Y, **FIT, callbacks=[WandbModelCheckpoint("out")])
    assert pathlib.Path("out/checkpoint-8/model_00000.weights.h5").exists()
    loaded = load_model("out/checkpoint-8", custom_objects=own)
    np.testing.assert_array_equal(loaded.predict(X, verbose=0), model.predict(X, verbose=0))
    goes_on_as_before(model, lambda: model_with(own["Slashed"], "keras", frozen=True))


@pytest.mark.parametrize("kind", ["keras", nightly("tf_keras")])
def test_what_cannot_be_laid_out_is_written_by_keras_itself(kind, caplog):
    own = layers_with_places_of_their_own(importlib.import_module(kind))
    model = model_with(own["WritesByItself"], kind)
    model.fit(X, Y, **FIT, callbacks=[WandbModelCheckpoint("out", log_model="end")])
    said = [record.getMessage() for record in caplog.records if "is saved by the model.save" in record.getMessage()]
    assert len(said) == 1
    assert "AttributeError" in said[0]
    assert not [record for record in caplog.records if "are not in" in record.getMessage()]
    model.save("stock.keras")
    for directory in ("out/checkpoint-8", "out/model"):
        same_archive(f"{directory}/model.keras", "stock.keras")
        loaded = load_model(directory, custom_objects=own)
        np.testing.assert_array_equal(loaded.predict(X, verbose=0), model.predict(X, verbose=0))
    goes_on_as_before(model, lambda: model_with(own["WritesByItself"], kind))


def test_weights_that_keras_itself_leaves_out_are_named(caplog):
    own = layers_with_places_of_their_own(importlib.import_module("keras"))

    class Forgetful(own["WritesByItself"]):
        def save_own_variables(self, store):
            store.h5_file.attrs["nothing"] = 1

    model = model_with(Forgetful, "keras")
    model.fit(X, Y, **FIT, callbacks=[WandbModelCheckpoint("out")])
    assert "1 weights of Sequential are not in model.keras as they are" in caplog.text


JAX = """
import keras, numpy as np
from tf_hfwb import WandbModelCheckpoint, load_model, restore

def make():
    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential([keras.Input((4,)), layers.Dense(8), layers.Dropout(0.2), layers.Dense(3)])
    model.layers[0].enable_lora(2)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model

x, y = np.random.default_rng(0).normal(size=(16, 4)).astype("float32"), np.arange(16) % 3
options = {"batch_size": 4, "epochs": 2, "shuffle": False, "verbose": 0}
bare = make()
bare.fit(x, y, **options)
model = make()
model.fit(x, y, **options, callbacks=[WandbModelCheckpoint("out", save_freq=3)])
for one in (model, bare):
    one.answers = one.predict(x, verbose=0)
assert np.array_equal(model.answers, bare.answers)
np.testing.assert_allclose(load_model("out/checkpoint-8").predict(x, verbose=0), model.answers, rtol=1e-5)
again = make()
restore(again, "out/checkpoint-6")  # Taken in the middle of an epoch, when the weights are outside of the model.
loaded = load_model("out/checkpoint-6")
np.testing.assert_allclose(loaded.predict(x, verbose=0), again.predict(x, verbose=0), rtol=1e-5)

class WritesByItself(keras.layers.Dense):
    def save_own_variables(self, store):
        store.h5_file.create_dataset("kernel", data=np.asarray(self.kernel))

    def load_own_variables(self, store):
        self.kernel.assign(np.asarray(store.h5_file["kernel"]))

def make_other():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), WritesByItself(3, use_bias=False)])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model

model, bare = make_other(), make_other()
bare.fit(x, y, **options)
model.fit(x, y, **options, callbacks=[WandbModelCheckpoint("other", save_freq=3)])
assert np.array_equal(model.predict(x, verbose=0), bare.predict(x, verbose=0))
again = make_other()
restore(again, "other/checkpoint-6")
loaded = load_model("other/checkpoint-6", custom_objects={"WritesByItself": WritesByItself})
np.testing.assert_array_equal(loaded.predict(x, verbose=0), again.predict(x, verbose=0))
again.fit(x, y, **options)
np.testing.assert_array_equal(again.predict(x, verbose=0), model.predict(x, verbose=0))
print(keras.backend.backend())
"""


@pytest.mark.nightly
@pytest.mark.slow
def test_on_jax_layers_compute_with_the_weights_that_fit_carries():
    assert python("-c", JAX, KERAS_BACKEND="jax").stdout.split()[-1] == "jax"


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tf_keras", nightly("keras")])
def test_what_has_a_vocabulary_is_exported_from_its_artifact(kind):
    data = tf.data.Dataset.from_tensor_slices((INPUTS["text"], np.arange(16) % 3)).batch(8)
    model = classifier_of_words(kind)
    model.fit(data, verbose=0, callbacks=[WandbModelCheckpoint("out", log_model="end")])
    path = export_for_serving("out/model", "servables")
    found = tf.saved_model.load(str(path)).signatures["serving_default"](text=tf.constant(INPUTS["text"]))
    np.testing.assert_allclose(found["output_0"], model.predict(data, verbose=0), rtol=1e-5)


def test_assets_go_with_frozen_layers():
    model = classifier_of_words("keras")
    keras = importlib.import_module("keras")
    text = model.inputs[0]
    frozen = model.layers[-1]
    frozen.trainable = False
    outer = keras.Model(text, keras.layers.Dense(3)(frozen(model.layers[1](text))))
    outer.compile("sgd", "mse")
    data = tf.data.Dataset.from_tensor_slices((INPUTS["text"], np.zeros((16, 3)))).batch(8)
    outer.fit(data, verbose=0, callbacks=[WandbModelCheckpoint("out")])
    loaded = load_model("out/checkpoint-2")
    np.testing.assert_array_equal(loaded.predict(data, verbose=0), outer.predict(data, verbose=0))


# -- classes of transformers within a functional model -----------------------------------------------------------------


def around_bert(call=lambda bert, ids, mask: bert({"input_ids": ids, "attention_mask": mask})):
    tf_keras.utils.set_random_seed(0)
    ids, mask = (tf_keras.Input((8,), dtype="int32", name=name) for name in ("input_ids", "attention_mask"))
    output = call(transformers.TFBertModel(tiny.bert_config()), ids, mask)
    model = tf_keras.Model(
        {"input_ids": ids, "attention_mask": mask}, tf_keras.layers.Dense(3)(output.last_hidden_state[:, 0])
    )
    model.compile("adam", tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


IDS = {"input_ids": np.arange(64).reshape(8, 8) % 20, "attention_mask": np.ones((8, 8), np.int64)}


@pytest.mark.nightly
def test_a_model_of_transformers_within_a_functional_one():
    model = around_bert()
    model.fit(IDS, np.arange(8) % 3, batch_size=4, verbose=0, callbacks=[WandbModelCheckpoint("out", log_model="end")])
    model.save("stock.keras")
    for source in ("out/model", "out/checkpoint-2", "stock.keras"):
        loaded = load_model(source)
        np.testing.assert_array_equal(loaded.predict(IDS, verbose=0), model.predict(IDS, verbose=0))
    same_archive("out/model/model.keras", "stock.keras")
    assert restore(around_bert(), "out/checkpoint-2").step == 2
    keywords = around_bert(lambda bert, ids, mask: bert(ids, attention_mask=mask))
    keywords.save("keywords.keras")
    assert load_model("keywords.keras").built


def test_code_that_a_configuration_of_transformers_brings_is_refused():
    around_bert().save("model.keras")
    with zipfile.ZipFile("model.keras") as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    files["config.json"] = files["config.json"].replace(
        b'"model_type": "bert"', b'"model_type": "bert", "auto_map": {"AutoConfig": "evil--x.Y"}'
    )
    with zipfile.ZipFile("other.keras", "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    with pytest.raises(UnsafeModelError, match=r"auto_map.*for TFBertModel of transformers"):
        load_model("other.keras")


@pytest.mark.nightly
@pytest.mark.slow
def test_the_command_exports_it_and_is_told_classes_of_ones_own(capsys):
    model = around_bert()
    model.save("bert.keras")
    assert main(["export", "bert.keras", "servables"]) == 0
    pathlib.Path("scaling_of_mine.py").write_text(
        "import tf_keras\n\nclass Scale(tf_keras.layers.Layer):\n    def call(self, x):\n        return 2 * x\n"
    )
    capsys.readouterr()
    command = ["export", "own.keras", "other", "--custom_object"]
    assert main([*command, "no_such_module:Scale"]) == 1
    assert "MODULE:NAME" in capsys.readouterr().err
    scale = tf_keras.layers.Layer
    import sys

    sys.path.insert(0, os.getcwd())
    try:
        scale = importlib.import_module("scaling_of_mine").Scale
    finally:
        sys.path.remove(os.getcwd())
        del sys.modules["scaling_of_mine"]
    tf_keras.Sequential([tf_keras.Input((3,)), scale()]).save("own.keras")
    try:
        assert main([*command[:-1]]) == 1
        assert main([*command, "scaling_of_mine:Scale"]) == 0, capsys.readouterr().err
        with pytest.raises(SettingError, match="custom_objects"):
            load_source(model, custom_objects={"Scale": scale})
    finally:
        sys.modules.pop("scaling_of_mine", None)
