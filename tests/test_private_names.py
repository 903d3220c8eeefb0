"""Names that a library does not promise: where they stand, and what is said when a version lacks one."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import pathlib
import re
import sys
import types

import pytest

import tf_hfwb
from tf_hfwb.data import datasets_private
from tf_hfwb.errors import UnsupportedVersionError
from tf_hfwb.keras_compat import (
    keras3_private,
    private_names,
    tensorflow_private,
    tf_keras_private,
    transformers_private,
)
from tf_hfwb.keras_compat.model_files import archive_texts

PACKAGE = pathlib.Path(tf_hfwb.__file__).parent
# The client of W&B has a file and a test of its own (test_wandb_private.py).
ALL_FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if path.parent.name != "tracking"]
PRIVATE_FILES = [path for path in ALL_FILES if path.name.endswith("_private.py")]
FILES = [path for path in ALL_FILES if path not in PRIVATE_FILES]
# What Python itself promises in spite of its underscore.
OF_PYTHON = {"_getframe", "_replace", "_asdict", "_fields"}
OF_TEXTS = {"endswith", "startswith", "removeprefix", "removesuffix"}


def is_private(name: str) -> bool:
    return re.fullmatch(r"_[A-Za-z]\w*", name) is not None


def own_names(tree: ast.AST) -> set[str]:
    """What the classes and functions of a file declare."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and is_self(node.value):
            found.add(node.attr)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
        elif isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return found


def is_self(node: ast.AST) -> bool:
    is_super = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "super"
    return is_super or (isinstance(node, ast.Name) and node.id in ("self", "cls"))


