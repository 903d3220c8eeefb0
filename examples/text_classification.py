"""Fine-tune a model to classify texts, with Weights & Biases: ``python examples/text_classification.py``.

Without flags it needs neither a network nor an account: it trains a small BERT from scratch to tell the topic of real
questions (of the package chatterbot-corpus) in about a minute, and writes a W&B run into ./wandb. The real thing:

    python examples/text_classification.py --model_name_or_path bert-base-uncased \
        --train_file reviews.csv --validation_file more_reviews.csv --output_dir reviews_model --run_name reviews

    python examples/text_classification.py --model_name_or_path bert-base-uncased --dataset_name ag_news

A single .json file in place of the flags gives them by name. The flags are those of transformers' own run_glue.py; of
the training arguments' defaults some differ here: see SCRIPT_DEFAULTS and NEW_MODEL_DEFAULTS.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shlex
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

from text_data import DataTrainingArguments, Texts, load_texts
from told_errors import tell_errors
from transformers import HfArgumentParser

from tf_hfwb import TFTrainer, TFTrainingArguments, WandbEvalTable, from_pretrained
from tf_hfwb.errors import DataError, SettingError

SCRIPT_DEFAULTS = {"eval_strategy": "epoch", "logging_steps": 10}
# A small new model learns from few texts in larger steps and more epochs than a pretrained one is tuned in.
NEW_MODEL_DEFAULTS = {
    "learning_rate": 1e-3,
    "num_train_epochs": 15,
    "per_device_train_batch_size": 32,
    "warmup_ratio": 0.1,
}


@dataclass
class ModelArguments:
    """Which model to fine-tune; without any, a small new BERT is trained."""

    model_name_or_path: str | None = field(default=None, metadata={"help": "A model of the hub, or a directory."})
    config_name: str | None = field(default=None, metadata={"help": "Its configuration, if it is elsewhere."})
    tokenizer_name: str | None = field(default=None, metadata={"help": "Its tokenizer, if it is elsewhere."})
    cache_dir: str | None = field(default=None, metadata={"help": "Where downloads are kept."})
    model_revision: str = field(default="main", metadata={"help": "The model's branch, tag or commit on the hub."})
    token: str | None = field(default=None, metadata={"help": "The hub's token, for what is private."})
    ignore_mismatched_sizes: bool = field(default=False, metadata={"help": "Replace a head made for other labels."})


def parse(argv: Sequence[str]) -> tuple[ModelArguments, DataTrainingArguments, TFTrainingArguments]:
    """Read the flags, or the .json file that stands for them."""
    parser = HfArgumentParser(
        (ModelArguments, DataTrainingArguments, TFTrainingArguments),
        usage="text_classification.py [--FLAG VALUE ...] | ARGUMENTS.json",
        description="Fine-tune a model to classify texts. Without flags: a small one, on questions by topic.",
    )
    if len(argv) == 1 and argv[0].endswith(".json"):
        try:
            given = json.loads(pathlib.Path(argv[0]).read_text(encoding="utf-8"))
            new = {} if given.get("model_name_or_path") else NEW_MODEL_DEFAULTS
            return parser.parse_dict({**SCRIPT_DEFAULTS, **new, **given})
        except SettingError:
            raise
        except (OSError, ValueError, AttributeError) as error:
            raise DataError(
                f"{argv[0]} cannot be used: {error}. Expected a JSON object of arguments by name. Correct the file."
            ) from error
    parser.set_defaults(**SCRIPT_DEFAULTS)
    if not parser.parse_known_args(argv)[0].model_name_or_path:
        parser.set_defaults(**NEW_MODEL_DEFAULTS)
    *arguments, unknown = parser.parse_args_into_dataclasses(
        argv, return_remaining_strings=True, look_for_args_file=False
    )
    if unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)} (--help lists all)")
    return tuple(arguments)


def run(model_args: ModelArguments, data_args: DataTrainingArguments, args: TFTrainingArguments) -> None:
    """Load, train, evaluate, predict, save, and say how it went."""
    if not (args.do_train or args.do_eval or args.do_predict):
        args.do_train = args.do_eval = True
    if not args.do_eval:
        args.eval_strategy = "no"
    if not (args.do_train or model_args.model_name_or_path):
        raise SettingError("model_name_or_path", None, expected="a trained model, because there is no --do_train")

    wanted = {"train": args.do_train, "validation": args.do_eval, "test": args.do_predict}
    hub = {"cache_dir": model_args.cache_dir, "token": model_args.token}
    texts = load_texts(data_args, [name for name, is_wanted in wanted.items() if is_wanted], **hub)

    hub["revision"] = model_args.model_revision
    config = load_config(model_args, texts.get("train"), **hub)
    tokenizer = load_tokenizer(model_args, texts.get("train"), **hub)
    longest = getattr(config, "max_position_embeddings", None) or tokenizer.model_max_length
    max_length = min(data_args.max_seq_length, tokenizer.model_max_length, longest)
    datasets = {name: tokenize(some, tokenizer, max_length, config.label2id) for name, some in texts.items()}
    print(", ".join(f"{name}: {len(some)} texts" for name, some in texts.items()) + f"; {config.num_labels} labels")

    model = load_model(model_args, config, tokenizer, args.seed, **hub)
    callbacks = []
    if args.do_eval and "wandb" in args.report_to:
        callbacks.append(WandbEvalTable(datasets["validation"], processing_class=tokenizer, num_samples=50))
    trainer = TFTrainer(
        model,
        args,
        train_dataset=datasets.get("train"),
        eval_dataset=datasets.get("validation"),
        processing_class=tokenizer,
        compute_metrics=compute_metrics,
        callbacks=callbacks,
    )
    if args.do_train:
        trained = trainer.train(resume_from_checkpoint=args.resume_from_checkpoint)
        result = f"Trained {trained.global_step} steps; there was nothing to evaluate on."
        print(f"The model and its tokenizer are in {shlex.quote(str(trainer.save_model()))}")
    if args.do_predict:
        file = write_predictions(trainer, datasets["test"], config.id2label)
        result = f"Predicted {len(datasets['test'])} texts; there was nothing to evaluate on."
        print(f"The predictions are in {shlex.quote(str(file))}")
    if args.do_eval:
        result = learnt(trainer.evaluate()["eval_accuracy"], texts["validation"], config.num_labels)
    print("", result, *where_the_run_is(trainer.run_directory), sep="\n")


def load(auto_class: Any, flag: str, name: str, **hub: Any) -> Any:
    """``auto_class.from_pretrained(name)``; the error names the flag."""
    try:
        return auto_class.from_pretrained(name, **hub)
    except (OSError, ValueError) as error:
        raise SettingError(
            flag, name, expected="a model's directory or its name on the hub", advice=str(error)
        ) from error


def load_config(args: ModelArguments, train: Texts | None, **hub: Any) -> Any:
    """The model's configuration, with the labels to learn; without training those it has learnt."""
    from transformers import AutoConfig, BertConfig

    if args.config_name:
        config = load(AutoConfig, "config_name", args.config_name, **hub)
    elif args.model_name_or_path:
        config = load(AutoConfig, "model_name_or_path", args.model_name_or_path, **hub)
    else:
        config = BertConfig(hidden_size=128, num_hidden_layers=2, num_attention_heads=2, intermediate_size=256)
    labels = config.id2label
    if train is not None and set(train.names) != set(labels.values()):
        labels = dict(enumerate(train.names))  # Else it knows these labels, in an order of its own.
    config.id2label, config.label2id = labels, {label: number for number, label in labels.items()}
    return config


