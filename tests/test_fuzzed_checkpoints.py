"""Damaged and harmful checkpoints, many of them, chosen by a seed: refused in our words, in time, without effect."""

from __future__ import annotations

import contextlib
import io
import pathlib
import random
import shutil

import fuzzing
import numpy as np
import pytest
import test_checkpoint_format as written_before
import tf_keras
import tiny
import wandb
from helpers import classifier, nightly, samples

from tf_hfwb import EarlyStopping, WandbMetricsLogger, WandbModelCheckpoint, load_model, restore
from tf_hfwb.checkpoint.store import Store
from tf_hfwb.cli import main
from tf_hfwb.keras_compat import host_of
from tf_hfwb.resume.checkpoint_listing import checkpoints


def plain():
    return classifier("tf_keras", optimizer=tf_keras.optimizers.Adam(1e-2))


def frozen_keras():
    model = tiny.functional("keras", dropout=0.1, optimizer="adam")
    model.layers[1].trainable = False
    return model


def frozen_bert():
    model = tiny.bert(hidden_dropout_prob=0.1)
    model.bert.embeddings.trainable = False
    model.compile(tf_keras.optimizers.Adam(1e-2), metrics=["accuracy"])
    return model


def trained(build, directory: pathlib.Path) -> None:
    """Two checkpoints by a training that has whatever a checkpoint can have."""
    model = build()
    data = samples(12) if build is plain else tiny.named(samples(12))
    if build is frozen_bert:
        columns = tiny.tokenizer()(tiny.TEXTS + tiny.TEXTS[:1], padding=True, return_tensors="np")
        data = {"input_ids": columns["input_ids"], "labels": np.arange(12) % 3}, None
    callbacks = [WandbMetricsLogger("batch"), EarlyStopping("val_loss", patience=9), WandbModelCheckpoint(directory)]
    validation = {"validation_data": data} if data[1] is not None else {}
    model.fit(*data, batch_size=4, epochs=2, shuffle=False, callbacks=callbacks, verbose=0, **validation)


TRAINED = {"tf_keras": plain, "frozen keras": frozen_keras, "frozen bert": frozen_bert}
BUILDERS = {"bert": written_before.bert, "keras": written_before.keras3, **TRAINED}


@pytest.fixture
def sources(tmp_path_factory) -> dict[str, pathlib.Path]:
    """Output directories; those that are not in ``tests/data`` are written once."""
    base = tmp_path_factory.getbasetemp() / "whole"
    for name, build in TRAINED.items():
        if not (base / name).exists():
            trained(build, base / name)
    for name in written_before.MODELS:
        if not (base / name).exists():
            shutil.copytree(written_before.DATA / name, base / name)
    return {name: base / name for name in BUILDERS}


@pytest.fixture
def watch(tmp_path) -> fuzzing.Watch:
    wandb.setup()  # Whoever asks its settings starts the client's service, which is no work of a case.
    (tmp_path / "outside").mkdir()
    return fuzzing.Watch(tmp_path / "outside")


@contextlib.contextmanager
def harmed(source: pathlib.Path, case: pathlib.Path, outside: pathlib.Path, dice: random.Random):
    """A copy of an output directory of which one checkpoint is damaged; gives that one."""
    fuzzing.copied(source, case)
    directory = dice.choice(sorted(case.glob("checkpoint-*")))
    for _ in range(dice.choice([1, 1, 1, 2])):
        fuzzing.hurt(directory, outside, dice)
    if dice.random() < 0.6:
        fuzzing.rewrite_manifest(directory)
    yield directory
    shutil.rmtree(case)


@pytest.mark.nightly
@pytest.mark.parametrize(
    "seeds", [range(2000), pytest.param(range(2000, 12_000), marks=pytest.mark.nightly)], ids=["few", "many"]
)
def test_the_damaged_one_is_found_and_the_others_are_listed(sources, watch, tmp_path, seeds, caplog):
    for seed in seeds:
        dice = random.Random(seed)
        case, source = tmp_path / "case", dice.choice([*sources.values()])
        with harmed(source, case, tmp_path / "outside", dice) as directory:
            whole = {path.name for path in case.glob("checkpoint-*")} - {directory.name}

            def look(case=case, directory=directory, whole=whole, seed=seed):
                newest = Store(case).newest_good()[0]
                assert newest is not None or not whole, seed
                listed = {pathlib.Path(one.path).name for one in checkpoints(case) if not one.damage}
                assert whole <= listed, seed
                printed = io.StringIO()
                with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
                    status = main(["checkpoints", str(case), *(["--json"] if seed % 2 else [])])
                assert status == (0 if listed else 1), seed
                assert "\x1b" not in printed.getvalue(), seed

            error = watch.run(case, look)
            assert error is None or not whole, (seed, error)
        caplog.clear()


def state_of(model) -> list[np.ndarray]:
    variables = [*model.weights, *host_of(model).optimizer_variables().values()]
    return [np.array(variable) for variable in variables]


@pytest.mark.nightly
@pytest.mark.parametrize(
    "number", [60, pytest.param(300, marks=pytest.mark.nightly, id="many")], ids=lambda number: "few"
)
@pytest.mark.parametrize("name", BUILDERS)
def test_restore_refuses_before_anything_changes(sources, watch, tmp_path, name, number, caplog):
    model = BUILDERS[name]()
    before = state_of(model)
    refused = 0
    for seed in range(number):
        dice = random.Random(f"{name} {seed}")
        case = tmp_path / "case"
        with harmed(sources[name], case, tmp_path / "outside", dice) as directory:
            drawn = np.random.get_state()[1].tobytes()
            if watch.run(case, lambda directory=directory: restore(model, directory)):
                refused += 1
                assert np.random.get_state()[1].tobytes() == drawn, seed
                for now, then in zip(state_of(model), before, strict=True):
                    np.testing.assert_array_equal(now, then, f"seed {seed}")
            before = state_of(model)
        caplog.clear()
    assert refused > number / 2


@pytest.mark.parametrize(
    "number", [7, pytest.param(200, marks=pytest.mark.nightly, id="many")], ids=lambda number: "few"
)
@pytest.mark.parametrize("name", [nightly(name) if name == "frozen bert" else name for name in BUILDERS])
def test_load_model_refuses_in_our_words(sources, watch, tmp_path, name, number, caplog):
    for seed in range(number):
        dice = random.Random(f"load {name} {seed}")
        case = tmp_path / "case"
        with harmed(sources[name], case, tmp_path / "outside", dice) as directory:
            watch.run(case, lambda directory=directory: load_model(directory))
        caplog.clear()
