"""``export_for_serving``: a model as TensorFlow Serving runs it."""

from __future__ import annotations

import logging
import os
import pathlib
import time
from collections.abc import Sequence
from typing import Any

from tf_hfwb.errors import ExportError, SettingError, TFHFWBError
from tf_hfwb.serving.agreement import agreement
from tf_hfwb.serving.check import TOLERANCE, checker
from tf_hfwb.serving.signatures import Servable
from tf_hfwb.serving.source import is_of_transformers, load_source
from tf_hfwb.serving.texts import TextsInGraph, UnsupportedTokenizerError
from tf_hfwb.serving.versions import check_version, new_version

_logger = logging.getLogger("tf_hfwb")

_UNLIMITED = 10**9  # Tokenizers without a limit say a very large number.


def export_for_serving(
    model_or_artifact_or_dir: Any,
    directory: str | os.PathLike[str],
    *,
    processing_class: Any = None,
    version: int | None = None,
    max_length: int | None = None,
    sample_texts: Sequence[str] = (),
    accept_tokenizer_differences: bool = False,
) -> pathlib.Path:
    """Write ``directory/version``, a SavedModel for TensorFlow Serving, whole or not at all.

    It takes texts, with the tokenizer in it (``serving_default`` is ``text``, and ``text_pairs`` takes two), or ids
    (``token_ids``); or ``pixel_values``. A classifier answers with ``label``, ``score``, ``probabilities`` in the order
    of ``assets/labels.txt`` and ``logits``. Batches are of any size and length, and it computes in float32. Before it
    is published, a process with TensorFlow alone loads it and must give what the model gives here.

    The tokenizers of BERT (WordPiece) and of GPT-2 and RoBERTa (byte-level BPE) can be built of TensorFlow's
    operations; with another one the SavedModel takes ids only, and a line says so.

    Args:
        model_or_artifact_or_dir: A TF model of transformers; the name of an artifact, such as ``"model-my-run:best"``;
            or a directory, of a checkpoint or of ``save_pretrained``.
        directory: What TensorFlow Serving watches; made if it is not there.
        processing_class: The tokenizer; that of the directory or artifact when None.
        version: The version's number; the next free one when None.
        max_length: The most ids that a text, or a pair, is cut to; what the tokenizer and the model allow when None.
        sample_texts: Texts of yours, for which the ids of the tokenizer and of the graph are compared, too.
        accept_tokenizer_differences: Publish although they differ for some text. Without it that is an error.

    Returns:
        The version's directory.

    Raises:
        ExportError: The model cannot be exported, answers differ, or ids differ. Nothing is left in ``directory``.
        SettingError: An argument cannot be used, as a version that exists.
        NotAKerasModelError: The model is none of Keras.
        NotACheckpointError: There is no model in the directory.
        CorruptCheckpointError: The directory's files are not those that were written.
        ArtifactNotFoundError: There is no artifact of that name.

    Example:
        >>> # export_for_serving("model-my-run:best", "servables/my-model")
    """
    started = time.monotonic()
    directory = pathlib.Path(directory).expanduser()
    check_version(directory, version)
    with checker() as other_process:
        model, tokenizer = load_source(model_or_artifact_or_dir, processing_class)
        if not is_of_transformers(model):
            raise SettingError("model", type(model).__name__, expected="a TF model of transformers")
        texts = _texts(model, tokenizer, max_length)
        if texts is not None:
            agreement(texts, tokenizer, sample_texts, is_accepted=accept_tokenizer_differences)
        with new_version(directory, version) as draft:
            try:
                servable = Servable(model, texts, tokenizer)
                servable.save(draft.path)
            except TFHFWBError:
                raise
            except Exception as error:  # Of TensorFlow, or the model's own code.
                raise ExportError(
                    f"{type(model).__name__} cannot be exported: {type(error).__name__}: {error}. Expected a model "
                    "that a tf.function can run on batches of any size. Nothing was published."
                ) from error
            difference = other_process.check(draft.path, servable.examples)
    _logger.warning(
        "%s is at %s, with the signatures %s. In a process of its own with TensorFlow alone it gives what the Python "
        "model gives: %d requests, largest difference %.1e (at most %.0e is accepted). This took %.1f s.",
        type(model).__name__,
        draft.published,
        ", ".join(servable.signatures),
        len(servable.examples),
        difference,
        TOLERANCE,
        time.monotonic() - started,
    )
    return draft.published


def _texts(model: Any, tokenizer: Any, max_length: int | None) -> TextsInGraph | None:
    """The tokenizer in the graph; None, said in a line, where the SavedModel can take ids only."""
    if max_length is not None and (isinstance(max_length, bool) or not isinstance(max_length, int) or max_length < 1):
        raise SettingError("max_length", max_length, expected="a whole number from 1, or None")
    longest = _longest(model, tokenizer)
    if max_length is not None and longest is not None and max_length > longest:
        raise SettingError("max_length", max_length, expected=f"at most {longest}, which the model has positions for")
    if model.main_input_name != "input_ids":
        return None
    if tokenizer is None:
        _logger.warning("There is no tokenizer, so the SavedModel takes token ids and no texts. Pass processing_class.")
        return None
    try:
        return TextsInGraph(tokenizer, max_length or longest)
    except UnsupportedTokenizerError as error:
        _logger.warning("The tokenizer cannot be in the graph: %s. The SavedModel takes token ids and no texts.", error)
        return None


def _longest(model: Any, tokenizer: Any) -> int | None:
    """The most ids that the tokenizer and the model allow; None for no limit."""
    limits = [getattr(tokenizer, "model_max_length", None) or _UNLIMITED]
    positions = getattr(model.config, "max_position_embeddings", None)
    if positions:
        # RoBERTa and its kin count positions from behind the padding token's id.
        is_shifted = any("roberta" in cls.__module__ for cls in type(model).__mro__)
        limits.append(positions - (model.config.pad_token_id + 1 if is_shifted else 0))
    longest = min(limits)
    return None if longest >= _UNLIMITED else int(longest)