def parts_of_texts(tree: ast.AST) -> set[int]:
    """The identities of words that are compared with texts or stand within one."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in OF_TEXTS:
            found |= {id(argument) for argument in node.args}
        elif isinstance(node, ast.JoinedStr):
            found |= {id(value) for value in node.values if ".src." not in str(getattr(value, "value", ""))}
    return found


def foreign_names(path: pathlib.Path) -> list[str]:
    """The private names of others that a file uses: as attributes, as words and by imports."""
    tree = ast.parse(path.read_text())
    own, found = own_names(tree) | OF_PYTHON, []
    of_texts = parts_of_texts(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            found += [] if is_self(node.value) or node.attr in own else [node.attr]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and is_private(node.value):
            found += [] if id(node) in of_texts or node.value in own else [node.value]
        elif isinstance(node, ast.Constant) and ".src." in str(node.value):
            found.append(node.value)
        elif isinstance(node, ast.ImportFrom) and node.module:
            parts = node.module.split(".")
            is_inside = "src" in parts or parts[:2] == ["tensorflow", "python"]
            found += [node.module] if is_inside else [alias.name for alias in node.names if is_private(alias.name)]
    return found


# In these they are what a configuration holds, or the end of another name, and not attributes of a library.
HARMLESS = {
    "overridden_methods.py": {"_align_special_tokens", "_determine_best_metric"},
    "safe_config.py": {"_RNNCellWrapper"},
    "generation_signature.py": {"_from_model_config"},
    "evaluate_during_fit.py": {"_runtime", "_per_second"},
    "referenced_files.py": {"_file", "_spm"},
    "metric_texts.py": {"_runtime", "_mem_"},
    "trackio_values.py": {"_type", "_value"},
    "trackio_storage.py": {"_type", "_value", "_Username", "_Created", "_Group"},
}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_private_names_of_libraries_stand_in_the_files_for_them(path):
    assert set(foreign_names(path)) - HARMLESS.get(path.name, set()) == set()


def test_the_files_for_them_are_seen_to_have_some():
    assert {path.name for path in PRIVATE_FILES if foreign_names(path)} == {path.name for path in PRIVATE_FILES}


@pytest.mark.parametrize("path", PRIVATE_FILES, ids=lambda path: path.name)
def test_each_of_them_has_its_purpose_beside_it(path):
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    module = importlib.import_module(".".join(["tf_hfwb", *parts]))
    functions = [one for one in vars(module).values() if inspect.isfunction(one) and one.__module__ == module.__name__]
    assert functions
    assert [one.__name__ for one in functions if not one.__doc__] == []


def test_a_version_without_a_name_is_told_with_the_tested_one(monkeypatch):
    monkeypatch.setattr(private_names.importlib.metadata, "version", lambda package: "9.9.1")
    with pytest.raises(
        UnsupportedVersionError, match=r"keras 9\.9\.1 lacks .*_loss_tracker.*keras 3\.15.*Install"
    ) as it:
        keras3_private.loss_tracker(object())
    assert (it.value.package, it.value.installed, it.value.tested) == ("keras", "9.9.1", "3.15")
    with pytest.raises(UnsupportedVersionError, match=r"tf_keras 9\.9\.1 lacks .*_is_compiled.*Whether ``compile``"):
        tf_keras_private.is_compiled(object())


def test_a_module_that_is_not_there_is_told_as_well(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras.src.random", None)
    with pytest.raises(UnsupportedVersionError, match=r"keras .* lacks .*keras\.src\.random"):
        keras3_private.global_seed_generator(make=True)


def test_a_name_that_would_only_be_set_is_looked_for_first():
    class EpochIterator:
        pass

    with pytest.raises(UnsupportedVersionError, match="_num_batches"):
        keras3_private.forget_number_of_batches(EpochIterator())
    with pytest.raises(UnsupportedVersionError, match="_inferred_steps"):
        tf_keras_private.forget_number_of_batches(EpochIterator())
    with pytest.raises(UnsupportedVersionError, match="_initial_epoch"):
        keras3_private.set_initial_epoch(EpochIterator(), 1)


def test_the_tested_versions_are_those_that_are_installed():
    for package, tested in private_names.TESTED_VERSIONS.items():
        assert importlib.import_module("importlib.metadata").version(package).startswith(f"{tested}.")


@pytest.mark.parametrize("keras", ["tf_keras", "keras"])
def test_without_a_name_the_configuration_is_found_by_the_public_way(keras, monkeypatch):
    package = importlib.import_module(keras)
    model = package.Sequential([package.Input((2,)), package.layers.Dense(3)])
    describe = archive_texts.describe_keras3 if keras == "keras" else archive_texts.describe_tf_keras
    config, metadata = map(json.loads, describe(model))
    monkeypatch.setitem(sys.modules, f"{keras}.src.saving.saving_lib", types.ModuleType("empty"))
    monkeypatch.setattr(importlib.import_module(f"{keras}.src.saving"), "saving_lib", types.ModuleType("empty"))
    slow_config, slow_metadata = map(json.loads, describe(model))
    assert slow_config == config
    assert slow_metadata["keras_version"] == metadata["keras_version"]


def test_state_that_cannot_be_found_is_not_left_out_silently(monkeypatch):
    tf_keras = importlib.import_module("tf_keras")
    layer = tf_keras.layers.Dropout(0.5)
    assert tf_keras_private.generator_of(layer) is not None
    assert tf_keras_private.generator_of(tf_keras.layers.Dense(1)) is None
    del layer._random_generator
    with pytest.raises(UnsupportedVersionError, match="_random_generator"):
        tf_keras_private.generator_of(layer)
    optimizer = tf_keras.mixed_precision.LossScaleOptimizer(tf_keras.optimizers.SGD())
    assert len(tf_keras_private.loss_scale_variables(optimizer)) == 2
    assert tf_keras_private.loss_scale_variables(tf_keras.optimizers.SGD()) == []
    monkeypatch.setattr(type(optimizer), "dynamic", True)
    del optimizer._loss_scale
    with pytest.raises(UnsupportedVersionError, match="_loss_scale"):
        tf_keras_private.loss_scale_variables(optimizer)


class Without:
    """An object that lacks a name."""

    def __init__(self, whole, name):
        self._whole, self._name = whole, name

    def __getattr__(self, name):
        if name == self._name:
            raise AttributeError(name)
        return getattr(self._whole, name)


def test_without_its_order_the_rows_of_a_data_set_are_read_by_the_public_way():
    datasets = importlib.import_module("datasets")
    whole = datasets.Dataset.from_dict({"a": list(range(9)), "b": list("abcdefghi")})
    for dataset in (whole, whole.shuffle(seed=1), whole.select([3, 1, 3])):
        expected = datasets_private.stored_columns(dataset, ["a"]).to_pydict()
        assert expected == {"a": dataset["a"][:]}
        assert datasets_private.stored_columns(Without(dataset, "_indices"), ["a"]).to_pydict() == expected
    with pytest.raises(UnsupportedVersionError, match=r"datasets .* lacks .*_fingerprint"):
        datasets_private.fingerprint(Without(whole, "_fingerprint"))


def test_without_its_name_the_size_of_batches_is_unknown():
    tf = importlib.import_module("tensorflow")
    data = tf.data.Dataset.range(9).batch(2)
    assert int(tensorflow_private.size_given_to_batch(data.prefetch(1))) == 2
    del data._batch_size
    assert tensorflow_private.size_given_to_batch(data.prefetch(1)) is None
    later = data.prefetch(1)
    del later._input_dataset
    assert tensorflow_private.size_given_to_batch(later) is None


def test_without_an_option_files_of_one_commit_are_found_by_its_revision(monkeypatch):
    hub = importlib.import_module("transformers.utils.hub")
    config = types.SimpleNamespace(_commit_hash="abc")
    assert transformers_private.at_commit_of(config) == {"_commit_hash": "abc"}
    monkeypatch.setattr(hub, "cached_files", lambda path_or_repo_id, filenames, **kwargs: None)
    assert transformers_private.at_commit_of(config) == {"revision": "abc"}
    assert transformers_private.at_commit_of(object()) == {}
    with pytest.raises(UnsupportedVersionError, match="_raise_exceptions_for_missing_entries"):
        transformers_private.without_errors()


def test_a_version_without_a_name_of_the_auto_classes_is_told():
    assert "TFBertForMaskedLM" in transformers_private.class_names("MODEL_FOR_MASKED_LM")
    with pytest.raises(UnsupportedVersionError, match=r"transformers .* lacks .*TF_MODEL_FOR_NOTHING_MAPPING_NAMES"):
        transformers_private.class_names("MODEL_FOR_NOTHING")
    with pytest.raises(UnsupportedVersionError, match="_model_mapping"):
        transformers_private.classes_by_config(object)