def load_tokenizer(args: ModelArguments, train: Texts | None, **hub: Any) -> Any:
    """The model's tokenizer; for a new model one is fitted on the training texts."""
    from transformers import AutoTokenizer

    if args.tokenizer_name:
        return load(AutoTokenizer, "tokenizer_name", args.tokenizer_name, **hub)
    if args.model_name_or_path:
        return load(AutoTokenizer, "model_name_or_path", args.model_name_or_path, **hub)
    return fit_tokenizer(text for row in train.rows for text in row)


def fit_tokenizer(texts: Iterable[str], most_words: int = 8000) -> Any:
    """A WordPiece tokenizer that knows the words seen twice or more, and spells the others.

    The trainer of the tokenizers library makes another vocabulary each time (its issue 1794); this does not.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import BertTokenizerFast

    normalizer, splitter = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
    counts = Counter(w for text in texts for w, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text)))
    letters = sorted({letter for word in counts for letter in word})
    words = [word for word, count in counts.most_common(most_words) if count > 1]
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = dict.fromkeys([*special, *letters, *(f"##{letter}" for letter in letters), *words])
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer, tokenizer.decoder = normalizer, splitter, decoders.WordPiece()
    tokenizer.post_processor = processors.BertProcessing(
        sep=("[SEP]", vocabulary["[SEP]"]), cls=("[CLS]", vocabulary["[CLS]"])
    )
    return BertTokenizerFast(tokenizer_object=tokenizer, model_max_length=512)


def load_model(args: ModelArguments, config: Any, tokenizer: Any, seed: int, **hub: Any) -> Any:
    """The pretrained model, or a new one of the configuration."""
    with quiet_import():
        from transformers import TFAutoModelForSequenceClassification, set_seed
    set_seed(seed)
    if args.model_name_or_path:
        return from_pretrained(
            TFAutoModelForSequenceClassification,
            args.model_name_or_path,
            config=config,
            ignore_mismatched_sizes=args.ignore_mismatched_sizes,
            **hub,
        )
    config.vocab_size, config.pad_token_id = len(tokenizer), tokenizer.pad_token_id
    return TFAutoModelForSequenceClassification.from_config(config)


@contextlib.contextmanager
def quiet_import() -> Iterator[None]:
    """Hide what TensorFlow's C++ code prints while it is imported, which TF_CPP_MIN_LOG_LEVEL alone does not.

    It is shown when the import fails, and when TF_CPP_MIN_LOG_LEVEL is set.
    """
    if "TF_CPP_MIN_LOG_LEVEL" in os.environ:
        yield
        return
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as hidden:
        os.dup2(hidden.fileno(), 2)
        try:
            import tensorflow  # noqa: F401

            yield
        except Exception:
            hidden.seek(0)
            os.write(stderr, hidden.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


def tokenize(texts: Texts, tokenizer: Any, max_length: int, label2id: dict[str, int]) -> Any:
    """A dataset with the tokens and, if the texts have any, the labels."""
    from datasets import Dataset

    columns = dict(tokenizer(*map(list, zip(*texts.rows, strict=True)), truncation=True, max_length=max_length))
    return Dataset.from_dict(columns if texts.labels is None else {**columns, "label": texts.label_ids(label2id)})


def compute_metrics(prediction: Any) -> dict[str, float]:
    """The accuracy, and the mean over the labels of their F1 scores."""
    import numpy as np

    guesses, labels = guesses_of(prediction), prediction.label_ids
    hits = guesses == labels
    f1 = [
        2 * np.sum(hits & (labels == label)) / (np.sum(labels == label) + np.sum(guesses == label))
        for label in np.union1d(labels, guesses)
    ]
    return {"accuracy": float(np.mean(hits)), "f1_macro": float(np.mean(f1))}


def guesses_of(prediction: Any) -> Any:
    """The likeliest label of each text; some models return more than logits."""
    logits = prediction.predictions
    return (logits[0] if isinstance(logits, tuple) else logits).argmax(axis=-1)


def write_predictions(trainer: TFTrainer, dataset: Any, id2label: dict[int, str]) -> pathlib.Path:
    """One line for each text, as run_glue.py writes them."""
    guesses = guesses_of(trainer.predict(dataset))
    file = pathlib.Path(trainer.args.output_dir, "predict_results.txt")
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{index}\t{id2label[int(guess)]}" for index, guess in enumerate(guesses)]
    file.write_text("\n".join(["index\tprediction", *lines]) + "\n", encoding="utf-8")
    return file


def learnt(accuracy: float, texts: Texts, num_labels: int) -> str:
    """The accuracy beside that of two ways to know nothing."""
    [(label, count)] = Counter(texts.labels).most_common(1)
    return (
        f"Accuracy {accuracy:.2f} on {len(texts)} held-out texts; always saying {label!r} gives "
        f"{count / len(texts):.2f}, and guessing among {num_labels} labels {1 / num_labels:.2f}."
    )


def where_the_run_is(directory: str | None) -> list[str]:
    """How to look at the run and how to sync it."""
    import wandb

    if directory is None or wandb.run.disabled:
        return ["No W&B run was recorded (see --report_to, WANDB_MODE and WANDB_DISABLED)."]
    url = None if wandb.run.offline else wandb.run.url
    wandb.finish()  # Its own last words come before ours.
    shown = shlex.quote(os.path.relpath(directory))
    sync = f"The run is on the server: {url}" if url else f"Sync it with: wandb sync {shown}"
    return [f"The run is in {shown}; look at it with: wandb leet {shown}", sync]


def main(argv: Sequence[str] | None = None) -> None:
    """Do what the command line says; what the user can put right is told in a line, with exit status 2."""
    with tell_errors():
        run(*parse(sys.argv[1:] if argv is None else argv))


if __name__ == "__main__":
    main()
