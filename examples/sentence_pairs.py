"""Pairs of sentences for ``hyperparameter_search.py``: by default real questions, each with two statements about them.

The questions are those of the package chatterbot-corpus. "This is about science." follows from a question about science
("entailment"), and from another one it does not ("not_entailment").
"""

from __future__ import annotations

import random

from text_data import SPLIT_SEED, DataTrainingArguments, Texts, corpus_texts, hold_out, load_texts

FOLLOWS, DOES_NOT = "entailment", "not_entailment"


def load_pairs(args: DataTrainingArguments) -> dict[str, Texts]:
    """Pairs to train and to evaluate on, as ``"train"`` and ``"validation"``: those of the flags, or the questions.

    Raises:
        DataError: They cannot be found, read or used.
    """
    if args.dataset_name or args.train_file:
        return load_texts(args, ["train", "validation"])
    questions = corpus_texts()
    topics = sorted(set(questions.labels or ()))
    train, validation = (pair_with_topics(some, topics) for some in hold_out(questions))
    limits = (args.max_train_samples, args.max_eval_samples)
    return {
        name: pairs.take(range(len(pairs))[:limit])
        for name, pairs, limit in zip(("train", "validation"), (train, validation), limits, strict=True)
    }


def pair_with_topics(questions: Texts, topics: list[str]) -> Texts:
    """Each question with its own topic and with another one."""
    generator = random.Random(SPLIT_SEED)
    pairs = Texts(questions.source, [], [], [FOLLOWS, DOES_NOT])
    for (question,), topic in zip(questions.rows, questions.labels or (), strict=True):
        other = generator.choice([one for one in topics if one != topic])
        pairs.rows += [(question, f"This is about {one.lower()}.") for one in (topic, other)]
        pairs.labels += [FOLLOWS, DOES_NOT]
    return pairs
