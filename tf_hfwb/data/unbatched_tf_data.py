"""A ``tf.data.Dataset`` of single samples, such as the former ``TFTrainer`` of transformers took, as arrays.

That one shuffled with a buffer of all samples, so that holding them in memory asks for nothing new. As arrays they are
shuffled and resumed as any other arrays are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tf_hfwb.data.tf_data import Length, is_tf_data, length_of
from tf_hfwb.errors import DataError
from tf_hfwb.keras_compat import is_of_transformers


def as_batches_or_samples(model: Any, data: Any) -> Any:
    """The samples of a ``tf.data.Dataset`` that was not batched, as arrays; any other data as it is.

    Args:
        model: Its inputs tell how many axes a batch has.
        data: The data.

    Raises:
        DataError: It does not tell how many samples it has, or they differ in their shapes.
    """
    if not is_tf_data(data) or not _is_unbatched(model, data.element_spec):
        return data
    if length_of(data) is not Length.KNOWN:
        raise DataError(
            "The tf.data.Dataset yields single samples and does not tell how many. Expected batches, or a known number "
            "of samples. Call dataset.batch(...), or dataset.apply(tf.data.experimental.assert_cardinality(n))."
        )
    number = int(data.cardinality())
    if number == 0:
        raise DataError("The tf.data.Dataset is empty. Expected at least one sample. Check its files and filters.")
    return _read(data, number)


def _is_unbatched(model: Any, element: Any) -> bool:
    """Whether each part has one axis less than in a batch; where the model does not tell, whether a part has none."""
    import tensorflow as tf

    inputs = element[0] if isinstance(element, tuple) else element
    ranks = _ranks_of_inputs(model)
    if isinstance(inputs, Mapping) and ranks:
        found = {spec.shape.rank - ranks[name] for name, spec in inputs.items() if name in ranks and _has_rank(spec)}
        if found:
            return found == {-1}
    if not isinstance(inputs, (Mapping, tuple)) and len(ranks) == 1 and _has_rank(inputs):
        return bool(inputs.shape.rank == next(iter(ranks.values())) - 1)
    return any(_has_rank(spec) and spec.shape.rank == 0 for spec in tf.nest.flatten(inputs))


def _has_rank(spec: Any) -> bool:
    return getattr(getattr(spec, "shape", None), "rank", None) is not None


def _ranks_of_inputs(model: Any) -> dict[str, int]:
    """The number of axes of a batch of each input, as far as the model tells."""
    if is_of_transformers(model):
        try:
            signature = model.input_signature
        except NotImplementedError:  # Of some models for sounds.
            return {}
        return {name: spec.shape.rank for name, spec in signature.items()}
    return {tensor.name: len(tensor.shape) for tensor in getattr(model, "inputs", None) or ()}


def _read(data: Any, number: int) -> Any:
    import tensorflow as tf

    try:
        (samples,) = data.batch(number).take(1)
    except tf.errors.InvalidArgumentError as error:
        raise DataError(
            f"The {number} samples of a tf.data.Dataset cannot be joined ({str(error).splitlines()[0]}). Expected the "
            f"same shape of each. Pad them, or call dataset.padded_batch(...)."
        ) from error
    return samples if isinstance(samples, tuple) else (samples,)
