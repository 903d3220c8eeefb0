"""Compare ways to search hyperparameters on pairs of sentences: ``python examples/hyperparameter_search.py``.

Without flags it needs neither a network nor an account: a small BERT learns from scratch whether a statement ("This is
about science.") follows from a question of the package chatterbot-corpus, with one set of hyperparameters after the
other, chosen by a grid, by Bayesian search, and by a population whose members copy the better ones' checkpoints. It
needs ``pip install 'tf_hfwb[optuna,ray]'``. It prints what each kind of search has found in how many steps, and writes
W&B runs into ./wandb: one for each trial, in the group of its search, and one for each search with a table of
its trials. The real thing:

    python examples/hyperparameter_search.py --model_name_or_path bert-base-uncased --dataset_name nyu-mll/glue \
        --dataset_config_name rte --output_dir rte_search --n_trials 20

The same command again continues a grid or a Bayesian search that was interrupted. The flags are those of
text_classification.py, and --searches and --n_trials.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

from sentence_pairs import load_pairs
from text_classification import ModelArguments, compute_metrics, load_config, load_model, load_tokenizer, tokenize
from text_data import DataTrainingArguments
from told_errors import tell_errors
from transformers import HfArgumentParser, TrainerCallback

from tf_hfwb import TFTrainer, TFTrainingArguments
from tf_hfwb.errors import SettingError

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

    searches: str = field(
        default="grid,bayes,population", metadata={"help": "Kinds of search, with commas: grid, bayes, population."}
    )
    n_trials: int = field(default=6, metadata={"help": "Trials of each search, and members of the population."})


def learning_rates(args: ModelArguments) -> tuple[float, float]:
    """The lowest and the highest that are tried; a new model learns at higher rates than a pretrained one."""
    return (1e-5, 1e-4) if args.model_name_or_path else (3e-4, 3e-3)


def optuna_space(args: ModelArguments) -> Any:
    """The space of optuna's searches."""
    low, high = learning_rates(args)

    def space(trial: Any) -> dict[str, Any]:
        return {
            "learning_rate": trial.suggest_float("learning_rate", low, high, log=True),
            "warmup_ratio": trial.suggest_float("warmup_ratio", 0.0, 0.2),
        }

    return space


def search_on_a_grid(args: ModelArguments, seed: int) -> dict[str, Any]:
    """Points at equal distances, each trained to its end."""
    import optuna

    low, high = learning_rates(args)
    grid = {"learning_rate": [low, (low * high) ** 0.5, high], "warmup_ratio": [0.0, 0.2]}
    return {
        "backend": "optuna",
        "hp_space": optuna_space(args),
        "study_name": "grid",
        "sampler": optuna.samplers.GridSampler(grid, seed=seed),
        "pruner": optuna.pruners.NopPruner(),
        "hp_name": lambda trial: f"grid-{trial.number}",
    }


def search_as_bayes(args: ModelArguments, seed: int) -> dict[str, Any]:
    """Points where the trials so far promise most; a trial that is behind at an evaluation is pruned."""
    import optuna

    return {
        "backend": "optuna",
        "hp_space": optuna_space(args),
        "study_name": "bayes",
        "sampler": optuna.samplers.TPESampler(n_startup_trials=3, seed=seed),
        "pruner": optuna.pruners.MedianPruner(n_startup_trials=2, n_warmup_steps=100),
        "hp_name": lambda trial: f"bayes-{trial.number}",
    }


def search_by_a_population(args: ModelArguments, seed: int) -> dict[str, Any]:
    """Members that train side by side. At every second evaluation one that is behind takes over a better one's
    checkpoint, and changes the learning rate."""
    from ray import tune
    from ray.tune.schedulers import PopulationBasedTraining

    rates = tune.loguniform(*learning_rates(args))
    scheduler = PopulationBasedTraining(perturbation_interval=2, hyperparam_mutations={"learning_rate": rates})
    return {
        "backend": "ray",
        "name": "population",
        "scheduler": scheduler,
        "verbose": 0,
        "hp_space": lambda _: {"learning_rate": rates, "warmup_ratio": tune.uniform(0.0, 0.2)},
    }


class StepCount(TrainerCallback):
    """Counts the steps of all trials of a search that this process trains."""

    def __init__(self) -> None:
        self.steps = 0

    def on_train_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        self.steps += state.global_step


# By the names of --searches: what is needed, and the options of hyperparameter_search.
SEARCHES = {
    "grid": ("optuna", search_on_a_grid),
    "bayes": ("optuna", search_as_bayes),
    "population": ("ray", search_by_a_population),
}


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
        package = SEARCHES[kind][0]
        if importlib.util.find_spec(package) is None:  # Before the other searches have taken their time.
            raise SettingError("searches", kind, advice=f"Run: pip install 'tf_hfwb[{package}]'")
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
            compute_objective=lambda metrics: metrics["eval_accuracy"],
            n_trials=search_args.n_trials,
            direction="maximize",
            **SEARCHES[kind][1](model_args, args.seed),
        )
        args.output_dir = directory
        members = best.run_summary or ()  # Of Ray: they were trained in other processes.
        rows.append((kind, best, counted.steps + sum(member.metrics["step"] for member in members)))
    print(comparison(rows), *what_to_look_at(kinds, args), sep="\n")


def comparison(rows: Sequence[tuple[str, Any, int]]) -> str:
    """A table of what each kind of search has found."""
    lines = [f"{'search':10}  {'accuracy':>8}  {'steps':>6}  best hyperparameters"]
    for kind, best, steps in rows:
        found = ", ".join(f"{name}={value:.3g}" for name, value in best.hyperparameters.items())
        lines.append(f"{kind:10}  {best.objective:8.3f}  {steps:6}  {found} (trial {best.run_id})")
    return "\n".join(["", *lines, ""])


def what_to_look_at(kinds: Sequence[str], args: TFTrainingArguments) -> list[str]:
    """What the runs show."""
    if "wandb" not in args.report_to:
        return []
    return [
        f"In W&B, group the runs by their group ({', '.join(kinds)}): each group has a run for each trial. Look at",
        "- eval/accuracy of all runs: trials with the tag 'pruned' end early, which is what Bayesian search saves;",
        "- train/learning_rate of a population's runs: it changes where a member has taken over the checkpoint of",
        "  another one, which the column lineage of search/trials names;",
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
    with tell_errors("interrupted; the same command continues"):
        run(*parse(sys.argv[1:] if argv is None else argv))


if __name__ == "__main__":
    main()
