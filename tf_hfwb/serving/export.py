"""``export_for_serving``: a model as TensorFlow Serving runs it."""

from __future__ import annotations

import functools
import logging
import os
import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

from tf_hfwb.errors import ExportError, SettingError, TFHFWBError
from tf_hfwb.keras_compat import check_exportable, is_of_transformers, may_refuse_open_axes, prepares_inputs
from tf_hfwb.messages import inform
from tf_hfwb.serving.export_check import TOLERANCE, checker
from tf_hfwb.serving.export_source import load_source
from tf_hfwb.serving.images_in_graph import PicturesInGraph
from tf_hfwb.serving.keras_servable import PlainServable
from tf_hfwb.serving.processing_in_graph import processing_for
from tf_hfwb.serving.task_servable import TaskServable
from tf_hfwb.serving.tokenizers.texts_in_graph import TextsInGraph
from tf_hfwb.serving.tokenizers.tokenizer_agreement import check_agreement
from tf_hfwb.serving.transformers_servable import Servable
from tf_hfwb.serving.version_folders import check_version, new_version
from tf_hfwb.serving.warmup import write_warmup
from tf_hfwb.settings import Settings
from tf_hfwb.tracking import open_tracker
from tf_hfwb.tracking.artifact_logging import log_directory
from tf_hfwb.tracking.artifact_names import check_alias, check_artifact_name
from tf_hfwb.tracking.registry import link_logged, registry_path
from tf_hfwb.tracking.wandb_server import record_pending_uses
from tf_hfwb.validation.argument_checks import check_whole_number
from tf_hfwb.validation.installed_packages import check_packages

_logger = logging.getLogger("tf_hfwb")


