"""A task of KerasHub in a checkpoint: a preset, as ``from_preset`` opens it, written from values of an earlier moment.

The weights of the backbone and those of the head are in files of their own, each as KerasHub's ``save_to_preset`` lays
them out. What is frozen does not change from checkpoint to checkpoint, so it is linked instead of written.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from tf_hfwb.checkpoint.store import Checkpoint, Draft
from tf_hfwb.keras_compat import keras3_private
from tf_hfwb.keras_compat.hub_tasks import is_hub_task
from tf_hfwb.keras_compat.model_files.checkpoint_files import Arrays
from tf_hfwb.keras_compat.model_files.keras_layout import Layout, lay_out_keras3
from tf_hfwb.keras_compat.model_files.keras_weights import (
    WEIGHTS,
    read_h5,
    read_plain_model,
    without_computed,
    write_h5,
    write_shards,
)
from tf_hfwb.keras_compat.model_files.tokenizer_files import texts_of, write_texts
from tf_hfwb.keras_compat.reduced_precision import show_float32

_TASK, _METADATA = "task.json", "metadata.json"
_TASK_WEIGHTS = "task.weights.h5"


class PresetFiles:
    """A task of KerasHub, without its optimizer.

    Args:
        texts: The preset's other files.
        parts: What is in the files of weights, by their names.
        whole: What Keras would write of the task into one archive, as earlier releases did.
        frozen: The identities of frozen variables.
        synchronize: Brings the values of a running ``fit`` into the model, where they are outside of it.

    Attributes:
        variables: Each weight by its file and its place there.
        digests: Digests of what the model's layers have learned outside weights.
    """

    def __init__(
        self,
        texts: Mapping[str, bytes],
        parts: Mapping[str, Layout],
        whole: Layout,
        frozen: Collection[int],
        synchronize: Callable[[], object],
    ) -> None:
        self._texts = texts
        self._parts = parts
        self._whole = whole
        self._frozen = frozen
        self._synchronize = synchronize
        self.variables: dict[str, Any] = _named({file: layout.variables for file, layout in parts.items()})
        self.digests: dict[str, str] = whole.digests

    def compute_values(self) -> Arrays:
        """What layers compute at a save, as LoRA's merged kernels; call it on the training thread."""
        if any(layout.writers for layout in self._parts.values()):
            self._synchronize()
        return _named({file: layout.compute_values() for file, layout in self._parts.items()})

    def write(self, draft: Draft, values: Arrays, previous: Checkpoint | None) -> None:
        """Write the model.

        Args:
            draft: Where to.
            values: Each of ``variables`` by its name, and what :meth:`compute_values` gave.
            previous: An earlier checkpoint, whose files may be linked.
        """
        write_texts(draft, self._texts, previous)
        for file, layout in self._parts.items():
            prefix = f"{file}/"
            mine = {name.removeprefix(prefix): one for name, one in values.items() if name.startswith(prefix)}
            frozen = [
                place
                for place, variable in layout.variables.items()
                if id(variable) in self._frozen and layout.groups[place] not in layout.writers
            ]
            if file == WEIGHTS and 0 < len(frozen) < len(mine):  # KerasHub takes shards of the backbone alone.
                write_shards(draft, mine, frozen, layout.groups, previous)
            else:
                write_h5(draft, file, mine, previous if len(frozen) == len(mine) else None)

    def read(self, checkpoint: Checkpoint) -> Arrays:
        """Each weight by its file and its place there, without what layers of this model compute.

        Raises:
            CorruptCheckpointError: A file is missing, cannot be read, or holds something else.
        """
        if _TASK in checkpoint.files:
            found = {file: read_h5(checkpoint, file) for file in self._parts}
            return _named({file: without_computed(found[file], layout) for file, layout in self._parts.items()})
        names = {id(variable): name for name, variable in self.variables.items()}
        there = {place: names[id(variable)] for place, variable in self._whole.variables.items()}
        arrays = read_plain_model(checkpoint, self._whole)
        return {there.get(place, place): value for place, value in arrays.items()}


def preset_files_of(
    model: Any, weights: Sequence[Any], frozen: Collection[int], synchronize: Callable[[], object]
) -> PresetFiles | None:
    """The files of a task of KerasHub; None of all other models, and of a task of which a preset would not hold all.

    Args:
        model: The model, built.
        weights: Its weights.
        frozen: The identities of its frozen variables.
        synchronize: See :class:`PresetFiles`.
    """
    if not is_hub_task(model):
        return None
    try:
        texts = _texts_of_preset(model)
        whole, backbone = lay_out_keras3(model, weights), lay_out_keras3(model.backbone, weights)
        head = lay_out_keras3(model, weights, skipped=keras3_private.all_layers(model.backbone))
    except Exception:  # The model's other files say what is wrong with it.
        return None
    parts = {WEIGHTS: backbone} | ({_TASK_WEIGHTS: head} if head.variables else {})
    placed = [id(variable) for layout in parts.values() for variable in layout.variables.values()]
    is_all = sorted(placed) == sorted(id(variable) for variable in whole.variables.values())
    if not is_all or whole.num_left_out or whole.texts or not {*whole.assets.values()} <= {*texts.values()}:
        return None
    return PresetFiles(texts, parts, whole, frozen, synchronize)


def _texts_of_preset(model: Any) -> dict[str, bytes]:
    """What KerasHub writes into a preset besides weights."""
    with show_float32(model), _without_weights(model):
        texts = dict(texts_of(lambda directory: model.save_to_preset(str(directory))))
    metadata = json.loads(texts[_METADATA])
    metadata.pop("date_saved", None)  # A training that is continued writes the same files.
    return texts | {_METADATA: json.dumps(metadata, indent=4).encode()}


@contextlib.contextmanager
def _without_weights(model: Any) -> Iterator[None]:
    """Let KerasHub write a preset of a task, in the block, without files of weights."""
    methods = [(model.backbone, "save_weights"), (model, "save_task_weights")]
    for part, method in methods:
        setattr(part, method, lambda *_, **__: None)
    try:
        yield
    finally:
        for part, method in methods:
            delattr(part, method)


def _named(parts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Each entry of each file by the names of both."""
    return {f"{file}/{place}": value for file, entries in parts.items() for place, value in entries.items()}
