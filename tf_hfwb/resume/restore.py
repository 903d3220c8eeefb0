"""``restore`` and ``load_model``: from a checkpoint back to a training that goes on, or to a model that is used."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

from tf_hfwb.checkpoint.manifest import LOOKS, step_of
from tf_hfwb.checkpoint.pending_writes import wait_for_writers
from tf_hfwb.checkpoint.store import Checkpoint, Rejected, Store
from tf_hfwb.errors import (
    ArtifactNotFoundError,
    CheckpointError,
    CorruptCheckpointError,
    NotACheckpointError,
    ServerError,
    SettingError,
    TFHFWBError,
    UnsafeModelError,
    WeightsError,
)
from tf_hfwb.keras_compat import host_of, is_model_class, load_archive, load_shards
from tf_hfwb.messages import inform
from tf_hfwb.models.pretrained import from_pretrained, remote_code_refused
from tf_hfwb.resume.resume_position import Position
from tf_hfwb.resume.trainer_state import FACTS, TrainerState
from tf_hfwb.resume.training_state import put_back
from tf_hfwb.tracking.artifact_logging import directory_of, own_directory
from tf_hfwb.tracking.artifact_names import looks_like_own_name, looks_like_reference
from tf_hfwb.validation.referenced_files import check_processing

_PROCESSING_FILES = {
    "AutoTokenizer": ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "vocab.json"),
    "AutoImageProcessor": ("preprocessor_config.json",),
}

_logger = logging.getLogger("tf_hfwb")


def restore(
    model: Any, source: str | os.PathLike[str] | bool = True, *, output_dir: str | os.PathLike[str] | None = None
) -> Position:
    """Go on with a training exactly where a checkpoint was taken: the model's next ``fit`` does so.

    Restores the weights, the optimizer with its schedule, the random generators, the metrics of the epoch and of the
    log, and attaches the same W&B run. All that belongs to the next ``fit`` that trains: ``evaluate`` and ``predict``
    before it, or one that fails before its first step, change nothing. Arrays (with ``shuffle=False``) and data of
    which Keras makes one pass an epoch begin at the right batch by themselves; a stream is yours to start, as in the
    example.

    Args:
        model: A model that is built and compiled as it was when the checkpoint was written.
        source: A checkpoint's directory; a directory with checkpoints in it, whose newest good one is taken; the name
            of an artifact, such as ``"checkpoint-my-run:best"``, which is downloaded from W&B if need be; or True for
            the newest one in ``output_dir``, else the one that the run (``WANDB_NAME`` or ``WANDB_RUN_ID``) has on
            W&B, where finding none means a fresh start.
        output_dir: Where the checkpoints are, for True.

    Returns:
        The position at which ``fit`` goes on; false when it is a fresh start.

    Raises:
        NotACheckpointError: There is no checkpoint at ``source``, or a model without the state of a training.
        CorruptCheckpointError: The checkpoint that was named is damaged. In a directory of several the newest good one
            is taken instead, with a warning, which also says when that may be of another training.
        DirectoryInUseError: Another process saves there, and removes each checkpoint before it can be read.
        ArtifactNotFoundError: There is no artifact of that name.
        ServerError: W&B cannot be asked for it, and it was not logged on this machine.
        StateMismatchError: It does not fit the model; nothing has been changed then.

    Example:
        >>> # position = restore(model, True, output_dir="out")     # the same command again goes on
        >>> # batches = training_batches(data, 32, model=model, start_step=position.batches)
        >>> # model.fit(batches.dataset, steps_per_epoch=batches.steps_per_epoch, epochs=3,
        >>> #           callbacks=[WandbMetricsLogger(100), WandbModelCheckpoint("out", save_freq=500)])
    """
    for _ in range(LOOKS):
        checkpoint = find_checkpoint(source, output_dir=output_dir)
        if checkpoint is None:
            return Position()
        try:
            return go_on(model, checkpoint)
        except CheckpointError as error:
            problem = error
            if checkpoint.is_there():
                break
            # Another process has removed it since it was found; nothing has been changed yet.
    raise problem


def go_on(model: Any, checkpoint: Checkpoint, position: Position | None = None) -> Position:
    """Do as :func:`restore` does, from a checkpoint that :func:`find_checkpoint` has found and verified.

    Args:
        model: See :func:`restore`.
        checkpoint: The checkpoint.
        position: Where the next fit begins, if that is not as the checkpoint says.
    """
    host = host_of(model)
    if not host.is_compiled:
        raise SettingError(
            "model",
            type(model).__name__,
            expected="a compiled model, whose optimizer the checkpoint restores",
            advice="Call model.compile(...) first, as when the checkpoint was written.",
        )
    host.build()
    if not model.built:
        raise SettingError(
            "model",
            type(model).__name__,
            expected="a built model, whose weights the checkpoint restores",
            advice="Call it once on a batch, or call model.build(input_shape), first.",
        )
    position = put_back(host, checkpoint, position)
    inform("Going on from %s: step %d, epoch %d.", checkpoint.path, position.step, position.epoch)
    return position


def find_checkpoint(
    source: str | os.PathLike[str] | bool,
    *,
    output_dir: str | os.PathLike[str] | None = None,
    run_name: str | None = None,
    is_tracked: bool = True,
) -> Checkpoint | None:
    """The verified checkpoint that ``source`` of :func:`restore` means; None for a fresh start.

    Args:
        source: See :func:`restore`.
        output_dir: See :func:`restore`.
        run_name: The run's name, for True.
        is_tracked: Whether the server may be asked for the run's own checkpoint, for True.
    """
    if source is True:
        if output_dir is None:
            raise SettingError("output_dir", None, expected="the directory of the checkpoints, with source=True")
        newest, rejected = _newest_good(pathlib.Path(output_dir))
        own = own_directory(run_name) if newest is None and is_tracked else None
        if rejected and newest is None:
            _logger.warning("Instead %s.", "a fresh start is made" if own is None else f"{own} is used")
        if own is None:
            return newest
        source = own
    if source is False or not isinstance(source, (str, os.PathLike)):
        raise SettingError("source", source, expected="True, a directory, or the name of an artifact")
    path = find_model(source)
    if path.is_dir() and not (path / "manifest.json").exists():
        found, rejected = _newest_good(path)
        if found is not None:
            return found
        if rejected:
            _logger.warning("Instead nothing is used.")
    checkpoint = Checkpoint.open(path)
    checkpoint.verify()
    if FACTS not in checkpoint.files:
        raise NotACheckpointError(
            errno.ENOENT,
            f"{source} is a model without the state of a training ({FACTS}). Expected a checkpoint, such as "
            f"'checkpoint-my-run:latest' or 'out/checkpoint-500'. Name one, or take the model for use with load_model.",
        )
    return checkpoint


# What the position in the data depends on.
_OF_DATA = ("train_batch_size", "train_dataset/num_samples", "dataloader_drop_last", "seed", "data_seed")


def warn_of_other_data(checkpoint: Checkpoint, arguments: Mapping[str, Any]) -> None:
    """Say it when training goes on with data in other batches, or in another order, than it had.

    Args:
        checkpoint: From which it goes on.
        arguments: What it is trained with now, as in ``trainer_state.json``.
    """
    before = TrainerState.read(checkpoint).arguments
    changed = [
        f"{name} was {before[name]} and is {arguments[name]}"
        for name in _OF_DATA
        if name in before and name in arguments and before[name] != arguments[name]
    ]
    if changed:
        _logger.warning(
            "Going on from %s with other data or in another order: %s. Its position in the data was counted with what "
            "it was, so some samples are trained on twice in this epoch and others not at all. Expected the same as "
            "then, for a training as if it had never been interrupted.",
            checkpoint.path,
            "; ".join(changed),
        )


def find_model(source: str | os.PathLike[str]) -> pathlib.Path:
    """The path itself, or where the artifact of that name lies on this machine, downloaded if need be."""
    wait_for_writers()
    path = pathlib.Path(source).expanduser()
    if not path.exists() and isinstance(source, str):
        if looks_like_reference(source):
            return pathlib.Path(directory_of(source))
        if looks_like_own_name(source):
            with contextlib.suppress(ArtifactNotFoundError, ServerError):  # Then it was meant as a path.
                return pathlib.Path(directory_of(source))
    return path


def _newest_good(directory: pathlib.Path) -> tuple[Checkpoint | None, list[Rejected]]:
    """The newest checkpoint that is whole, and what was passed over, of which everything has been said then."""
    checkpoint, rejected = Store(directory).newest_good()
    for one in rejected:
        _logger.warning("%s is not used: %s", one.path, one.reason)
    if rejected and checkpoint is not None:
        _logger.warning("Instead %s is used.", checkpoint.path)
        _warn_of_another_training(checkpoint, rejected)
    return checkpoint, rejected


def _warn_of_another_training(checkpoint: Checkpoint, rejected: Iterable[Rejected]) -> None:
    """Say it when those that were passed over may be of another training, which was to go on."""
    run, signs = _run_of(checkpoint), []
    for one in rejected:
        theirs = _run_of(one)
        if None not in (run, theirs) and run != theirs:
            signs.append(f"{one.path} is of the run {theirs}, and {checkpoint.path} of {run}")
        elif (step_of(one.path) or 0) < (checkpoint.step or 0):
            when = "may have been" if one.sequence is None else "was"
            signs.append(f"{one.path} {when} saved after {checkpoint.path}, though its step is smaller")
    if signs:
        _logger.warning(
            "Another training may go on than the one that saved last: %s. Expected its newest checkpoint to be whole. "
            "If %s is not the one that is meant, stop here: put back a whole copy of the newest one, name the "
            "checkpoint to go on from, or begin anew in another directory.",
            "; ".join(signs),
            checkpoint.path,
        )


def _run_of(found: Checkpoint | Rejected) -> str | None:
    """The id of the W&B run that wrote a checkpoint, as far as that can be read of it."""
    try:
        run = Checkpoint.described(found.path).read_json(FACTS)["run"]["id"]
    except (CheckpointError, KeyError, TypeError):
        return None
    return run if isinstance(run, str) else None


def load_model(source: str | os.PathLike[str], *, safe_mode: bool = True, **options: Any) -> Any:
    """Load a model for use from an artifact's name or a directory; training goes on with :func:`restore` instead.

    The source may be a stranger's: no code of its own is run, and no files are read but its own.

    Args:
        source: The name of an artifact, such as ``"model-my-run:best"``, a checkpoint's directory, or a directory that
            ``save_model`` or transformers' ``save_pretrained`` wrote.
        safe_mode: Whether a plain Keras model may be made only of Keras's own layers and functions, of registered ones
            and of ``custom_objects``. False loads whatever it names, and runs its lambdas: for a source you trust.
        **options: For transformers' ``from_pretrained``, or Keras's ``load_model`` (``custom_objects``, ``compile``).

    Returns:
        The model: of the class that wrote it, for transformers; for plain Keras models of the Keras that wrote it.

    Raises:
        NotACheckpointError: There is no model at ``source``.
        CorruptCheckpointError: The directory's files are not those that were written, or cannot be read.
        UnsafeModelError: It could run code or read other files.
        WeightsError: Weights are missing, or do not fit the configuration; or Keras cannot build the model.
        SettingError: An option is not for a model of that kind.
        ArtifactNotFoundError: There is no artifact of that name.
        ServerError: W&B cannot be asked for it, and it was not logged on this machine.

    Example:
        >>> # model = load_model("model-my-run:best")
    """
    path = find_model(source)
    if (path / "manifest.json").exists():
        Checkpoint.open(path).verify()
    archive = path / "model.keras" if path.is_dir() else path
    if archive.is_file() and archive.suffix == ".keras":
        return load_archive(archive, safe_mode=safe_mode, **_of_keras(options))
    if (path / "model.weights.json").is_file():
        return load_shards(path, safe_mode=safe_mode, **_of_keras(options))
    if not (path / "config.json").is_file():
        raise _other_format(path) or _no_model(path)
    if not safe_mode:
        raise SettingError(
            "safe_mode",
            safe_mode,
            expected="True for a model of transformers, whose configuration names no code",
            advice="Leave it out.",
        )
    if "custom_objects" in options:
        raise SettingError(
            "custom_objects",
            options["custom_objects"],
            expected="nothing for a model of transformers, whose class is one of transformers' own",
            advice="Leave it out.",
        )
    return _load_whole(path, options)


def _of_keras(options: dict[str, Any]) -> dict[str, Any]:
    for name, value in options.items():
        if name not in ("custom_objects", "compile"):
            raise SettingError(
                name,
                value,
                expected="for a plain Keras model custom_objects, compile and safe_mode alone",
                advice="Leave it out: it is for models of transformers.",
            )
    return options


def _load_whole(path: pathlib.Path, options: Mapping[str, Any]) -> Any:
    """A TF model of transformers of the class that wrote it, all of whose weights are there.

    Raises:
        WeightsError: Some are missing, which would be random.
    """
    wants_info = options.get("output_loading_info", False)
    model_class = _class_of(path)
    try:
        check_processing(path)
        model, info = from_pretrained(model_class, path, **{**options, "output_loading_info": True})
    except TFHFWBError:
        raise
    except Exception as error:  # A configuration can say anything, and transformers and Keras fail anyhow.
        raise WeightsError(
            f"{model_class.__name__} cannot be made of {path}: {type(error).__name__}: {_in_a_line(error)}. Expected a "
            "configuration and weights as save_pretrained writes them. Save the model there again."
        ) from error
    # Of tf_model.h5, layers without weights count as missing, too: their numbers are others in each process.
    layers = {layer.name: layer for layer in model.layers}
    missing = sorted(name for name in info["missing_keys"] if name not in layers or layers[name].weights)
    if missing:
        listed = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        raise WeightsError(
            f"Weights of {type(model).__name__} are not in {path}: {listed}. Expected all of them, as the rest would "
            f"be random. Save the model again; or load it with from_pretrained({type(model).__name__}, {str(path)!r}) "
            "and train it."
        )
    return (model, info) if wants_info else model


# What holds a model, and could run code as it is loaded; with how it is loaded by whoever trusts it.
_OTHER_FORMATS = {
    (".h5", ".hdf5"): (
        "a whole model in HDF5, the format of Keras before model.keras, may have Python bytecode in it",
        "keras.models.load_model(FILE) or tf_keras.models.load_model(FILE)",
    ),
    ("saved_model.pb",): (
        "a SavedModel is a program, which can read and write files when it runs",
        "tf.saved_model.load(DIRECTORY)",
    ),
    (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib"): (
        "a pickle runs code as it is read",
        "the library that wrote it, or from_pretrained(CLASS, DIRECTORY, from_pt=True) for weights of PyTorch",
    ),
}


def _other_format(path: pathlib.Path) -> UnsafeModelError | None:
    """What to raise for a model in a format that can run code; None if there is none."""
    names = [file.name for file in path.iterdir()] if path.is_dir() else [path.name] if path.is_file() else []
    for endings, (why, how) in _OTHER_FORMATS.items():
        found = [name for name in names if name.endswith(endings) and not name.endswith(".weights.h5")]
        if found:
            return UnsafeModelError(
                f"{path} is not loaded: {found[0]} could run code, as {why}. Expected model.keras, or config.json with "
                f"model.safetensors. If you trust whoever made it, load it with {how}, and save it with "
                "model.save('model.keras') or save_pretrained(DIRECTORY)."
            )
    return None


def _no_model(path: pathlib.Path) -> NotACheckpointError:
    checkpoints = Store(path).checkpoints() if path.is_dir() else []
    if checkpoints:
        advice = f"It holds checkpoints: name one of them. The newest is {checkpoints[-1].path}."
    elif path.is_file():
        advice = "It is a file of another kind: a whole model of Keras's own is one whose name ends in .keras."
    elif path.is_dir():
        advice = f"Files there: {', '.join(sorted(p.name for p in path.iterdir())) or 'none'}."
    else:
        advice = (
            "There is no such directory. The name of an artifact has an alias, as in model-my-run:latest; a model of "
            "the hub is loaded with from_pretrained(...) first, and saved with save_pretrained(DIRECTORY)."
        )
    return NotACheckpointError(
        f"{path} holds no model. Expected the name of an artifact, or a directory with config.json and "
        f"model.safetensors, or with model.keras. {advice}"
    )


def load_processing(source: str | os.PathLike[str], *, trust_remote_code: bool = False) -> Any:
    """The tokenizer or image processor that lies beside a model; None if there is none.

    Args:
        source: As in :func:`load_model`.
        trust_remote_code: Run code that comes with it (``auto_map``). Nobody is asked.

    Raises:
        UnsafeModelError: It is code that comes with it, or is to open files that do not lie beside it.
        CorruptCheckpointError: Its files cannot be read.
        ArtifactNotFoundError: There is no artifact of that name.
        ServerError: W&B cannot be asked for it, and it was not logged on this machine.
    """
    import transformers

    path = find_model(source)
    for name, files in _PROCESSING_FILES.items():
        there = [file for file in files if (path / file).is_file()]
        if not there:
            continue
        try:
            check_processing(path)
            return getattr(transformers, name).from_pretrained(path, trust_remote_code=trust_remote_code)
        except TFHFWBError:
            raise
        except Exception as error:  # Of any kind: JSON's, of the tokenizers library, of transformers.
            refused = remote_code_refused(str(path), error)
            if refused is not None:
                raise refused from error
            raise CorruptCheckpointError(
                f"{name} cannot read {', '.join(there)} in {path}: {type(error).__name__}: {_in_a_line(error)}. "
                "Expected files as save_pretrained writes them. Save them there again; to go without, remove them."
            ) from error
    return None


def _class_of(path: pathlib.Path) -> Any:
    import transformers

    try:
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
        names, auto_map = config.get("architectures") or [], config.get("auto_map")
    except (ValueError, AttributeError, RecursionError) as error:
        raise CorruptCheckpointError(
            f"{path / 'config.json'} is no configuration of a model: {_in_a_line(error)}. Expected a JSON object, as "
            "save_pretrained writes it. Save the model there again, or use another checkpoint."
        ) from error
    first = names[0] if isinstance(names, list) and names else None
    found = getattr(transformers, f"TF{first}", None) if isinstance(first, str) else None
    if is_model_class(found):
        return found
    if auto_map:
        raise UnsafeModelError(
            f"{path} is not loaded: its class {first} is code that comes with it (auto_map). Expected a TF class of "
            "transformers. If you trust whoever made it, from_pretrained(TFAutoModelFor..., "
            f"{str(path)!r}, trust_remote_code=True) runs that code."
        )
    raise NotACheckpointError(
        f"{path / 'config.json'} names the architecture {names}, of which transformers has no TF class. "
        f"Expected one of its own. Load it with from_pretrained(YourClass, {str(path)!r})."
    )


def _in_a_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