def export_for_serving(
    model_or_artifact_or_dir: Any,
    directory: str | os.PathLike[str],
    *,
    processing_class: Any = None,
    version: int | None = None,
    max_length: int | None = None,
    max_new_tokens: int | None = None,
    sample_texts: Sequence[str] = (),
    accept_tokenizer_differences: bool = False,
    safe_mode: bool = True,
    custom_objects: Mapping[str, Any] | None = None,
    artifact_name: str | None = None,
    aliases: Sequence[str] = (),
    link_to_registry: str | None = None,
) -> pathlib.Path:
    """Write ``directory/version``, a SavedModel for TensorFlow Serving, whole or not at all.

    It takes texts, with the tokenizer in it (``text``, and ``text_pairs`` takes two), or ids (``token_ids``); or
    pictures, as files (``image_bytes``) or as ``pixel_values``. A classifier answers with ``label``, ``score``,
    ``probabilities`` in the order of ``assets/labels.txt`` and ``logits``. A model that generates has ``generate``,
    greedy, from ids to ``output_ids``, and ``generate_text`` with the tokenizers of GPT-2, T5 and their like.
    ``serving_default`` is the first there is of ``generate_text``, ``text``, ``image_bytes``, ``token_ids``.

    Batches are of any size and length, and it computes in float32. Before it is published, a process with TensorFlow
    alone loads it and must give what the model gives here. Plain models of Keras 3 and tf_keras are written by their
    own ``export`` and checked and published in the same way. A task of KerasHub with its preprocessor takes what its
    ``predict`` takes (``text``, ``text_pairs``, ``images``), or ``prepared`` inputs; whoever loads it in Python imports
    ``tensorflow_text`` before.

    The tokenizers of BERT (WordPiece), of GPT-2 and RoBERTa (byte-level BPE) and of T5, ALBERT and XLM-R (Unigram) can
    be built of TensorFlow's operations; with another one the SavedModel takes ids only, and a line says so.

    Args:
        model_or_artifact_or_dir: A TF model of transformers, or a plain Keras model; the name of an artifact, such as
            ``"model-my-run:best"``; or a directory, of a checkpoint or of ``save_pretrained``.
        directory: What TensorFlow Serving watches; made if it is not there.
        processing_class: The tokenizer or image processor; that of the directory or artifact when None.
        version: The version's number; the next free one when None.
        max_length: The most ids that a text, or a pair, is cut to; what the tokenizer and the model allow when None.
            Of a plain Keras model on JAX the length of all sequences, where JAX cannot leave it open.
        max_new_tokens: The most tokens that ``generate`` adds; what the model's generation config says, else 20 (fewer
            in a model with few positions), when None; 0 to leave it out, which makes an export faster. What
            transformers cannot do in a graph, as ``no_repeat_ngram_size``, leaves it out, too, and a line says so.
        sample_texts: Texts of yours, for which the ids of the tokenizer and of the graph are compared, too.
        accept_tokenizer_differences: Publish although they differ for some text. Without it that is an error.
        safe_mode: False loads a plain Keras model with whatever it names, and runs its lambdas: for a source you trust.
        custom_objects: Classes and functions by the names that a plain Keras model in the directory has for them.
        artifact_name: Log the version as the artifact ``servable-{artifact_name}``, made from the one that the model
            came from, in the run that is open or a new one. The version's directory must stay until it is uploaded.
        aliases: Aliases of that artifact's version, besides ``latest``.
        link_to_registry: A collection of the model registry into which that artifact is put. Needs an online run.

    Returns:
        The version's directory.

    Raises:
        MissingPackageError: TensorFlow is not installed.
        ExportError: The model cannot be exported, answers differ, or ids differ. Nothing is left in ``directory``.
        SettingError: An argument cannot be used, as a version that exists.
        NotAKerasModelError: The model is none of Keras.
        NotACheckpointError: There is no model in the directory.
        CorruptCheckpointError: The directory's files are not those that were written, or cannot be read.
        UnsafeModelError: The model could run code or read other files.
        WeightsError: Weights are missing, or do not fit the configuration.
        ArtifactNotFoundError: There is no artifact of that name.

    Example:
        >>> import tempfile
        >>> import keras
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> directory = tempfile.TemporaryDirectory()
        >>> export_for_serving(model, directory.name).name
        '1'
        >>> directory.cleanup()
    """
    started = time.monotonic()
    check_exportable(model_or_artifact_or_dir)
    check_packages("export_for_serving", "tensorflow", extra="tf_hfwb[tensorflow]")
    _check_texts(sample_texts)
    directory = pathlib.Path(directory).expanduser()
    check_version(directory, version)
    _check_artifact(artifact_name, aliases, link_to_registry)
    max_length, max_new_tokens = _check_lengths(max_length, max_new_tokens)
    with checker() as other_process:
        model, tokenizer = load_source(
            model_or_artifact_or_dir, processing_class, safe_mode=safe_mode, custom_objects=custom_objects
        )
        _check_options(model, processing_class, max_length=max_length, sample_texts=sample_texts)
        processing = None
        if is_of_transformers(model):
            processing = processing_for(model, tokenizer, max_length)
        if isinstance(processing, TextsInGraph):
            check_agreement(processing, tokenizer, sample_texts, is_accepted=accept_tokenizer_differences)
        with new_version(directory, version) as draft:
            lengths = max_length, max_new_tokens
            servable = _save(model, processing, tokenizer, lengths, draft.path, directory.resolve().name)
            needs_text = isinstance(servable, TaskServable) and servable.needs_text_operations
            difference = other_process.check(draft.path, servable.examples, text_operations=needs_text)
    _tell(model, draft.published, servable, difference, time.monotonic() - started, needs_text=needs_text)
    if artifact_name is not None:
        _log(draft.published, f"servable-{artifact_name}", aliases, link_to_registry, model_or_artifact_or_dir)
    return draft.published


def _tell(
    model: Any,
    published: pathlib.Path,
    servable: PlainServable | Servable | TaskServable,
    difference: float,
    seconds: float,
    *,
    needs_text: bool,
) -> None:
    text_operations = "and tensorflow-text (`import tensorflow_text` before loading it; TensorFlow Serving has it)"
    inform(
        "%s is at %s, with the signatures %s. In a process of its own with TensorFlow %s it gives what the Python "
        "model gives: %d requests, largest difference %.1e (at most %.0e is accepted). This took %.1f s.",
        type(model).__name__,
        published,
        ", ".join(servable.signatures),
        text_operations if needs_text else "alone",
        len(servable.examples),
        difference,
        TOLERANCE,
        seconds,
    )


def _check_lengths(max_length: Any, max_new_tokens: Any) -> tuple[int | None, ...]:
    return tuple(
        None
        if value is None
        else check_whole_number(name, value, minimum=minimum, expected=f"a whole number from {minimum}, or None")
        for name, value, minimum in (("max_length", max_length, 1), ("max_new_tokens", max_new_tokens, 0))
    )


