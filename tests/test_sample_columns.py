"""Raw data sets as they come from the hub: which columns are taken, and what is made of their labels."""

from __future__ import annotations

import logging

import datasets
import numpy as np
import pytest
import tiny
import tokenizers
import transformers
from datasets import ClassLabel, Features, Sequence, Value

from tf_hfwb.errors import DataError, SettingError
from tf_hfwb.evaluation.tables.label_values import as_sets
from tf_hfwb.evaluation.tables.predicted_samples import PredictedSamples
from tf_hfwb.evaluation.tables.raw_columns import text_columns

TEXT, CLASSES = Value("string"), ClassLabel(names=["bad", "fair", "good"])


def shown(model, data, **options) -> list[dict]:
    samples = PredictedSamples(model, data, **{"processing_class": tiny.tokenizer(), **options})
    return samples.rows(samples.predict())


def column(rows, name) -> list:
    return [row[name] for row in rows]


def raw(features=None, **columns) -> datasets.Dataset:
    return datasets.Dataset.from_dict(columns, None if features is None else Features(features))


def pair_tokenizer():
    tokenizer = tiny.tokenizer()
    tokenizer.backend_tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer


# -- columns ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "columns", "expected"),
    [
        ("rewriting", ["document", "summary", "id"], ["document", "summary"]),
        ("rewriting", ["summary", "document"], ["document", "summary"]),
        ("rewriting", ["id", "highlights", "article"], ["article", "highlights"]),
        ("rewriting", ["target", "source"], ["source", "target"]),
        ("rewriting", ["dialogue", "headline"], ["dialogue", "headline"]),
        ("rewriting", ["body", "summary"], ["body", "summary"]),
        ("rewriting", ["en"], ["en"]),
        ("rewriting", ["en", "de"], None),
        ("rewriting", ["summary"], None),
        ("classification", ["id", "review", "label"], ["review"]),
        ("classification", ["hypothesis", "premise", "idx"], ["premise", "hypothesis"]),
        ("classification", ["title1", "title2"], ["title1", "title2"]),
        ("classification", ["title", "text"], ["text"]),
        ("classification", ["title", "content"], None),
        ("masked", ["id", "body"], ["body"]),
        ("masked", ["title", "body"], None),
    ],
)
def test_the_columns_of_text(kind, columns, expected):
    data = raw(**{name: ["a cat"] for name in columns})
    if expected is not None:
        assert text_columns(data, kind, "TheModel") == expected
        return
    with pytest.raises(DataError, match=r"input of TheModel is cannot be told\. Expected .*Pass input_columns="):
        text_columns(data, kind, "TheModel")


def test_the_names_are_those_of_the_label():
    topics = {"text": TEXT, "topic": ClassLabel(names=["sport", "politics", "arts"]), "label": CLASSES}
    (row,) = shown(tiny.bert(), raw(topics, text=["a cat"], topic=[0], label=[1]))
    assert row["label"] == "fair"
    parts, names = ClassLabel(names=["NN", "VB", "DT", "JJ"]), ClassLabel(names=["O", "B-PER", "I-PER", "B-LOC"])
    features = {"id": TEXT, "tokens": Sequence(TEXT), "pos_tags": Sequence(parts), "ner_tags": Sequence(names)}
    words = raw(features, id=["0"], tokens=[["dog", "sees", "cat"]], pos_tags=[[0, 1, 0]], ner_tags=[[1, 0, 3]])
    (row,) = shown(tiny.distilbert(), words)
    assert row["label"] == "dog [B-PER] sees cat [B-LOC]"
    # Tags with another number of names than the model has classes are not its own.
    features["ner_tags"] = Sequence(ClassLabel(names=["O", "B", "I", "L", "M"]))
    (row,) = shown(tiny.distilbert(), words.cast(Features(features)))
    assert row["label"] == "dog [NN] sees [VB] cat [NN]"


def test_a_label_by_another_name(caplog):
    (row,) = shown(tiny.bert(), raw({"text": TEXT, "fine_label": CLASSES}, text=["a cat"], fine_label=[2]))
    assert row["label"] == "good"
    with caplog.at_level(logging.WARNING, logger="tf_hfwb"):
        assert shown(tiny.bert(), raw(text=["a cat"], idx=[2]))[0]["label"] is None
        assert "The table shows no labels" not in caplog.text
        assert shown(tiny.bert(), raw(text=["a cat"], sentiment=[2]))[0]["label"] is None
    assert "one of labels, label, label_ids" in caplog.text
    assert "dataset.rename_column('sentiment', 'label')" in caplog.text


