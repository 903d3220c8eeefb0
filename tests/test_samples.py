"""Samples as a person reads them: each task on a small model, from raw and from tokenised data."""

from __future__ import annotations

import datasets
import numpy as np
import pytest
import tiny
import tokenizers
import transformers

from tf_hfwb.errors import DataError
from tf_hfwb.evaluation.tables.predicted_samples import PredictedSamples

STRANGE = [
    "the cat sees a dog",
    "",
    "the dog \U0001f469‍\U0001f467 sees [SEP] <b>a cat</b>",
    "die Katze — 猫は犬を見る — кошка — القط",
    "cat",
    "the dog and the cat and " * 20,
]


def byte_level() -> transformers.PreTrainedTokenizerFast:
    """GPT-2's kind of tokenizer, trained on a few words; it can spell everything."""
    backend = tokenizers.Tokenizer(tokenizers.models.BPE())
    backend.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=300, initial_alphabet=alphabet, special_tokens=["<|endoftext|>"], show_progress=False
    )
    backend.train_from_iterator(tiny.TEXTS, trainer)
    backend.post_processor = tokenizers.processors.ByteLevel(trim_offsets=False)
    end = "<|endoftext|>"
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=end,
        eos_token=end,
        pad_token=end,
        model_max_length=64,
        padding_side="left",
        model_input_names=["input_ids", "attention_mask"],
    )


def predicted(model, data, **options) -> tuple[PredictedSamples, list[dict]]:
    samples = PredictedSamples(model, data, **options)
    return samples, samples.rows(samples.predict())


def logits_of(model, **inputs) -> np.ndarray:
    return model(**{name: np.array([value]) for name, value in inputs.items()}, training=False).logits.numpy()[0]


