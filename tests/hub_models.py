"""Small tasks of KerasHub, made from their configurations, and raw data for them."""

from __future__ import annotations

import io

import datasets
import keras_hub
import numpy as np
import tokenizers
from tiny import TEXTS, WORDS

models = keras_hub.models
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
SIZES = {"num_layers": 1, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 16}


def classifier(number: int = 3, length: int = 12, seed: int = 0, **options):
    import keras

    keras.utils.set_random_seed(seed)
    tokenizer = models.BertTokenizer([*SPECIAL, *WORDS], lowercase=True)
    preprocessor = models.BertTextClassifierPreprocessor(tokenizer, sequence_length=length)
    backbone = models.BertBackbone(len(SPECIAL) + len(WORDS), max_sequence_length=length, dropout=0.0, **SIZES)
    options = {"preprocessor": preprocessor, "dropout": 0.0, **options}
    return models.BertTextClassifier(backbone, num_classes=number, **options)


def albert(seed: int = 0):
    """Its tokens are SentencePiece's of the sentences."""
    import keras
    import sentencepiece

    keras.utils.set_random_seed(seed)
    proto = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS),
        model_writer=proto,
        vocab_size=37,
        minloglevel=2,
        **{f"{name}_id": number for number, name in enumerate(["pad", "unk", "bos", "eos"])},
        pad_piece="<pad>",
        bos_piece="[CLS]",
        eos_piece="[SEP]",
        user_defined_symbols="[MASK]",
    )
    tokenizer = models.AlbertTokenizer(proto.getvalue())
    preprocessor = models.AlbertTextClassifierPreprocessor(tokenizer, sequence_length=12)
    size = tokenizer.vocabulary_size()
    backbone = models.AlbertBackbone(size, embedding_dim=8, max_sequence_length=12, dropout=0.0, **SIZES)
    return models.AlbertTextClassifier(backbone, num_classes=3, preprocessor=preprocessor, dropout=0.0)


def gpt2(length: int = 16, seed: int = 0, **options):
    """Its tokens are single letters, and the word "the"."""
    import keras

    keras.utils.set_random_seed(seed)
    letters = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    pieces = ["<|endoftext|>", *letters, "th", "the", "Ġthe"]
    merges = ["t h", "th e", "Ġ the"]
    tokenizer = models.GPT2Tokenizer({piece: number for number, piece in enumerate(pieces)}, merges)
    preprocessor = models.GPT2CausalLMPreprocessor(tokenizer, sequence_length=length)
    backbone = models.GPT2Backbone(len(pieces), max_sequence_length=length, dropout=0.0, **SIZES)
    model = models.GPT2CausalLM(backbone, preprocessor=preprocessor, **options)
    model.compile(sampler="greedy")
    return model


def bart(length: int = 24, seed: int = 0):
    """Its tokens are single letters, and the word "the"."""
    import keras

    keras.utils.set_random_seed(seed)
    letters = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    pieces = ["<s>", "<pad>", "</s>", "<unk>", *letters, "<mask>", "th", "the", "Ġthe"]
    tokenizer = models.BartTokenizer({piece: number for number, piece in enumerate(pieces)}, ["t h", "th e", "Ġ the"])
    preprocessor = models.BartSeq2SeqLMPreprocessor(
        tokenizer, encoder_sequence_length=length, decoder_sequence_length=length
    )
    backbone = models.BartBackbone(len(pieces), max_sequence_length=length, dropout=0.0, **SIZES)
    model = models.BartSeq2SeqLM(backbone, preprocessor=preprocessor)
    model.compile(sampler="greedy")
    return model


def images(number: int = 2, size: int = 16, seed: int = 0):
    import keras

    keras.utils.set_random_seed(seed)
    converter = keras_hub.layers.ResNetImageConverter(image_size=(size, size), scale=1 / 255)
    preprocessor = models.ResNetImageClassifierPreprocessor(converter)
    backbone = models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[3],
        stackwise_num_filters=[64],
        stackwise_num_blocks=[1],
        stackwise_num_strides=[1],
        block_type="basic_block",
        image_shape=(size, size, 3),
    )
    return models.ResNetImageClassifier(backbone, num_classes=number, preprocessor=preprocessor)


def sentences(number: int = 21) -> datasets.Dataset:
    rows = [TEXTS[n % len(TEXTS)] for n in range(number)]
    names = datasets.ClassLabel(names=["cat", "dog", "bird"])
    labels = [n % 3 for n in range(number)]
    features = datasets.Features({"text": datasets.Value("string"), "label": names})
    return datasets.Dataset.from_dict({"text": rows, "label": labels}, features=features)


def pictures(number: int = 10) -> datasets.Dataset:
    """Of different sizes, dark or bright."""
    from PIL import Image

    random = np.random.default_rng(0)
    rows = []
    for n in range(number):
        pixels = random.integers(0, 100, (10 + n, 20, 3)) + 155 * (n % 2)
        rows.append({"image": Image.fromarray(pixels.astype(np.uint8)), "label": n % 2})
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
    return datasets.Dataset.from_list(rows, features=features)
