"""transformers' collators that only pad: the same batches, without Python in the loop and without PyTorch."""

from __future__ import annotations

import datasets
import numpy as np
import pytest
import tensorflow as tf
import tiny
import transformers

from tf_hfwb.data import evaluation_batches, training_batches
from tf_hfwb.errors import DataError

PADDING = transformers.DataCollatorWithPadding
TAGS = transformers.DataCollatorForTokenClassification
SEQUENCES = transformers.DataCollatorForSeq2Seq
OPTIONS = [
    {},
    {"pad_to_multiple_of": 8},
    {"padding": "max_length", "max_length": 20},
    {"padding": "max_length", "max_length": 18, "pad_to_multiple_of": 8},
    {"padding": "longest", "max_length": 3},
]


def is_in_python(batches) -> bool:
    """Whether a step of the pipeline calls Python."""
    graph = batches.dataset._inputs()[0]._inputs()[0]
    return "PyFunc" in {node.type for node in graph._map_func.function.graph.get_operations()}


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize(
    ("kind", "make"), [(PADDING, tiny.classified), (TAGS, tiny.tagged), (SEQUENCES, tiny.answered)]
)
@pytest.mark.parametrize("side", ["left", "right"])
def test_the_batches_are_those_of_the_collator(kind, make, side, options):
    data = make().remove_columns("text")
    collators = [kind(tiny.tokenizer(padding_side=side), return_tensors=tensors, **options) for tensors in ("np", "pt")]
    in_python = evaluation_batches(data, 4, data_collator=lambda rows: collators[0](rows))
    in_graph = evaluation_batches(data, 4, data_collator=collators[1])
    assert (is_in_python(in_python), is_in_python(in_graph)) == (True, False)
    for expected, received in zip(in_python.dataset, in_graph.dataset, strict=True):
        tf.nest.assert_same_structure(expected, received)
        for one, other in zip(tf.nest.flatten(expected), tf.nest.flatten(received), strict=True):
            np.testing.assert_array_equal(one, other)
    if options.get("padding") == "max_length":
        whole = training_batches(data, 4, data_collator=collators[1], drop_remainder=True).dataset.element_spec
        assert whole[0]["input_ids"].shape == (4, 20 if len(options) == 2 else 24), "One shape, for XLA."


@pytest.mark.parametrize("default", [transformers.DefaultDataCollator(), transformers.default_data_collator])
def test_the_default_collator_only_stacks(default):
    pictures = evaluation_batches(tiny.pictures(), 4, data_collator=default)
    assert not is_in_python(pictures)
    assert next(iter(pictures.dataset))[0]["pixel_values"].shape == (4, 3, 8, 8)
    with pytest.raises(DataError, match="no pad value is known"):
        evaluation_batches(tiny.classified(), 4, data_collator=default, processing_class=tiny.tokenizer())


class Own(PADDING):
    """It does what it likes."""


COLLATORS = {
    "a subclass": lambda tokenizer: Own(tokenizer, return_tensors="np"),
    "another pad value": lambda tokenizer: TAGS(tokenizer, label_pad_token_id=-1, return_tensors="np"),
    "a model": lambda tokenizer: SEQUENCES(tokenizer, model=tiny.t5(), return_tensors="np"),
}


@pytest.mark.parametrize("name", COLLATORS)
def test_others_are_called(name):
    data = tiny.classified() if name == "a subclass" else tiny.answered() if name == "a model" else tiny.tagged()
    batches = evaluation_batches(data, 4, data_collator=COLLATORS[name](tiny.tokenizer()))
    assert is_in_python(batches)
    assert len(list(batches.dataset)) == 3


def test_rows_of_a_transform_are_left_to_the_collator():
    data = datasets.Dataset.from_dict({"x": range(4), "label": range(4)}).with_transform(lambda rows: rows)
    assert is_in_python(evaluation_batches(data, 4, data_collator=transformers.DefaultDataCollator("np")))
