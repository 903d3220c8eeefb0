"""Pairs of sentences for ``hyperparameter_search.py``: by default questions with replies from chatterbot-corpus.

As in QNLI, a pair of a question and a sentence is "entailment" if the sentence answers the question. Half of the pairs
have the reply that was given, the others one that was given to another question of the same topic.
"""

from __future__ import annotations

import importlib.resources
import random

from text_data import SPLIT_SEED, Texts

from tf_hfwb.errors import DataError

ANSWERS, OTHER = "entailment", "not_entailment"


def corpus_pairs(longest: int = 200) -> Texts:
    """The pairs, with as many of one label as of the other.

    Args:
        longest: Replies with more characters, such as programs, are left out.

    Raises:
        DataError: The package is not installed.
    """
    try:
        import yaml

        folder = importlib.resources.files("chatterbot_corpus") / "data" / "english"
    except ImportError as error:
        raise DataError(
            f"The questions to learn from are not installed ({error}). Install them with "
            "`pip install chatterbot-corpus PyYAML`, or pass --train_file or --dataset_name."
        ) from error
    generator = random.Random(SPLIT_SEED)
    texts = Texts("chatterbot-corpus", [], [])
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        if not file.name.endswith(".yml"):
            continue
        conversations = yaml.safe_load(file.read_text(encoding="utf-8"))["conversations"]
        replies: dict[str, str] = {}
        for question, reply, *_ in (one for one in conversations if len(one) > 1):
            question, reply = (" ".join(str(text).split()) for text in (question, reply))
            if len(reply) <= longest:
                replies.setdefault(question, reply)
        for question, reply in replies.items():
            others = [other for other in replies.values() if other != reply]
            if others:
                is_answer = generator.random() < 0.5
                texts.rows.append((question, reply if is_answer else generator.choice(others)))
                texts.labels.append(ANSWERS if is_answer else OTHER)
    return texts