def softmax(logits) -> np.ndarray:
    powers = np.exp(logits.astype("float64") - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def test_raw_texts_are_shown_as_they_were():
    model, tokenizer = tiny.bert(), tiny.tokenizer()
    labels = datasets.ClassLabel(names=["bad", "fair", "good"])
    features = datasets.Features({"text": datasets.Value("string"), "label": labels})
    raw = datasets.Dataset.from_dict({"text": STRANGE, "label": [0, 1, 2, 0, 1, 2]}, features)
    _, rows = predicted(model, raw, processing_class=tokenizer, batch_size=4)
    assert [row["text"] for row in rows[:5]] == STRANGE[:5]
    # 32 tokens, two of which are the special ones.
    assert rows[5]["text"] == " ".join(STRANGE[5].split()[:30]) + " …"
    assert [row["label"] for row in rows] == ["bad", "fair", "good", "bad", "fair", "good"]
    for row, text, label in zip(rows, STRANGE, [0, 1, 2, 0, 1, 2], strict=True):
        encoded = tokenizer(text, truncation=True, return_token_type_ids=False)
        probabilities = softmax(logits_of(model, **encoded))
        assert row["prediction"] == ["bad", "fair", "good"][probabilities.argmax()]
        assert row["probability"] == pytest.approx(probabilities.max(), rel=1e-5)
        assert row["loss"] == pytest.approx(-np.log(probabilities[label]), rel=1e-4)
        assert row["correct"] == (probabilities.argmax() == label)


def test_pairs_and_labels_that_are_words():
    model = tiny.bert(id2label={0: "no", 1: "yes", 2: "maybe"}, label2id={"no": 0, "yes": 1, "maybe": 2})
    raw = datasets.Dataset.from_dict(
        {"premise": ["the cat runs", "a dog"], "hypothesis": ["a cat", ""], "idx": [7, 8], "label": ["maybe", "no"]}
    )
    _, rows = predicted(model, raw, processing_class=tiny.tokenizer())
    assert [(row["premise"], row["hypothesis"], row["label"]) for row in rows] == [
        ("the cat runs", "a cat", "maybe"),
        ("a dog", "", "no"),
    ]
    with pytest.raises(DataError, match=r"'label' has 'perhaps'.*one of 'no', 'yes', 'maybe'"):
        predicted(
            model, datasets.Dataset.from_dict({"text": ["a"], "label": ["perhaps"]}), processing_class=tiny.tokenizer()
        )


def test_tokenised_pairs_are_taken_apart():
    tokenizer = tiny.tokenizer()
    ids = [[2, *tokenizer("the cat")["input_ids"][1:-1], 3, *tokenizer("a dog runs")["input_ids"][1:-1], 3]]
    _, rows = predicted(tiny.bert(), datasets.Dataset.from_dict({"input_ids": ids}), processing_class=tokenizer)
    assert (rows[0]["text"], rows[0]["text_pair"]) == ("the cat", "a dog runs")
    assert rows[0]["label"] is rows[0]["loss"] is rows[0]["correct"] is None


def test_single_texts_among_pairs_have_the_same_columns():
    pair = pair_tokenizer()
    encoded = [pair("the cat"), pair("a dog", "runs"), pair("not a cat")]
    data = datasets.Dataset.from_dict({name: [dict(one)[name] for one in encoded] for name in dict(encoded[0])})
    _, rows = predicted(tiny.bert(type_vocab_size=2), data, processing_class=pair, batch_size=1)
    assert [(row["text"], row["text_pair"]) for row in rows] == [("the cat", ""), ("a dog", "runs"), ("not a cat", "")]
    assert len({tuple(row) for row in rows}) == 1


def test_a_separator_in_the_text_makes_no_pair_of_it():
    encoded = dict(tiny.tokenizer()(["the cat [SEP] a dog"]))
    _, rows = predicted(tiny.bert(), datasets.Dataset.from_dict(encoded), processing_class=tiny.tokenizer())
    assert rows[0]["text"] == "the cat a dog"
    assert "text_pair" not in rows[0]


def test_tokenised_texts_lose_padding_and_special_tokens():
    padded = tiny.tokenizer()(STRANGE[:2], padding="max_length", max_length=12, return_token_type_ids=False)
    data = datasets.Dataset.from_dict({**padded, "labels": [1, 2]})
    _, rows = predicted(tiny.bert(), data, processing_class=tiny.tokenizer())
    assert [row["text"] for row in rows] == ["the cat sees a dog", ""]


def test_any_number_of_classes_and_numbers():
    data = tiny.texts(3, labels=[[1.0, 0.0, 1.0], [0.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    names = ["red", "big", "round"]
    model = tiny.bert(problem_type="multi_label_classification")
    _, rows = predicted(model, data, processing_class=tiny.tokenizer(), class_names=names)
    assert [row["label"] for row in rows] == ["red, round", "", "big"]
    each = 1 / (1 + np.exp(-logits_of(model, input_ids=data[0]["input_ids"]).astype("float64")))
    assert rows[0]["prediction"] == ", ".join(name for name, one in zip(names, each, strict=True) if one > 0.5)
    assert rows[0]["probability"] == pytest.approx(np.prod(np.maximum(each, 1 - each)), rel=1e-4)

    data = tiny.texts(3, labels=[0.5, 1.5, -2.0])
    model = tiny.bert(num_labels=1)
    _, rows = predicted(model, data, processing_class=tiny.tokenizer())
    value = float(logits_of(model, input_ids=data[2]["input_ids"])[0])
    assert rows[2] == {
        "example": 2,
        "text": "bird ##s",
        "label": -2.0,
        "prediction": pytest.approx(value, rel=1e-4),
        "loss": pytest.approx((value + 2) ** 2, rel=1e-4),
    }


def test_words_with_their_tags():
    model = tiny.distilbert()
    model.config.id2label = {0: "O", 1: "B-PER", 2: "I-PER", 3: "B-LOC"}
    raw = datasets.Dataset.from_dict(
        {"tokens": [["birds", "sees", "the", "cat"], ["dog"]], "ner_tags": [[1, 0, 0, 3], [0]]}
    )
    tokenizer = tiny.tokenizer()
    _, rows = predicted(model, raw, processing_class=tokenizer)
    assert [row["text"] for row in rows] == ["birds sees the cat", "dog"]
    assert rows[0]["label"].replace(" ##s", "s") == "birds [B-PER] sees the cat [B-LOC]"
    ids = tokenizer(["birds", "sees", "the", "cat"], is_split_into_words=True)["input_ids"]
    probabilities = softmax(logits_of(model, input_ids=ids))
    heads = [1, 3, 5, 6] if len(ids) == 8 else [1, 3, 4, 5]
    tags = probabilities[heads].argmax(-1)
    expected = [
        word if model.config.id2label[tag] == "O" else f"{word} [{model.config.id2label[tag]}]"
        for word, tag in zip(["birds", "sees", "the", "cat"], tags, strict=True)
    ]
    assert rows[0]["prediction"].replace(" ##s", "s") == " ".join(expected)
    assert rows[0]["loss"] == pytest.approx(-np.log(probabilities[heads, [1, 0, 0, 3]]).mean(), rel=1e-4)
    assert rows[0]["correct"] == (tags.tolist() == [1, 0, 0, 3])


def question_answering():
    config = transformers.BertConfig(vocab_size=tiny.VOCAB_SIZE, max_position_embeddings=32, **tiny.TEXT)
    return tiny.seeded(transformers.TFBertForQuestionAnswering, config)


def pair_tokenizer():
    tokenizer = tiny.tokenizer()
    tokenizer.backend_tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return tokenizer


def test_answers_are_spans_of_the_context():
    contexts = ["the big dog sees the Cat!  and a bird", "a cat", "the dog " * 40]
    raw = datasets.Dataset.from_dict(
        {
            "question": ["a cat", "dog", "cat"],
            "context": contexts,
            "answers": [
                {"text": ["the Cat!"], "answer_start": [17]},
                {"text": [], "answer_start": []},
                {"text": ["dog"], "answer_start": [4]},
            ],
        }
    )
    model, tokenizer = question_answering(), pair_tokenizer()
    _, rows = predicted(model, raw, processing_class=tokenizer)
    assert [row["question"] for row in rows] == ["a cat", "dog", "cat"]
    assert [row["context"] for row in rows[:2]] == contexts[:2]
    assert rows[2]["context"].endswith(" …")
    assert [row["label"] for row in rows] == ["the Cat!", "", "dog"]
    assert all(row["prediction"] in context for row, context in zip(rows, contexts, strict=True))
    assert all(row["correct"] == (row["label"] == row["prediction"]) for row in rows)
    encoded = tokenizer("a cat", contexts[0])
    outputs = model({name: np.array([value]) for name, value in encoded.items()})
    start, end = (softmax(one.numpy()[0]) for one in (outputs.start_logits, outputs.end_logits))
    behind = encoded["token_type_ids"].index(1)
    best = max(
        (start[i] * end[j], i, j) for i in range(behind, len(start) - 1) for j in range(i, len(start) - 1) if j - i < 30
    )
    offsets = tokenizer("a cat", contexts[0], return_offsets_mapping=True)["offset_mapping"]
    if best[0] > start[0] * end[0]:
        assert rows[0]["prediction"] == contexts[0][offsets[best[1]][0] : offsets[best[2]][1]]
        assert rows[0]["probability"] == pytest.approx(best[0], rel=1e-4)


def test_gaps_are_filled():
    config = transformers.BertConfig(vocab_size=tiny.VOCAB_SIZE, max_position_embeddings=32, **tiny.TEXT)
    model, tokenizer = tiny.seeded(transformers.TFBertForMaskedLM, config), tiny.tokenizer()
    ids = tokenizer("the cat sees a dog")["input_ids"]
    labels = [-100] * len(ids)
    labels[2], ids[2] = ids[2], tokenizer.mask_token_id
    data = datasets.Dataset.from_dict({"input_ids": [ids], "labels": [labels]})
    _, (row,) = predicted(model, data, processing_class=tokenizer)
    probabilities = softmax(logits_of(model, input_ids=ids))[2]
    assert row["text"] == "the [MASK] sees a dog"
    assert row["label"] == "cat"
    assert row["prediction"] == tokenizer.decode([probabilities.argmax()], skip_special_tokens=True)
    assert row["loss"] == pytest.approx(-np.log(probabilities[labels[2]]), rel=1e-4)
    raw = datasets.Dataset.from_dict({"text": STRANGE})
    _, first = predicted(model, raw, processing_class=tokenizer)
    _, again = predicted(model, raw, processing_class=tokenizer)
    assert [row["text"] for row in first] == [row["text"] for row in again]
    assert all("[MASK]" in row["text"] for row, text in zip(first, STRANGE, strict=True) if text)
    assert first[1]["label"] is None


@pytest.mark.nightly
@pytest.mark.slow
def test_texts_are_continued():
    tokenizer = byte_level()
    config = transformers.GPT2Config(
        vocab_size=len(tokenizer), n_positions=64, n_embd=16, n_layer=1, n_head=2, eos_token_id=0, bos_token_id=0
    )
    model = tiny.seeded(transformers.TFGPT2LMHeadModel, config)
    raw = datasets.Dataset.from_dict({"text": STRANGE[:5]})
    _, rows = predicted(model, raw, processing_class=tokenizer, generation={"max_new_tokens": 5})
    for row, text in zip(rows, STRANGE[:5], strict=True):
        ids = tokenizer(text)["input_ids"] or [0]
        middle = (len(ids) + 1) // 2
        assert row["label"] == tokenizer.decode(ids[middle:], skip_special_tokens=True).strip()
        prompt = np.array([ids[:middle]])
        eager = model.generate(prompt, attention_mask=np.ones_like(prompt), max_new_tokens=5, pad_token_id=0)
        assert row["prediction"] == tokenizer.decode(eager[0][middle:], skip_special_tokens=True).strip()
    assert rows[0]["prompt"] == tokenizer.decode(
        tokenizer(STRANGE[0])["input_ids"][: (len(tokenizer(STRANGE[0])["input_ids"]) + 1) // 2]
    )
    ids = tokenizer(STRANGE[0])["input_ids"]
    probabilities = softmax(logits_of(model, input_ids=ids))
    assert rows[0]["loss"] == pytest.approx(-np.log(probabilities[range(len(ids) - 1), ids[1:]]).mean(), rel=1e-4)


@pytest.mark.slow
def test_texts_are_rewritten():
    model, tokenizer = tiny.t5(), tiny.tokenizer()
    raw = datasets.Dataset.from_dict({"translation": [{"en": "the cat", "de": "a dog"}, {"en": "", "de": "cat"}]})
    _, rows = predicted(model, raw, processing_class=tokenizer, generation={"max_new_tokens": 4})
    assert [(row["source"], row["label"]) for row in rows] == [("the cat", "a dog"), ("", "cat")]
    ids = tokenizer("the cat", return_tensors="np", return_token_type_ids=False)
    eager = model.generate(**ids, max_new_tokens=4)
    assert rows[0]["prediction"] == tokenizer.decode(eager[0], skip_special_tokens=True).strip()
    loss = model(**ids, labels=tokenizer("a dog", return_tensors="np")["input_ids"]).loss
    assert rows[0]["loss"] == pytest.approx(float(np.mean(loss)), rel=1e-4)


def test_images_come_back_as_they_were():
    processor = transformers.ViTImageProcessor(size={"height": 8, "width": 8})
    images = np.random.default_rng(0).integers(0, 255, (3, 8, 8, 3)).astype("uint8")
    pixels = processor(list(images), return_tensors="np")["pixel_values"]
    data = datasets.Dataset.from_dict({"pixel_values": pixels, "labels": [0, 1, 2]}).with_format("numpy")
    _, rows = predicted(tiny.vit(), data, processing_class=processor)
    for row, image in zip(rows, images, strict=True):
        assert np.abs(row["image"].astype(int) - image).max() <= 1
    import PIL.Image

    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b", "c"])})
    pictures = [PIL.Image.fromarray(image) for image in images]
    raw = datasets.Dataset.from_dict({"image": pictures, "label": [0, 1, 2]}, features)
    _, from_raw = predicted(tiny.vit(), raw, processing_class=processor)
    assert [row["label"] for row in from_raw] == ["a", "b", "c"]
    assert all(np.array_equal(row["image"], image) for row, image in zip(from_raw, images, strict=True))
    assert [row["probability"] for row in from_raw] == pytest.approx([row["probability"] for row in rows])


@pytest.mark.parametrize("kind", ["tf_keras", "keras"])
@pytest.mark.parametrize(
    ("loss", "units", "activation", "labels", "shown"),
    [
        ("sparse_categorical_crossentropy", 3, "softmax", [2, 0, 1], ["2", "0", "1"]),
        ("categorical_crossentropy", 3, "softmax", np.eye(3)[[2, 0, 1]], ["2", "0", "1"]),
        ("binary_crossentropy", 1, "sigmoid", [1, 0, 1], ["1", "0", "1"]),
        ("binary_crossentropy", 2, "sigmoid", [[1, 0], [0, 0], [1, 1]], ["0", "", "0, 1"]),
        ("mse", 1, None, [0.5, 1.0, -1.0], [0.5, 1.0, -1.0]),
        ("mean_absolute_error", 2, None, [[0.5, 1], [1, 2], [0, 0]], ["0.5 1", "1 2", "0 0"]),
    ],
)
def test_plain_models(kind, loss, units, activation, labels, shown):
    import importlib

    keras = importlib.import_module(kind)
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(units, activation=activation)])
    model.compile("sgd", loss)
    x, labels = np.random.default_rng(0).normal(size=(3, 4)).astype("float32"), np.asarray(labels)
    _, rows = predicted(model, (x, labels))
    assert [row["label"] for row in rows] == shown
    each = [model.evaluate(x[[n]], labels[[n]], verbose=0) for n in range(3)]
    assert [row["loss"] for row in rows] == pytest.approx(each, rel=1e-3)
    if units == 1 and activation:
        sure = np.asarray(model(x)).reshape(-1)
        assert [row["prediction"] for row in rows] == [str(int(one > 0.5)) for one in sure]
        assert [row["probability"] for row in rows] == pytest.approx(np.maximum(sure, 1 - sure), rel=1e-4)


def test_samples_are_spread_and_stay_the_same():
    import tensorflow as tf

    data = tiny.classified(11)
    samples, rows = predicted(tiny.bert(), data, processing_class=tiny.tokenizer(), number=3)
    assert [row["text"] for row in rows] == ["the cat sees a dog", "dog ##s [UNK] cat ##s", "the dog [UNK] the cat"]
    x = np.arange(40, dtype="float32").reshape(10, 4)
    model = tiny.functional("keras")
    shuffled = tf.data.Dataset.from_tensor_slices(({"x": x}, np.zeros(10, "int64"))).shuffle(10).batch(4)
    samples = PredictedSamples(model, shuffled, number=6)
    first, second = (samples.rows(samples.predict()) for _ in range(2))
    assert [row["x"] for row in first] == [row["x"] for row in second]
    assert len(first) == 6


@pytest.mark.parametrize(
    ("model", "data", "options", "message"),
    [
        (tiny.bert, {"a": ["x"], "b": ["y"], "c": ["z"]}, {}, r"\['a', 'b', 'c'\].*cannot be told"),
        (tiny.bert, {"text": ["x"]}, {"input_columns": ["body"]}, r"\['body'\] are not among"),
        (tiny.distilbert, {"text": ["x"]}, {}, r"Expected the words of each text, in a column 'tokens' or 'words'"),
        (tiny.vit, {"text": ["x"]}, {}, "takes images, and the columns .*hold none"),
    ],
)
def test_raw_data_that_does_not_fit(model, data, options, message):
    with pytest.raises(DataError, match=message):
        PredictedSamples(model(), datasets.Dataset.from_dict(data), processing_class=tiny.tokenizer(), **options)


def test_several_outputs_need_columns_of_the_users():
    import keras

    x = keras.Input((4,))
    model = keras.Model(x, [keras.layers.Dense(2)(x), keras.layers.Dense(1)(x)])
    model.compile("sgd", ["mse", "mse"])
    data = np.zeros((3, 4), "float32"), (np.zeros((3, 2)), np.zeros(3))
    with pytest.raises(DataError, match=r"The model has 2 outputs: output_0, output_1\. Expected one.*Pass rows="):
        predicted(model, data)
    _, rows = predicted(model, data, rows=lambda x, labels, outputs: [{"n": len(outputs)} for _ in x])
    assert rows == [{"n": 2}] * 3


def test_a_model_without_a_table_says_what_to_do():
    config = transformers.BertConfig(vocab_size=tiny.VOCAB_SIZE, max_position_embeddings=32, **tiny.TEXT)
    model = tiny.seeded(transformers.TFBertModel, config)
    with pytest.raises(DataError, match=r"TFBertModel has no table of its own.*Pass rows="):
        PredictedSamples(model, tiny.texts(3), processing_class=tiny.tokenizer())


def test_a_training_that_has_diverged_still_has_rows():
    for model, data in ((tiny.bert(), tiny.classified(3)), (tiny.distilbert(), tiny.tagged(3))):
        model.set_weights([np.full_like(weight, np.nan) for weight in model.get_weights()])
        _, rows = predicted(model, data, processing_class=tiny.tokenizer())
        assert all(np.isnan(row["probability"]) and np.isnan(row["loss"]) for row in rows)
        assert not any(row["correct"] and np.isfinite(row["loss"]) for row in rows)
