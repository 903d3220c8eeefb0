"""The model card of a training: ``README.md`` beside the model."""

from __future__ import annotations

import importlib.metadata
import logging
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from tf_hfwb.keras_compat import host_of, is_of_transformers
from tf_hfwb.trainer.arguments.training_arguments import TFTrainingArguments
from tf_hfwb.trainer.hyperparameters import hyperparameters

_logger = logging.getLogger("tf_hfwb")

_TAG = "generated_from_trainer"
_LOCAL_BUILDERS = ("csv", "json", "pandas", "parquet", "text", "generator", "arrow", "in_memory")


def card_text(
    model: Any,
    args: TFTrainingArguments,
    *,
    dataset: Any,
    log_history: Sequence[Mapping[str, Any]],
    is_own_optimizer: bool,
    run_link: str,
    described: Mapping[str, Any],
) -> str:
    """The text of a model card, with its metadata in front.

    Args:
        model: The model.
        args: The arguments of its training.
        dataset: What it was evaluated on, or else trained on.
        log_history: What was measured, as in ``trainer.state``.
        is_own_optimizer: Whether the user made the optimizer or the schedule.
        run_link: Where the run of the training is, in Markdown; empty without one.
        described: What the user says of the model, by the arguments of ``create_model_card``.

    Follows ``Trainer.create_model_card`` of transformers, whose ``TrainingSummary`` writes the text.
    """
    from transformers.modelcard import TrainingSummary, parse_log_history

    class Summary(TrainingSummary):  # type: ignore[misc]
        """Of either Keras, with or without transformers."""

        def create_metadata(self) -> dict[str, Any]:
            metadata: dict[str, Any] = super().create_metadata()
            if not is_of_transformers(model):
                metadata["library_name"] = host_of(model).package.replace("_", "-")
            return metadata

    _, lines, results = parse_log_history([dict(row) for row in log_history])
    summary = Summary(
        **{
            **_defaults(model, args, dataset),
            **{name: value for name, value in described.items() if value is not None},
        },
        eval_results=results,
        eval_lines=_with_same_columns(lines or []),
        hyperparameters=hyperparameters(host_of(model), args, is_own_optimizer=is_own_optimizer),
        source="keras",
    )
    if summary.dataset is None:
        summary.dataset = summary.dataset_tags
    versions = [f"- {name} {importlib.metadata.version(package)}" for name, package in _packages(model)]
    tracking = f"\n### Tracking\n\n{run_link}\n" if run_link else ""
    text: str = summary.to_model_card()
    return text.rstrip("\n") + "\n" + "\n".join(versions) + "\n" + tracking


def own_tags(tags: str | Sequence[str] | None, card: pathlib.Path) -> list[str]:
    """The user's tags, those that a card has already, and the one that says where it comes from.

    Args:
        tags: The user's.
        card: The card, which need not be there. Only where the user gives tags, they are added to its own.
    """
    if tags is None:
        return [_TAG]
    chosen = [tags] if isinstance(tags, str) else list(tags)
    return list(dict.fromkeys([*chosen, *_tags_in(card), _TAG]))


def _tags_in(card: pathlib.Path) -> list[str]:
    from huggingface_hub import ModelCard

    if not card.exists():
        return []
    try:
        return list(ModelCard.load(card).data.tags or [])
    except Exception as error:  # Of the parser of YAML, or of whatever the user has written there.
        _logger.warning(
            "The metadata of %s cannot be read (%s), so its tags are lost. Expected YAML between two lines of '---'.",
            card,
            type(error).__name__,
        )
        return []


def _defaults(model: Any, args: TFTrainingArguments, dataset: Any) -> dict[str, Any]:
    """What can be told without the user."""
    found: dict[str, Any] = {"model_name": pathlib.Path(args.output_dir).name, "tasks": _task(model)}
    origin = getattr(getattr(model, "config", None), "name_or_path", "")
    if origin and not os.path.isdir(origin):
        found["finetuned_from"] = origin
    builder = getattr(dataset, "builder_name", None)
    if builder is not None and builder not in _LOCAL_BUILDERS:
        found["dataset_tags"] = [builder]
        found["dataset_args"] = [dataset.config_name]
        found["dataset_metadata"] = [{"config": dataset.config_name, "split": str(dataset.split)}]
    return found


def _task(model: Any) -> str | None:
    """The task of a model of transformers, or of the one that it derives from."""
    from transformers.modelcard import TASK_MAPPING

    names = {base.__name__.removeprefix("TF") for base in type(model).__mro__ if is_of_transformers(model)}
    found = None
    for task, classes in TASK_MAPPING.items():
        for known in classes.values():
            if names.intersection([known] if isinstance(known, str) else known):
                found = task  # Of several the last one, as in transformers.
    return found


def _with_same_columns(lines: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows of a table; what was not measured in one of them is empty."""
    columns = dict.fromkeys(name for line in lines for name in line)
    return [{name: line.get(name, "") for name in columns} for line in lines]


def _packages(model: Any) -> list[tuple[str, str]]:
    own = ("tf_keras", "tf-keras") if host_of(model).package == "tf_keras" else ("Keras", "keras")
    return [own, ("tf_hfwb", "tf_hfwb")]
