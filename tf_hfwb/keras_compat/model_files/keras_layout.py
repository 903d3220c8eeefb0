"""What Keras would write of a plain model, and where: looked up once, for files that are written later.

Keras's own ``save`` walks through the model here, so everything is in the place that Keras gives it. It writes

* variables, whose values can be taken at any step without asking the layer again;
* what a layer computes when it is saved, such as LoRA's merged kernels and the weights of ``tf_idf``: the layer is
  asked at each step that is saved;
* assets, such as vocabularies: files that training does not change.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tf_hfwb.keras_compat import keras3_private, tf_keras_private
from tf_hfwb.keras_compat.common_private import SavingLibrary
from tf_hfwb.keras_compat.model_files.checkpoint_files import Arrays

_ASSETS = "assets"  # Of the archive.


@dataclass
class Layout:
    """What Keras would write.

    A place is the name of an array in the file of weights: ``{path of the layer}/vars/{key}``. Keys of the user's
    layers may contain slashes.

    Attributes:
        variables: Each variable by its place.
        groups: The group in which the layer writes, by the place.
        writers: Layers that write something else than their variables, by their groups.
        assets: The content of each file by its name in the archive.
        digests: What the layers have learned outside variables, such as vocabularies: a digest by the layer's path.
        texts: The places where a layer writes what is not a number, which no reader of this package takes.
        num_left_out: The number of weights that Keras would not write, in any form.
    """

    variables: dict[str, Any] = field(default_factory=dict)
    groups: dict[str, str] = field(default_factory=dict)
    writers: dict[str, Any] = field(default_factory=dict)
    assets: dict[str, bytes] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)
    num_left_out: int = 0

    def compute_values(self) -> Arrays:
        """What the writers write now, besides variables, by its place."""
        found: Arrays = {}
        for group, layer in self.writers.items():
            written: dict[str, Any] = {}
            layer.save_own_variables(written)
            for key, value in written.items():
                place = f"{group}/{key}"
                if place not in self.variables and _is_numeric(value):
                    self.groups[place] = group
                    found[place] = np.array(np.asarray(value))
        return found

    def is_computed(self, place: str) -> bool:
        """Whether a writer writes there what is not a variable."""
        return place not in self.variables and any(place.startswith(f"{group}/") for group in self.writers)


def lay_out_tf_keras(model: Any, weights: Sequence[Any]) -> Layout:
    """What tf_keras would write."""
    import tf_keras

    layer = tf_keras.layers.Layer
    layers = [one for one in [model, *model.submodules] if isinstance(one, layer)]

    def variables_of(one: Any) -> list[Any] | None:
        # tf_keras writes values, which do not show the variables that they come from.
        is_its_own = type(one).save_own_variables is not layer.save_own_variables
        return None if is_its_own else tf_keras_private.own_variables(one)

    return _lay_out(tf_keras, tf_keras_private.saving_library(), model, weights, layers, variables_of)


def lay_out_keras3(model: Any, weights: Sequence[Any], skipped: Iterable[Any] = ()) -> Layout:
    """What Keras 3 would write; without some layers, where it is told to skip them."""
    import keras

    layers = keras3_private.all_layers(model)
    return _lay_out(keras, keras3_private.saving_library(), model, weights, layers, lambda one: None, skipped)


def layers_by_group(model: Any) -> dict[str, Any]:
    """The layers of a Keras 3 model by the groups in which they write."""
    known = {id(layer): layer for layer in keras3_private.all_layers(model)}
    found, _ = _walk(keras3_private.saving_library(), model)
    return {_group(path): known[identity] for identity, path, _ in found if identity in known}


def _lay_out(
    keras: Any,
    library: SavingLibrary,
    model: Any,
    weights: Sequence[Any],
    layers: Iterable[Any],
    variables_of: Callable[[Any], list[Any] | None],
    skipped: Iterable[Any] = (),
) -> Layout:
    found, assets = _walk(library, model, skipped)
    layout = Layout(assets=assets)
    known, identities = {id(layer): layer for layer in layers}, {id(variable) for variable in weights}
    for identity, path, written in found:
        layer = known.get(identity)  # None for an optimizer, whose state is kept elsewhere.
        own = None if layer is None else variables_of(layer)
        if own is not None:
            written = dict(zip(written, own, strict=True))
        group = _group(path)
        others = _add_variables(layout, group, written, identities)
        if layer is None or isinstance(layer, keras.metrics.Metric):
            continue
        if others:
            layout.writers[group] = layer
            layout.texts += [f"{path}/{key}" for key, value in others.items() if not _is_numeric(value)]
        learned = _learned(keras, layer)
        if learned is not None:
            layout.digests[path] = hashlib.sha256(learned.encode()).hexdigest()
    written_by = [*layout.variables.values(), *(one for writer in layout.writers.values() for one in writer.weights)]
    layout.num_left_out = len(identities - {id(variable) for variable in written_by})
    layout.digests |= {name: hashlib.sha256(asset).hexdigest() for name, asset in layout.assets.items()}
    return layout


def _group(path: str) -> str:
    return f"{path}/vars".lstrip("/")


def _walk(
    library: SavingLibrary, model: Any, skipped: Iterable[Any] = ()
) -> tuple[list[tuple[int, str, dict[str, Any]]], dict[str, bytes]]:
    """What Keras writes of each part of a model, with the part's identity and path; and the files beside it."""

    # Keras 3 asks for one of its own classes.
    class Places(_Places, library.weights_store):  # type: ignore[name-defined, misc]
        pass

    places = Places()
    visited = _Visited(places, skipped)
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        assets = library.assets_store(_ASSETS, archive=archive, mode="w")
        try:
            library.save_state(model, places, assets, "", visited)
        finally:
            assets.close()
    with zipfile.ZipFile(content) as archive:
        return visited.found, {name: archive.read(name) for name in archive.namelist()}