def _save(
    model: Any,
    processing: TextsInGraph | PicturesInGraph | None,
    tokenizer: Any,
    lengths: tuple[int | None, int | None],
    path: pathlib.Path,
    served_name: str,
) -> PlainServable | Servable | TaskServable:
    """Write the SavedModel of a model, with warm-up requests.

    Args:
        model: The model.
        processing: Its tokenizer or image processor, in the graph.
        tokenizer: The tokenizer itself.
        lengths: ``max_length`` and ``max_new_tokens``, as in :func:`export_for_serving`.
        path: The directory of the SavedModel.
        served_name: The name by which a server knows the model.

    Raises:
        MissingPackageError: TensorFlow is not installed.
        ExportError: The model cannot be exported.
    """
    try:
        servable: PlainServable | Servable | TaskServable
        if is_of_transformers(model):
            servable = Servable(model, processing, tokenizer, lengths[1])
        elif prepares_inputs(model):
            servable = TaskServable(model)
        else:
            servable = PlainServable(model, lengths[0])
        servable.save(path)
        _write_warmup(path, served_name, servable)
    except TFHFWBError:
        raise
    except Exception as error:  # Of TensorFlow, or the model's own code.
        raise ExportError(
            f"{type(model).__name__} cannot be exported: {type(error).__name__}: {error}. Expected a model "
            "that a tf.function can run on batches of any size. Nothing was published."
        ) from error
    return servable


def _write_warmup(path: pathlib.Path, served_name: str, servable: Servable | PlainServable | TaskServable) -> None:
    try:
        write_warmup(path, served_name, servable.examples)
    except ImportError:
        _logger.warning("There are no warm-up requests, for which tensorflow-serving-api is missing: tf_hfwb[serving].")


def _log(path: pathlib.Path, name: str, aliases: Sequence[str], collection: str | None, source: Any) -> None:
    """Log a version as an artifact, and put it into a collection of the registry."""
    tracker = open_tracker(Settings.resolve(), name=name)
    record_pending_uses(tracker)  # The lineage: the artifact that the model came from.
    metadata = {"version": int(path.name), "source": str(source) if isinstance(source, (str, os.PathLike)) else None}
    then = None
    if collection is not None:
        then = functools.partial(link_logged, name=f"{name}:{next(iter(aliases), 'latest')}", collection=collection)
    log_directory(tracker, path, name=name, aliases=aliases, metadata=metadata, then=then)


def _check_artifact(artifact_name: str | None, aliases: Sequence[str], link_to_registry: str | None) -> None:
    """Refuse names that W&B would refuse after the export, and what is only for an artifact where there is none."""
    if isinstance(aliases, str):
        raise SettingError("aliases", aliases, expected="a list", advice="Write [alias] for a single one.")
    for alias in aliases:
        check_alias(alias)
    if artifact_name is not None:
        check_artifact_name(f"servable-{artifact_name}")
    elif aliases:
        raise SettingError(
            "aliases",
            list(aliases),
            expected="none without an artifact",
            advice="Pass artifact_name too: they are its own.",
        )
    if link_to_registry is None:
        return
    registry_path(link_to_registry)
    if artifact_name is None:
        raise SettingError(
            "link_to_registry",
            link_to_registry,
            expected="None without an artifact",
            advice="Pass artifact_name too: the registry holds artifacts.",
        )


def _check_texts(texts: Any) -> None:
    if isinstance(texts, (str, bytes)) or not all(isinstance(text, str) for text in texts):
        raise SettingError("sample_texts", texts, expected="a list of texts", advice="Write [text] for a single one.")


def _check_options(model: Any, processing_class: Any, **text_options: Any) -> None:
    """Refuse options that have no meaning for the model."""
    is_plain = not is_of_transformers(model)
    if may_refuse_open_axes(model) and not prepares_inputs(model):
        text_options.pop("max_length")
    if is_plain or model.main_input_name != "input_ids":
        for name, value in text_options.items():
            if value:
                raise SettingError(
                    name,
                    value,
                    expected=f"nothing for {type(model).__name__}, which is no model of transformers that takes texts",
                    advice="Leave it out.",
                )
    if is_plain and processing_class is not None:
        raise SettingError(
            "processing_class",
            type(processing_class).__name__,
            expected="None with a plain Keras model, whose graph is exported as it is",
            advice="Put the preparation into the model, as a layer such as TextVectorization.",
        )
