"""``TFTrainer`` with loaders of PyTorch and Grain and with a PyDataset, whose batches are taken as they are."""

from __future__ import annotations

import logging

import datasets
import keras
import numpy as np
import pytest
from helpers import classifier, needs, nightly

from tf_hfwb import TFTrainer, TFTrainingArguments
from tf_hfwb.data import evaluation_batches
from tf_hfwb.errors import DataError, SettingError

pytestmark = [pytest.mark.torch, pytest.mark.keras3, needs("transformers")]

READ: list[int] = []
NUMBER, BATCH = 22, 4
X = np.random.default_rng(0).normal(size=(NUMBER, 4)).astype("float32")
Y = np.argmax(X[:, :3], axis=1)


class Rows(keras.utils.PyDataset):
    def __init__(self, batch: int = BATCH):
        super().__init__()
        self._batch = batch

    def __len__(self):
        return -(-NUMBER // self._batch)

    def __getitem__(self, index):
        part = slice(index * self._batch, (index + 1) * self._batch)
        return X[part], Y[part]


def of_torch(*, draws_itself: bool = False):
    import torch

    data = torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))
    own = torch.Generator().manual_seed(7) if draws_itself else None
    return torch.utils.data.DataLoader(data, batch_size=BATCH, shuffle=True, generator=own)


def of_torchdata(workers: int = 0):
    """It tells its state."""
    from torchdata.stateful_dataloader import StatefulDataLoader

    class Pairs:
        def __len__(self):
            return NUMBER

        def __getitem__(self, index):
            READ.append(index)
            return X[index], Y[index]

    READ.clear()
    return StatefulDataLoader(Pairs(), batch_size=BATCH, shuffle=True, num_workers=workers)


def of_grain(*, is_endless: bool = False, is_iter: bool = False):
    import grain

    class Pick(grain.transforms.Map):
        def map(self, index):
            return X[index], Y[index]

    data = grain.MapDataset.range(NUMBER).seed(3).shuffle().map(Pick())
    data = data.repeat() if is_endless or is_iter else data
    return (data.to_iter_dataset() if is_iter else data).batch(BATCH)


def a_stream():
    rows = datasets.Dataset.from_dict({"inputs": X.tolist(), "labels": Y.tolist()})
    return rows.with_format("numpy").to_iterable_dataset(num_shards=2)


LOADERS = {
    "PyDataset": Rows,
    "PyTorch": of_torch,
    "PyTorch, its own generator": lambda: of_torch(draws_itself=True),
    "torchdata": of_torchdata,
    "Grain": of_grain,
    "Grain, endless": lambda: of_grain(is_endless=True),
    "Grain, read once": lambda: of_grain(is_iter=True),
    "a stream of datasets": a_stream,
}
on_torch = pytest.mark.skipif(keras.backend.backend() != "torch", reason="Keras runs on another backend")
KINDS = [
    "PyDataset",
    *(pytest.param(kind, marks=[on_torch, needs("torch")]) for kind in LOADERS if "PyTorch" in kind),
    pytest.param("torchdata", marks=[on_torch, needs("torchdata")]),
    *(pytest.param(kind, marks=[on_torch, needs("grain")]) for kind in LOADERS if "Grain" in kind),
    pytest.param("a stream of datasets", marks=on_torch),  # Elsewhere it is one of tf.data.
]


def trainer_of(data, model=None, **options) -> TFTrainer:
    keras.utils.set_random_seed(5)
    options = {"save_strategy": "steps", "save_steps": 5, "report_to": "none", "disable_tqdm": True} | options
    args = TFTrainingArguments("out", per_device_train_batch_size=BATCH, learning_rate=0.1, **options)
    return TFTrainer(model or classifier("keras"), args, train_dataset=data)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("group", [1, nightly(4)])
def test_a_training_is_resumed_with_the_batches_that_it_would_have_got(kind, group):
    """An epoch has six batches; in groups of four it makes two updates."""
    has_length = not kind.startswith(("Grain,", "a stream"))
    steps, saved = (12, 5) if group == 1 else (4, 3)
    length = {"num_train_epochs": 2} if has_length else {"max_steps": steps}
    options = {**length, "save_steps": saved, "gradient_accumulation_steps": group}
    whole = trainer_of(LOADERS[kind](), **options)
    assert whole.train().global_step == steps
    resumed = trainer_of(LOADERS[kind](), **options)
    assert resumed.train(resume_from_checkpoint=f"out/checkpoint-{saved}").global_step == steps
    if kind == "torchdata":  # The batches before are not read again; one more is, at which Keras looks.
        assert len(READ) == BATCH + 2 * NUMBER - (5 * BATCH if group == 1 else NUMBER + 4 * BATCH)
    for weight, other in zip(resumed.model.get_weights(), whole.model.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, other)


def test_accumulated_batches_make_the_update_of_a_larger_one():
    options = {"max_steps": 1, "optim": "sgd", "save_strategy": "no"}
    several = trainer_of(Rows(BATCH), gradient_accumulation_steps=4, **options)
    one = trainer_of(Rows(4 * BATCH), **options)
    several.train()
    one.train()
    for weight, other in zip(several.model.get_weights(), one.model.get_weights(), strict=True):
        np.testing.assert_allclose(weight, other, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS[:3])
def test_it_is_evaluated_as_often_as_wanted(kind):
    trainer = trainer_of(Rows())
    by_arrays = trainer.evaluate((X, Y))
    for _ in range(2):
        metrics = trainer.evaluate(LOADERS[getattr(kind, "values", [kind])[0]]())
        assert metrics["eval_loss"] == pytest.approx(by_arrays["eval_loss"], rel=1e-5)
        assert metrics["eval_accuracy"] == pytest.approx(by_arrays["eval_accuracy"])


def test_what_a_loader_does_not_allow_is_refused():
    with pytest.raises(SettingError, match=r'include_num_input_tokens_seen=.* Expected "no" with a loader'):
        trainer_of(Rows(), include_num_input_tokens_seen=True).train()


def test_arguments_that_say_nothing_of_it_are_named(caplog):
    with caplog.at_level(logging.WARNING, "tf_hfwb"):
        trainer_of(Rows(), dataloader_drop_last=True, max_steps=1).train()
    assert "train_dataset is a Rows, which is taken as it is" in caplog.text
    assert "dataloader_drop_last=True" in caplog.text


@needs("tf_keras")
def test_tf_keras_takes_none():
    with pytest.raises(SettingError, match="as tf_keras takes no loaders of PyTorch and Grain"):
        trainer_of(Rows(), classifier("tf_keras")).train()


@on_torch
@needs("grain")
def test_an_endless_one_cannot_be_evaluated():
    with pytest.raises(DataError, match="without a length was given for evaluation"):
        evaluation_batches(of_grain(is_iter=True), BATCH)
