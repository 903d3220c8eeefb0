"""A TF model of transformers in a checkpoint: ``config.json`` and safetensors, as ``from_pretrained`` opens them.

When some layers are frozen there are two shards: first the frozen weights, then the trained ones. The first one does
not change from checkpoint to checkpoint, so it is linked instead of written.
"""

from __future__ import annotations

import functools
import json
import pathlib
import reprlib
from typing import Any

from tf_hfwb.checkpoint.safetensors_files import chunks, read_tensors
from tf_hfwb.checkpoint.store import Checkpoint, Draft
from tf_hfwb.errors import CorruptCheckpointError
from tf_hfwb.keras_compat import tf_keras_private, transformers_private
from tf_hfwb.keras_compat.model_files.checkpoint_files import Arrays
from tf_hfwb.keras_compat.model_files.tokenizer_files import texts_of, write_texts
from tf_hfwb.keras_compat.training_variables import frozen_variables
from tf_hfwb.secret_masking import mask_json
from tf_hfwb.validation.argument_checks import to_json_value

INDEX = "model.safetensors.index.json"


class TransformersFiles:
    """A TF model of transformers.

    Args:
        model: The model, built.

    Attributes:
        variables: Each weight by its name in the files.
        digests: Empty, because these models have learned nothing outside their weights.
    """

    def __init__(self, model: Any) -> None:
        import tf_keras

        name_in_files = transformers_private.name_in_files()
        self.variables: dict[str, Any] = {name_in_files(variable.name): variable for variable in model.weights}
        layers = [module for module in model.submodules if isinstance(module, tf_keras.layers.Layer)]
        frozen = frozen_variables(layers, tf_keras_private.own_variables)
        self._frozen = [name for name, variable in self.variables.items() if id(variable) in frozen]
        self.digests: dict[str, str] = {}
        self._texts = texts_of(functools.partial(_save_configuration, model))

    def compute_values(self) -> Arrays:
        """Nothing, because these layers save only their weights."""
        return {}

    def write(self, draft: Draft, values: Arrays, previous: Checkpoint | None) -> None:
        """Write the model.

        Args:
            draft: Where to.
            values: Each weight by its name.
            previous: An earlier checkpoint, whose files may be linked.
        """
        write_texts(draft, self._texts, previous)
        metadata = {"format": "tf"}
        frozen = {name: values[name] for name in self._frozen}
        trained = {name: value for name, value in values.items() if name not in frozen}
        if not frozen or not trained:
            draft.write_tensors("model.safetensors", values, metadata)
            return
        shards = {"model-00001-of-00002.safetensors": frozen, "model-00002-of-00002.safetensors": trained}
        for file, tensors in shards.items():
            if tensors is trained or not draft.reuse_same(file, chunks(tensors, metadata), previous):
                draft.write_tensors(file, tensors, metadata)
        size = sum(value.nbytes for value in values.values())
        files = {name: file for file, tensors in shards.items() for name in tensors}
        draft.write_json(INDEX, {"metadata": {"total_size": size}, "weight_map": files})

    @staticmethod
    def read(checkpoint: Checkpoint) -> Arrays:
        """Each weight by its name.

        Raises:
            CorruptCheckpointError: A file is missing or cannot be read.
        """
        arrays: Arrays = {}
        for file in _weight_files(checkpoint):
            found = read_tensors(checkpoint.path / file)
            if arrays.keys() & found.keys():
                raise _damaged(checkpoint, f"{sorted(arrays.keys() & found.keys())[:3]} are in two files")
            arrays |= found
        return arrays


def _weight_files(checkpoint: Checkpoint) -> list[str]:
    if INDEX not in checkpoint.files:
        files = ["model.safetensors"]
    else:
        index = checkpoint.read_json(INDEX)
        places = index.get("weight_map") if isinstance(index, dict) else None
        if not isinstance(places, dict) or not all(isinstance(file, str) for file in places.values()):
            raise _damaged(checkpoint, f"its {INDEX} has the weight_map {reprlib.repr(places)}")
        files = sorted(set(places.values()))
    unknown = [file for file in files if file not in checkpoint.files]
    if unknown:  # A name such as ../file would lead out of the checkpoint.
        raise _damaged(checkpoint, f"its manifest does not name {unknown[:3]}")
    return files


def _damaged(checkpoint: Checkpoint, found: str) -> CorruptCheckpointError:
    return CorruptCheckpointError(
        f"The model in {checkpoint.path} cannot be read: {found}. Expected model.safetensors, or {INDEX} that names "
        "files beside it, each weight once. Use another checkpoint."
    )


def plain_configuration(model: Any) -> None:
    """Replace NumPy's numbers and the like in the model's configurations by plain ones, which JSON can write.

    Raises:
        SettingError: Something cannot be written as JSON and has no plain counterpart.
    """
    for name in ("config", "generation_config"):
        if getattr(model, name, None) is not None:
            _make_plain(f"model.{name}", getattr(model, name))


def _make_plain(name: str, configuration: Any) -> None:
    from transformers.utils import PushToHubMixin

    for key, value in list(vars(configuration).items()):
        if isinstance(value, PushToHubMixin):  # The configuration of a part of the model.
            _make_plain(f"{name}.{key}", value)
            continue
        try:
            json.dumps(value)
        except TypeError:
            setattr(configuration, key, to_json_value(f"{name}.{key}", value))


def _save_configuration(model: Any, directory: pathlib.Path) -> None:
    from transformers.dynamic_module_utils import custom_object_save

    plain_configuration(model)
    model.config.architectures = [type(model).__name__.removeprefix("TF")]
    if transformers_private.auto_class(model) is not None:
        custom_object_save(model, directory, config=model.config)
    model.config.save_pretrained(directory)
    if model.can_generate():
        # Its save_pretrained refuses some values that generate accepts, such as a temperature without do_sample.
        model.generation_config.to_json_file(directory / "generation_config.json")
    for path in directory.glob("*config.json"):
        mask_json(path)
