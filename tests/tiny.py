"""Tiny random models of each architecture, a word-piece tokenizer, and data sets of unequal lengths for them."""

from __future__ import annotations

import importlib

import datasets
import numpy as np
import tokenizers
import transformers

WORDS = ["the", "a", "cat", "dog", "bird", "sees", "likes", "chases", "runs", "flies", "small", "big", "red", "blue"]
WORDS += ["and", "not", "very", "##s", "##ed", "##d"]
TEXTS = [
    "the cat sees a dog",
    "a dog chases the big red bird",
    "birds",
    "the very small cat likes the blue bird and the dog",
    "a dog runs",
    "dogs chased cats",
    "the bird flies and the cat runs",
    "not a cat",
    "the big dog and the small dog and the very big bird sees the cat",
    "a cat",
    "the dog liked the cat",
]
TEXT = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}


def tokenizer(**options) -> transformers.PreTrainedTokenizerFast:
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocab = {word: index for index, word in enumerate([*special, *WORDS])}
    backend = tokenizers.Tokenizer(tokenizers.models.WordPiece(vocab, unk_token="[UNK]"))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    backend.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, mask_token="[MASK]", model_max_length=32, **names, **options
    )


VOCAB_SIZE = 5 + len(WORDS)


def texts(number: int = 11, **columns) -> datasets.Dataset:
    """Tokenised texts, still with the text; lengths differ."""
    rows = [TEXTS[n % len(TEXTS)] for n in range(number)]
    encoded = tokenizer()(rows, return_token_type_ids=False)
    return datasets.Dataset.from_dict({"text": rows, **encoded, **columns})


def classified(number: int = 11) -> datasets.Dataset:
    return texts(number, label=[n % 3 for n in range(number)])


def tagged(number: int = 11) -> datasets.Dataset:
    """A label for each token but the first and the last."""
    lengths = [len(ids) for ids in texts(number)["input_ids"]]
    return texts(number, labels=[[-100, *(n % 4 for n in range(length - 2)), -100] for length in lengths])


def next_words(number: int = 11) -> datasets.Dataset:
    return texts(number, labels=texts(number)["input_ids"])


def answered(number: int = 11) -> datasets.Dataset:
    """Another text, of another length, as the answer."""
    answers = texts(number)["input_ids"]
    return texts(number, labels=[*answers[3:], *answers[:3]])


def pictures(number: int = 11) -> datasets.Dataset:
    random = np.random.default_rng(0)
    return datasets.Dataset.from_dict(
        {
            "pixel_values": random.normal(size=(number, 3, 8, 8)).astype("float32"),
            "labels": [n % 3 for n in range(number)],
        }
    ).with_format("numpy")


def bert_config(**config) -> transformers.BertConfig:
    no_dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    sizes = {"vocab_size": VOCAB_SIZE, "max_position_embeddings": 32, "num_labels": 3, **TEXT}
    return transformers.BertConfig(**{**sizes, **no_dropout, **config})


def bert(**config):
    return seeded(transformers.TFBertForSequenceClassification, bert_config(**config))


def distilbert():
    config = transformers.DistilBertConfig(
        vocab_size=VOCAB_SIZE,
        max_position_embeddings=32,
        dim=16,
        n_layers=1,
        n_heads=2,
        hidden_dim=16,
        num_labels=4,
        dropout=0.0,
        attention_dropout=0.0,
    )
    return seeded(transformers.TFDistilBertForTokenClassification, config)


def gpt2(dropout: float = 0.0):
    config = transformers.GPT2Config(
        vocab_size=VOCAB_SIZE,
        n_positions=32,
        n_embd=16,
        n_layer=1,
        n_head=2,
        resid_pdrop=dropout,
        embd_pdrop=dropout,
        attn_pdrop=dropout,
    )
    return seeded(transformers.TFGPT2LMHeadModel, config)


def t5(dropout: float = 0.0):
    config = transformers.T5Config(
        vocab_size=VOCAB_SIZE,
        d_model=16,
        d_kv=8,
        d_ff=16,
        num_layers=1,
        num_heads=2,
        dropout_rate=dropout,
        decoder_start_token_id=0,
        pad_token_id=0,
    )
    return seeded(transformers.TFT5ForConditionalGeneration, config)


def vit(dropout: float = 0.0):
    config = transformers.ViTConfig(
        image_size=8,
        patch_size=4,
        num_labels=3,
        **TEXT,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )
    return seeded(transformers.TFViTForImageClassification, config)


def of_bert(model_class):
    return seeded(model_class, transformers.BertConfig(vocab_size=VOCAB_SIZE, **TEXT))


def classifier(name: str, **config):
    """Of an architecture whose configuration has BERT's names."""
    sizes = {"vocab_size": VOCAB_SIZE, "max_position_embeddings": 32, "num_labels": 3, **TEXT, **config}
    model_class = getattr(transformers, f"TF{name}ForSequenceClassification")
    return seeded(model_class, getattr(transformers, f"{name}Config")(**sizes))


def deberta(name: str = "Deberta"):
    return classifier(name, relative_attention=True, pos_att_type=["c2p", "p2c"], position_buckets=8)


def seeded(model_class, config):
    import tf_keras

    tf_keras.utils.set_random_seed(0)
    model = model_class(config)
    model.build_in_name_scope()
    return model


def functional(kind: str, *, dropout: float = 0.0, **compile_options):
    """A plain functional classifier on a dict of ``x`` [4]; compiled with a loss."""
    keras = importlib.import_module(kind)
    keras.utils.set_random_seed(0)
    x = keras.Input((4,), name="x")
    hidden = keras.layers.LayerNormalization()(keras.layers.Dense(8, activation="tanh")(x))
    logits = keras.layers.Dense(3)(keras.layers.Dropout(dropout)(hidden))
    model = keras.Model({"x": x}, logits)
    options = {"loss": keras.losses.SparseCategoricalCrossentropy(from_logits=True), "metrics": ["accuracy"]}
    model.compile(**{**options, **compile_options})
    return model


def named(data: tuple[np.ndarray, np.ndarray]) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Features and classes for :func:`functional`."""
    return {"x": data[0]}, data[1]
