"""Models that are trained with LoRA, their data, and whether a training of one continues exactly, on any backend."""

from __future__ import annotations

import pathlib

import keras
import numpy as np

FIT = {"batch_size": 4, "epochs": 2, "shuffle": False, "verbose": 0}
OPTIONS = {"loss": keras.losses.SparseCategoricalCrossentropy(from_logits=True), "metrics": ["accuracy"]}


def plain(seed: int = 0, rank: int = 2, *, quantize: bool = False, width: int = 32):
    """LoRA on an embedding, an einsum and a dense layer; a frozen layer; statistics, dropout and a head."""
    keras.utils.set_random_seed(seed)
    layers = keras.layers
    ids = keras.Input((6,), dtype="int32", name="ids")
    x = layers.Embedding(50, 16, name="words")(ids)
    x = layers.EinsumDense("abc,cd->abd", output_shape=(None, width), bias_axes="d", name="query")(x)
    x = layers.Dropout(0.2)(layers.BatchNormalization()(x))
    x = layers.Dense(width, activation="tanh", name="inner")(layers.GlobalAveragePooling1D()(x))
    x = layers.Dense(width, activation="tanh", name="frozen")(x)
    model = keras.Model(ids, layers.Dense(3, name="head")(x))
    model.get_layer("frozen").trainable = False
    for name in ("words", "query", "inner", "frozen") if quantize else ():
        model.get_layer(name).quantize("int8")
    for name in ("words", "query", "inner") if rank else ():
        model.get_layer(name).enable_lora(rank)
    model.compile(keras.optimizers.Adam(1e-2), **OPTIONS)
    return model


def hub(seed: int = 0, *, quantize: bool = False):
    """A BERT of KerasHub with LoRA in its attention, and a head that is trained."""
    import keras_hub

    keras.utils.set_random_seed(seed)
    sizes = {"num_layers": 2, "num_heads": 2, "hidden_dim": 32, "intermediate_dim": 64, "max_sequence_length": 16}
    backbone = keras_hub.models.BertBackbone(vocabulary_size=50, **sizes)
    if quantize:
        backbone.quantize("int8")
    backbone.enable_lora(2)
    model = keras_hub.models.BertTextClassifier(backbone=backbone, num_classes=3, preprocessor=None)
    model.compile(keras.optimizers.Adam(1e-2), **OPTIONS)
    return model


def data(model):
    ids = np.random.default_rng(0).integers(0, 50, (32, 6)).astype("int32")
    labels = ids[:, 0] % 3
    if len(model.inputs) == 1:
        return ids, labels
    return {"token_ids": ids, "padding_mask": np.ones_like(ids), "segment_ids": np.zeros_like(ids)}, labels


def weights(model):
    return [np.asarray(value) for value in model.get_weights()]


def same(one, other) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(weights(one), weights(other), strict=True))


def check_training(make, out: str, **options) -> None:
    """Checkpoints leave the training as it is, continue it exactly, and are loaded for use."""
    from tf_hfwb import WandbModelCheckpoint, load_model, restore

    model, bare = make(**options), make(**options)
    x, y = data(model)
    bare.fit(x, y, **FIT)
    model.fit(x, y, **FIT, callbacks=[WandbModelCheckpoint(out, save_freq=3, log_model="end")])
    assert same(model, bare)

    again = make(**options)
    assert restore(again, f"{out}/checkpoint-6").step == 6
    again.fit(x, y, **FIT)
    assert same(again, model)
    answers = model.predict(x, verbose=0)
    np.testing.assert_array_equal(load_model(f"{out}/checkpoint-16").predict(x, verbose=0), answers)
    # Keras rounds where it merges what is quantized.
    tolerance = {"atol": 2e-2} if options.get("quantize") else {"rtol": 1e-6}
    np.testing.assert_allclose(load_model(f"{out}/model").predict(x, verbose=0), answers, **tolerance)
    assert [path.name for path in pathlib.Path(out).glob("base-*/*.safetensors")] == ["base.safetensors"]