def test_next_sentences_have_their_label():
    model = tiny.of_bert(transformers.TFBertForNextSentencePrediction)
    data = raw(sentence1=["a cat"], sentence2=["the dog"], label=[1])
    (row,) = shown(model, data, processing_class=pair_tokenizer())
    assert row["label"] == "LABEL_1"
    assert np.isfinite(row["loss"])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (datasets.DatasetDict(test=raw(text=["a"], label=[0])), r"A DatasetDict with the splits \['test'\]"),
        (raw(text=[], label=[]), r"The dataset has no rows \(columns \['text', 'label'\]\)"),
        ((np.array(["a cat", "dog"]), np.array([0, 1])), "The data holds texts, and TFBert.*numbers of tokens"),
    ],
)
def test_data_that_is_none(data, message):
    with pytest.raises(DataError, match=message):
        shown(tiny.bert(), data)


def test_batches_of_texts_are_no_tokens():
    import tensorflow as tf

    with pytest.raises(DataError, match="The data holds texts"):
        shown(tiny.bert(), tf.data.Dataset.from_tensor_slices((["a cat", "dog"], [0, 1])).batch(2))


# -- labels -------------------------------------------------------------------------------------------------------


def test_labels_that_are_missing(caplog):
    texts = ["a cat", "dog"]
    for labels in ([1, None], [-1, 1]):
        rows = shown(tiny.bert(), raw({"text": TEXT, "label": CLASSES}, text=texts, label=labels))
        assert sorted(map(str, column(rows, "label"))) == ["None", "fair"]
        assert [row["loss"] is None for row in rows] == [row["label"] is None for row in rows]
    with caplog.at_level(logging.WARNING, logger="tf_hfwb"):
        rows = shown(tiny.bert(), raw(sentence=texts, label=[-1, -1]))
    assert column(rows, "label") == column(rows, "correct") == [None, None]
    assert all(row["prediction"] for row in rows)
    assert "those in the column 'label' are all missing" in caplog.text
    assert column(shown(tiny.bert(), tiny.texts(2, label=[-1, -1])), "label") == [None, None]
    rows = shown(tiny.bert(num_labels=1), raw(text=texts, label=[None, -1.0]))
    assert column(rows, "label") == [None, -1.0]


def test_lists_of_classes():
    features = {"text": TEXT, "labels": Sequence(CLASSES)}
    model = tiny.bert(problem_type="multi_label_classification")
    texts = ["a cat", "dog", "birds"]
    rows = shown(model, raw(features, text=texts, labels=[[2], [0, 1], []]))
    assert column(rows, "label") == ["good", "bad, fair", ""]
    # Also where as many as there are classes look like a value for each.
    rows = shown(model, raw(features, text=texts, labels=[[0, 1, 0], [1, 0, 1], None]))
    assert column(rows, "label") == ["bad, fair", "bad, fair", None]
    tokenised = tiny.texts(3, labels=[[2], [0, 1], []])
    assert column(shown(model, tokenised), "label") == ["LABEL_2", "LABEL_0, LABEL_1", ""]


def test_lists_of_numbers_are_no_classes():
    rows = shown(tiny.bert(problem_type="regression"), tiny.texts(2, labels=[[0, 1, 4], [1, 0, 1]]))
    assert column(rows, "label") == ["0 1 4", "1 0 1"]


def test_lists_of_what_is_no_class():
    with pytest.raises(DataError, match=r"A list of labels has 3\. Expected the numbers of classes, from 0 to 2"):
        as_sets([[3]], 3, are_ids=False)


def test_one_hot_labels_are_classes_where_the_loss_says_so():
    import tf_keras

    model = tiny.bert()
    data = tiny.texts(3, labels=np.eye(3)[[0, 2, 1]].tolist())
    model.compile("sgd", tf_keras.losses.CategoricalCrossentropy(from_logits=True))
    rows = shown(model, data, class_names=["a", "b", "c"])
    assert column(rows, "label") == ["a", "c", "b"]
    assert all(row["prediction"] in "abc" for row in rows)
    model.compile("sgd", tf_keras.losses.BinaryCrossentropy(from_logits=True))
    assert all(row["probability"] < 1 / 3 for row in shown(model, data))  # Of a set of three.


