"""A Keras 3 model with LoRA in a checkpoint: what is trained, and which base it needs.

The base is what was made to be trained and is frozen, and what is quantized. No step changes its tensors, so they are
written once, in a directory of their own beside the checkpoints. All other weights are in each checkpoint: LoRA's
matrices, heads and biases that are trained, statistics. The places are those of a model without LoRA, so the base holds
kernels as they are, and not the merged ones that Keras would write.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any

from tf_hfwb.checkpoint.store import Checkpoint, Draft
from tf_hfwb.errors import CorruptCheckpointError
from tf_hfwb.keras_compat import keras3_private
from tf_hfwb.keras_compat.model_files.archive_texts import describe_keras3
from tf_hfwb.keras_compat.model_files.checkpoint_files import Arrays
from tf_hfwb.keras_compat.model_files.keras_layout import Layout, lay_out_keras3
from tf_hfwb.keras_compat.model_files.lora_description import ADAPTERS, LORA, Adapter, LoRADescription
from tf_hfwb.keras_compat.model_files.tokenizer_files import write_texts
from tf_hfwb.keras_compat.training_variables import Variables, name_variables


class LoRAFiles:
    """A Keras 3 model with LoRA, without its base and its optimizer.

    Args:
        configuration: The configuration and the metadata of the archive, as JSON.
        layout: What Keras would write of the model without LoRA.
        names: Each weight by its name in the files: a place of the layout, or one of ``weights/``.
        frozen: The identities of the base's variables.
        adapters: LoRA on each of its layers.
        synchronize: Brings the values of a running ``fit`` into the model, where they are outside of it.

    Attributes:
        variables: Each weight that is written with every checkpoint, by its name.
        base: Each weight of the base by its name.
        base_sha256: The digest of the base's file; empty until it is written.
        base_size: The size of that file in bytes.
        digests: Digests of what the model's layers have learned outside weights.
    """

    def __init__(
        self,
        configuration: tuple[str, str],
        layout: Layout,
        names: Variables,
        frozen: Collection[int],
        adapters: Sequence[Adapter],
        synchronize: Callable[[], object],
    ) -> None:
        self._layout = layout
        self._adapters = adapters
        self._synchronize = synchronize
        config, metadata = configuration
        self._texts = {"config.json": config.encode(), "metadata.json": metadata.encode(), **layout.assets}
        self.variables = {name: variable for name, variable in names.items() if id(variable) not in frozen}
        self.base = {name: variable for name, variable in names.items() if id(variable) in frozen}
        self.base_sha256 = ""
        self.base_size = 0
        self.digests: dict[str, str] = layout.digests

    def compute_values(self) -> Arrays:
        """What layers without LoRA compute at a save, by its place; call it on the training thread."""
        if self._layout.writers:
            self._synchronize()
        return self._layout.compute_values()

    def write(self, draft: Draft, values: Arrays, previous: Checkpoint | None) -> None:
        """Write the model without its base, which is written already.

        Args:
            draft: Where to.
            values: Each of ``variables`` by its name, and what :meth:`compute_values` gave.
            previous: An earlier checkpoint, whose files may be linked.
        """
        write_texts(draft, self._texts, previous)
        draft.write_tensors(ADAPTERS, values)
        draft.write_json(LORA, LoRADescription(self.base_sha256, self.base_size, self._adapters).in_file)

    def read(self, checkpoint: Checkpoint) -> Arrays:
        """Each of ``variables`` by its name, without what layers of this model compute.

        Raises:
            CorruptCheckpointError: The file is missing, or cannot be read.
        """
        if ADAPTERS not in checkpoint.files:
            raise CorruptCheckpointError(
                f"{checkpoint.path} holds no adapters: its manifest does not name {ADAPTERS}. Expected it beside "
                f"{LORA}, as this package writes it. Use another checkpoint."
            )
        found = checkpoint.read_tensors(ADAPTERS)
        return {name: value for name, value in found.items() if not self._layout.is_computed(name)}


def lora_files_of(model: Any, weights: Sequence[Any], synchronize: Callable[[], object]) -> LoRAFiles | None:
    """The files of a model with LoRA; None without LoRA, and where a checkpoint has to be whole.

    It has to be where Keras could not make the model again from a configuration and arrays at their places, and with
    layers whose LoRA is not Keras's own.

    Args:
        model: The model, built.
        weights: Its weights.
        synchronize: See :class:`LoRAFiles`.
    """
    layers = keras3_private.all_layers(model)
    with_lora = [layer for layer in layers if getattr(layer, "lora_enabled", False)]
    if not with_lora:
        return None
    try:
        configuration = describe_keras3(model)
        with _without_lora(with_lora):
            layout = lay_out_keras3(model, weights)
    except Exception:  # The model's other files say what is wrong with it.
        return None
    placed = {id(variable) for variable in layout.variables.values()}
    names = layout.variables | name_variables("weights", [one for one in weights if id(one) not in placed])
    frozen = _frozen(layers)
    adapters = [_adapter(layer, layout, names) for layer in with_lora]
    known = [adapter for adapter in adapters if adapter is not None]
    if len(known) < len(adapters) or not any(id(variable) in frozen for variable in names.values()):
        return None
    return LoRAFiles(configuration, layout, names, frozen, known, synchronize)


@contextlib.contextmanager
def _without_lora(layers: Iterable[Any]) -> Iterator[None]:
    """Let layers write their kernels as they are."""
    for layer in layers:
        layer.lora_enabled = False
    try:
        yield
    finally:
        for layer in layers:
            layer.lora_enabled = True


def _frozen(layers: Iterable[Any]) -> set[int]:
    """The identities of the variables that no training changes.

    The statistics of a frozen layer are not among them, nor other states that a layer keeps: only its class knows when
    these change.
    """
    found = set()
    for layer in layers:
        trained = keras3_private.own_trained_variables(layer)
        mine = trained if layer.quantization_mode is None else keras3_private.own_variables(layer)
        found |= {id(variable) for variable in mine if not variable.trainable}
    return found


def _adapter(layer: Any, layout: Layout, names: Variables) -> Adapter | None:
    """LoRA on one layer; None if it is not as Keras does it."""
    name_of = {id(variable): name for name, variable in names.items()}
    kind = "kernel" if hasattr(layer, "lora_kernel_a") else "embeddings"
    a: Any = getattr(layer, f"lora_{kind}_a", None)
    b: Any = getattr(layer, f"lora_{kind}_b", None)
    if id(a) not in name_of or id(b) not in name_of:
        return None
    shape = (*a.shape[:-1], b.shape[-1])
    own = keras3_private.own_variables(layer)
    places = [name_of[id(variable)] for variable in own if name_of.get(id(variable)) in layout.groups]
    kernels = [place for place in places if tuple(layout.variables[place].shape) == shape]
    if not places or layout.groups[places[0]] in layout.writers or (layer.quantization_mode is None and not kernels):
        return None
    return Adapter(
        layer=layout.groups[places[0]],
        rank=int(layer.lora_rank),
        alpha=float(layer.lora_alpha),
        kernel=kernels[0] if layer.quantization_mode is None else None,
        a=name_of[id(a)],
        b=name_of[id(b)],
    )
