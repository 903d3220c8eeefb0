"""Generated tokens against an eager generate, how few functions are compiled for them, and what is refused."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import tensorflow as tf
import tiny
from helpers import classifier, nightly

from tf_hfwb import Generator
from tf_hfwb.errors import DataError, SettingError
from tf_hfwb.evaluation.generation_lengths import LengthPlan
from tf_hfwb.evaluation.generation_options import generation_config_of

LENGTHS = (3, 7, 5, 8, 2, 4)


def shaken(model, seed: int = 0):
    """With weights under which the next token depends on all that went before."""
    random = np.random.default_rng(seed)
    for variable in model.trainable_variables:
        variable.assign(tf.constant(random.normal(size=variable.shape) * 0.5, variable.dtype))
    return model


@pytest.fixture(scope="module")
def gpt2():
    return shaken(tiny.gpt2())


@pytest.fixture(scope="module")
def t5():
    return shaken(tiny.t5())


def prompts(lengths=LENGTHS) -> list[list[int]]:
    random = np.random.default_rng(1)
    return [random.integers(5, tiny.VOCAB_SIZE, size=length).tolist() for length in lengths]


def padded(rows, *, left: bool = False) -> dict[str, np.ndarray]:
    width = max(map(len, rows))
    pads = [[0] * (width - len(row)) for row in rows]
    ids = [[*pad, *row] if left else [*row, *pad] for row, pad in zip(rows, pads, strict=True)]
    ones = [[1] * len(row) for row in rows]
    mask = [[*pad, *one] if left else [*one, *pad] for one, pad in zip(ones, pads, strict=True)]
    return {"input_ids": np.array(ids), "attention_mask": np.array(mask)}


def new_tokens(model, rows, **options) -> np.ndarray:
    """Of a decoder-only model, each prompt for itself and without any padding."""
    results = [model.generate(tf.constant([row]), pad_token_id=0, **options).numpy()[0, len(row) :] for row in rows]
    return np.array(results)


@pytest.mark.nightly
def test_decoder_only_models_continue_prompts_as_an_eager_generate_does(gpt2):
    generator = Generator(gpt2, max_new_tokens=6)
    rows = prompts()
    expected = new_tokens(gpt2, rows, max_new_tokens=6)
    assert len({tuple(tokens) for tokens in expected}) > 3
    for left in (False, True):
        inputs = padded(rows[:4], left=left)
        np.testing.assert_array_equal(generator(inputs), expected[:4])
        # The last batch is smaller and narrower; labels and unknown columns do not matter.
        last = {**padded(rows[4:], left=left), "labels": np.zeros((2, 4)), "other": np.zeros(2)}
        np.testing.assert_array_equal(generator(last), expected[4:])
    as_tensors = {name: tf.constant(value) for name, value in padded(rows[:3]).items()}
    np.testing.assert_array_equal(generator(as_tensors), expected[:3])
    assert len(generator._functions) == 1

    weights = gpt2.get_weights()
    shaken(gpt2, seed=2)
    expected, changed = new_tokens(gpt2, rows, max_new_tokens=6), expected
    assert (expected != changed).any()
    np.testing.assert_array_equal(generator(padded(rows[:4])), expected[:4])
    assert len(generator._functions) == 1
    gpt2.set_weights(weights)


@pytest.mark.nightly
@pytest.mark.parametrize("beams", [nightly(1), 2])
def test_encoder_decoders_answer_as_an_eager_generate_does(t5, beams):
    rows = prompts()
    options = {"max_length": 7, "num_beams": beams}
    # A token that ends some of the sequences early.
    options["eos_token_id"] = int(t5.generate(tf.constant(rows[:1]), **options)[0, 3])
    generator = Generator(t5, **options)
    lengths = set()
    for some in (rows[:4], rows[4:]):
        inputs = padded(some)
        expected = t5.generate(**{name: tf.constant(value) for name, value in inputs.items()}, **options).numpy()
        tokens = generator({**inputs, "decoder_input_ids": np.zeros((len(some), 3))})
        assert tokens.shape == (len(some), 7)
        np.testing.assert_array_equal(tokens[:, : expected.shape[1]], expected)
        assert (tokens[:, expected.shape[1] :] == 0).all()
        lengths |= {np.count_nonzero(row) for row in tokens}
        # A mask is made where there is none.
        np.testing.assert_array_equal(generator({"input_ids": inputs["input_ids"]}), tokens)
    assert len(lengths) > 1
    assert len(generator._functions) == 1


@pytest.mark.parametrize("name", ["gpt2", nightly("t5")])
def test_sampling_depends_on_seed_and_prompts_only(name, request):
    longest = {"t5": {"max_length": 7}, "gpt2": {"max_new_tokens": 6}}[name]
    generator = Generator(request.getfixturevalue(name), **longest, do_sample=True, top_k=10)
    inputs = padded(prompts()[:4])
    first = generator(inputs)
    tf.random.set_seed(5)
    np.testing.assert_array_equal(generator(inputs), first)
    generator._seed = 1
    assert (generator(inputs) != first).any()


def test_what_cannot_be_compiled_runs_eagerly_with_one_warning(gpt2, caplog):
    generator = Generator(gpt2, max_new_tokens=6, no_repeat_ngram_size=2)
    rows = prompts()[:3]
    with caplog.at_level(logging.WARNING, "tf_hfwb"):
        for _ in range(2):
            tokens = generator(padded(rows))
    np.testing.assert_array_equal(tokens, new_tokens(gpt2, rows, max_new_tokens=6, no_repeat_ngram_size=2))
    (warning,) = [record.getMessage() for record in caplog.records if record.name == "tf_hfwb"]
    assert "TFGPT2LMHeadModel cannot be compiled by XLA" in warning
    assert "only implemented for eager execution" in warning


def length_plan(model, *, max_length=None, max_new_tokens=None, **options):
    return LengthPlan(model, generation_config_of(model, options), max_length, max_new_tokens)


@pytest.mark.parametrize(
    ("options", "longest", "lengths"),
    [
        # The width of the prompts, the whole, and what is handed out. GPT-2 has 32 positions here.
        ({}, 3, (8, 28, 20)),
        ({}, 12, (12, 32, 20)),
        ({}, 13, (13, 32, 19)),
        ({}, 31, (31, 32, 1)),
        ({"max_new_tokens": 4}, 17, (28, 32, 4)),
        ({"max_length": 20}, 9, (16, 32, 11)),
        ({"max_length": 20, "num_beams": 2}, 9, (16, 27, 11)),
        ({"max_length": 8}, 9, (16, 24, 1)),
    ],
)
def test_lengths_of_decoder_only_models(gpt2, options, longest, lengths):
    assert length_plan(gpt2, **options).rounded(longest) == lengths


def test_widths_are_few(gpt2):
    plan = length_plan(gpt2, max_new_tokens=6)
    assert {plan.rounded(longest).width for longest in range(1, 27)} == {8, 16, 26}


def test_lengths_of_encoder_decoders(t5):
    assert length_plan(t5).rounded(50) == (64, 20, 20)
    assert length_plan(t5, max_new_tokens=4).exact(50) == (50, 5, 5)


def test_a_prompt_that_leaves_no_room(gpt2):
    with pytest.raises(DataError, match=r"A prompt of 32 tokens .*32 positions"):
        Generator(gpt2)(padded(prompts([32])))
    with pytest.raises(DataError, match="hold no 'input_ids'"):
        Generator(gpt2)({"words": np.zeros((1, 2))})


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"max_length": 0}, "max_length=0"),
        ({"num_beams": 1.5}, r"num_beams=1\.5"),
        ({"max_length": 5, "max_new_tokens": 5}, "max_length=5 .*None, because max_new_tokens=5"),
        ({"max_lenght": 5}, "max_lenght=5 .*GenerationConfig"),
        ({"num_return_sequences": 2, "num_beams": 2}, "num_return_sequences=2"),
        ({"num_beams": 2, "do_sample": True}, "num_beams=2 .*do_sample"),
    ],
)
def test_options_that_are_refused(t5, options, match):
    with pytest.raises(SettingError, match=match):
        Generator(t5, **options)


def test_a_decoder_without_a_start(t5):
    config = t5.generation_config
    start, config.decoder_start_token_id = config.decoder_start_token_id, None
    with pytest.raises(SettingError, match="decoder_start_token_id=None"):
        Generator(t5)
    config.decoder_start_token_id = start


@pytest.mark.parametrize("make", [tiny.bert, lambda: classifier("tf_keras"), lambda: classifier("keras")])
def test_models_that_cannot_generate(make):
    with pytest.raises(SettingError, match="Expected a TF model of transformers that can generate"):
        Generator(make())