def test_names_by_number_and_too_few():
    rows = shown(tiny.bert(), tiny.classified(3), class_names={2: "c", 0: "a", 1: "b"})
    assert column(rows, "label") == ["a", "b", "c"]
    for model, data in ((tiny.bert(), tiny.classified(2)), (tiny.distilbert(), tiny.tagged(2))):
        with pytest.raises(SettingError, match=r"class_names={0: 'a', 1: 'b'}.*a name for each of the [34] classes"):
            shown(model, data, class_names=["a", "b"])


# -- words, questions, gaps, sources ------------------------------------------------------------------------------


def test_words_are_shown_as_they_were():
    words = [["Zoë", "sees", "猫", "🐱"], ["the"] * 60]
    data = raw(tokens=words, ner_tags=[[1, 0, -100, 0], [0] * 60])
    first, second = shown(tiny.distilbert(), data, class_names=["O", "B", "I", "L"])
    assert (first["text"], first["label"]) == ("Zoë sees 猫 🐱", "Zoë [B] sees 猫 🐱")
    assert second["text"] == second["label"] == " ".join(["the"] * 30) + " …"
    assert second["prediction"].endswith(" …")
    (row,) = shown(tiny.distilbert(), raw(tokens=[["birds", "sees"]]))
    assert [word for word in row["prediction"].split() if word[0] != "["] == ["birds", "sees"]
    assert row["label"] is None


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"tokens": [["the", "cat"]], "ner_tags": [[0]]}, r"'ner_tags' has \[0\] for the 2 words.*a tag for each word"),
        ({"tokens": ["the cat"]}, r"The column 'tokens' has 'the cat'\. Expected a list of words"),
    ],
)
def test_words_that_do_not_fit(columns, message):
    with pytest.raises(DataError, match=message):
        shown(tiny.distilbert(), raw(**columns))


def test_questions_without_answers_and_too_long_ones():
    model, processing = tiny.of_bert(transformers.TFBertForQuestionAnswering), pair_tokenizer()
    data = raw(
        question=["a cat", "a", "a cat " * 40],
        context=["the big dog", "the cat", "the dog"],
        answers=[{"text": ["dog"], "answer_start": [8]}, None, {"text": ["dog"], "answer_start": [4]}],
    )
    rows = shown(model, data, processing_class=processing)
    assert column(rows, "label") == ["dog", None, "dog"]
    assert column(rows, "context") == ["the big dog", "the cat", "the dog"]
    assert rows[2]["question"].endswith(" …")
    assert rows[1]["prediction"] in "the cat"
    other = data.rename_columns({"question": "query", "context": "passage"})
    rows = shown(model, other, processing_class=processing, input_columns=["query", "passage"])
    assert column(rows, "context") == ["the big dog", "the cat", "the dog"]
    for columns in (None, ["query"], ["query", "text"]):
        with pytest.raises(DataError, match=r"Expected the columns of the question and of the context"):
            shown(model, other, processing_class=processing, input_columns=columns)


def test_gaps_are_made_where_a_collator_would_make_them():
    model = tiny.of_bert(transformers.TFBertForMaskedLM)
    rows = shown(model, tiny.texts(3), batch_size=2)
    assert rows == shown(model, tiny.texts(3), batch_size=2)
    for row, text in zip(rows, tiny.TEXTS, strict=False):
        assert row["text"].replace("[MASK]", row["label"]).replace(" ##s", "s") == text
        assert np.isfinite(row["loss"])
    with pytest.raises(DataError, match=r"Expected a tokenizer with a mask token.*processing_class=None"):
        shown(model, tiny.texts(1), processing_class=None)


@pytest.mark.nightly
def test_sources_without_references():
    model, options = tiny.t5(), {"generation": {"max_new_tokens": 2}}
    data = raw(document=["the dog runs"], summary=["a cat"], id=["1"])
    rows = shown(model, data, input_columns=["document"], **options)
    assert rows == [
        {"example": 0, "source": "the dog runs", "label": None, "prediction": "not not", "loss": None},
    ]
    tokenised = raw(**dict(tiny.tokenizer()(["the dog runs"], return_token_type_ids=False)))
    assert shown(model, tokenised, **options) == rows
