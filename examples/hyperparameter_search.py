"""Compare ways to search hyperparameters on pairs of sentences: ``python examples/hyperparameter_search.py``.

Without flags it needs neither a network nor an account: a small BERT learns from scratch whether a statement ("This is
about science.") follows from a question of the package chatterbot-corpus, with one set of hyperparameters after the
other, chosen by a grid and by Bayesian search. It prints what each kind of search has found in how many steps, and
writes W&B runs into ./wandb: one for each trial, in the group of its search, and one for each search with a table of
its trials. The real thing:

    python examples/hyperparameter_search.py --model_name_or_path bert-base-uncased --dataset_name nyu-mll/glue \
        --dataset_config_name rte --output_dir rte_search --n_trials 20

The same command again continues a search that was interrupted. The flags are those of text_classification.py, and
--searches and --n_trials.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

from sentence_pairs import load_pairs
from text_classification import ModelArguments, compute_metrics, load_config, load_model, load_tokenizer, tokenize
from text_data import DataTrainingArguments
from transformers import HfArgumentParser, TrainerCallback

from tf_hfwb import TFTrainer, TFTrainingArguments
from tf_hfwb.errors import SettingError, TFHFWBError

SCRIPT_DEFAULTS = {
    "eval_strategy": "epoch",
    "save_strategy": "epoch",
    "save_total_limit": 1,
    "logging_steps": 10,
    "num_train_epochs": 8,
    "per_device_train_batch_size": 32,
    "disable_tqdm": True,
}


@dataclass
class SearchArguments:
    """How to search."""

    searches: str = field(default="grid,bayes", metadata={"help": "Kinds of search, with commas: grid, bayes."})
    n_trials: int = field(default=6, metadata={"help": "Trials of each search."})


def learning_rates(args: ModelArguments) -> tuple[float, float]:
    """The lowest and the highest that are tried; a new model learns at higher rates than a pretrained one."""
    return (1e-5, 1e-4) if args.model_name_or_path else (3e-4, 3e-3)


def space_of(args: ModelArguments) -> Any:
    """The space that all kinds of search have in common."""
    low, high = learning_rates(args)

    def space(trial: Any) -> dict[str, Any]:
        return {
            "learning_rate": trial.suggest_float("learning_rate", low, high, log=True),
            "warmup_ratio": trial.suggest_float("warmup_ratio", 0.0, 0.2),
        }

    return space


def grid_options(args: ModelArguments, seed: int) -> dict[str, Any]:
    """Points at equal distances, each trained to its end."""
    import optuna

    low, high = learning_rates(args)
    grid = {"learning_rate": [low, (low * high) ** 0.5, high], "warmup_ratio": [0.0, 0.2]}
    return {"sampler": optuna.samplers.GridSampler(grid, seed=seed), "pruner": optuna.pruners.NopPruner()}


def bayes_options(args: ModelArguments, seed: int) -> dict[str, Any]:
    """Points where the trials so far promise most; a trial that is behind at an evaluation is pruned."""
    import optuna

    return {
        "sampler": optuna.samplers.TPESampler(n_startup_trials=3, seed=seed),
        "pruner": optuna.pruners.MedianPruner(n_startup_trials=2, n_warmup_steps=100),
    }


class StepCount(TrainerCallback):
    """Counts the steps of all trials of a search, as far as this process has trained them."""

    def __init__(self) -> None:
        self.steps = 0

    def on_train_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        self.steps += state.global_step


# By the names of --searches: the options of hyperparameter_search.
SEARCHES = {"grid": grid_options, "bayes": bayes_options}


def run(
    search_args: SearchArguments,
    model_args: ModelArguments,
    data_args: DataTrainingArguments,
    args: TFTrainingArguments,
) -> None:
    """Load the pairs, search in each way, and compare."""
    kinds = [kind.strip() for kind in search_args.searches.split(",")]
    for kind in kinds:
        if kind not in SEARCHES:
            raise SettingError("searches", kind, accepted=list(SEARCHES))
    texts = load_pairs(data_args)
    config = load_config(model_args, texts["train"])
    tokenizer = load_tokenizer(model_args, texts["train"])
    datasets = {
        name: tokenize(some, tokenizer, data_args.max_seq_length, config.label2id) for name, some in texts.items()
    }
    print(", ".join(f"{name}: {len(some)} pairs" for name, some in texts.items()))

    rows = []
    for kind in kinds:
        counted = StepCount()
        trainer = TFTrainer(
            args=args,
            model_init=lambda: load_model(model_args, config, tokenizer, args.seed),
            train_dataset=datasets["train"],
            eval_dataset=datasets["validation"],
            processing_class=tokenizer,
            compute_metrics=compute_metrics,
            callbacks=[counted],
        )
        directory, args.output_dir = args.output_dir, os.path.join(args.output_dir, kind)
        best = trainer.hyperparameter_search(
            space_of(model_args),
            compute_objective=lambda metrics: metrics["eval_accuracy"],
            n_trials=search_args.n_trials,
            direction="maximize",
            backend="optuna",
            hp_name=lambda trial, kind=kind: f"{kind}-{trial.number}",
            study_name=kind,
            **SEARCHES[kind](model_args, args.seed),
        )
        args.output_dir = directory
        rows.append((kind, best, counted.steps))
    print(comparison(rows), *what_to_look_at(kinds, args), sep="\n")


def comparison(rows: Sequence[tuple[str, Any, int]]) -> str:
    """A table of what each kind of search has found."""
    lines = [f"{'search':8}  {'accuracy':>8}  {'steps':>6}  best hyperparameters"]
    for kind, best, steps in rows:
        found = ", ".join(f"{name}={value:.3g}" for name, value in best.hyperparameters.items())
        lines.append(f"{kind:8}  {best.objective:8.3f}  {steps:6}  {found} (trial {best.run_id})")
    return "\n".join(["", *lines, ""])


def what_to_look_at(kinds: Sequence[str], args: TFTrainingArguments) -> list[str]:
    """What the runs show."""
    if "wandb" not in args.report_to:
        return []
    return [
        f"In W&B, group the runs by their group ({', '.join(kinds)}): each group has a run for each trial. Look at",
        "- eval/accuracy of all runs: trials with the tag 'pruned' end early, which is what Bayesian search saves;",
        "- the runs named as the groups: search/trials has all trials, the best one marked, search/importance which",
        "  hyperparameter mattered, and search/parallel_coordinates which values go with a high accuracy.",
    ]


def parse(argv: Sequence[str]) -> tuple[Any, ...]:
    """Read the flags."""
    kinds = (SearchArguments, ModelArguments, DataTrainingArguments, TFTrainingArguments)
    parser = HfArgumentParser(kinds, description="Compare ways to search hyperparameters, on pairs of sentences.")
    parser.set_defaults(**SCRIPT_DEFAULTS)
    return parser.parse_args_into_dataclasses(argv, look_for_args_file=False)


def main(argv: Sequence[str] | None = None) -> None:
    """Do what the command line says; what the user can put right is told in a line, with exit status 2."""
    try:
        run(*parse(sys.argv[1:] if argv is None else argv))
    except (TFHFWBError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("\ninterrupted; the same command continues", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