def _add_variables(layout: Layout, group: str, written: Mapping[str, Any], weights: Collection[int]) -> dict[str, Any]:
    """Put those of the model's weights that a layer has written into the layout; what else it has written is left."""
    others: dict[str, Any] = {}
    for key, value in written.items():
        if id(value) in weights:
            layout.variables[f"{group}/{key}"] = value
            layout.groups[f"{group}/{key}"] = group
        else:
            others[key] = value
    return others


def _is_numeric(value: Any) -> bool:
    return np.asarray(value).dtype.kind not in "USOmM"


def _learned(keras: Any, layer: Any) -> str | None:
    """What one of Keras's own layers has learned besides weights, or was given; None for all other layers."""
    if isinstance(layer, (keras.layers.StringLookup, keras.layers.IntegerLookup)):
        words = [str(word) for word in layer.get_vocabulary()]
        return repr((words, _rounded(layer.idf_weights) if layer.output_mode == "tf_idf" else None))
    return repr(_rounded(layer.bin_boundaries)) if isinstance(layer, keras.layers.Discretization) else None


def _rounded(values: Any) -> list[str]:
    # Other machines may compute other last digits.
    return [] if values is None else [f"{value:.4g}" for value in np.asarray(values).astype(np.float64)]


class _Places:
    """A stand-in for a file that is open for writing, which remembers what would be written where."""

    def __init__(self) -> None:
        self.last: tuple[str, dict[str, Any]] | None = None

    def __bool__(self) -> bool:
        return True

    def make(self, path: str, metadata: Mapping[str, Any] | None = None) -> dict[str, Any]:
        written: dict[str, Any] = {}
        self.last = path, written
        return written


class _Visited(set[int]):
    """The parts of a model that Keras has visited, with what it wrote of each."""

    def __init__(self, places: _Places, skipped: Iterable[Any]) -> None:
        super().__init__(map(id, skipped))
        self.found: list[tuple[int, str, dict[str, Any]]] = []
        self._places = places

    def add(self, identity: int) -> None:
        """Called by Keras when it has written a part."""
        super().add(identity)
        if self._places.last is not None:
            self.found.append((identity, *self._places.last))
            self._places.last = None
