"""Load pretrained weights, whatever their format, into a TensorFlow model of transformers.

transformers 4.57 reads TensorFlow weights but fails on PyTorch-format safetensors, which is what the hub mostly holds
(``'builtins.safe_open' object is not iterable``, transformers issue 40028). Those files are read here; all others are
left to transformers.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from tf_hfwb.errors import CorruptCheckpointError, SettingError, UnsafeModelError, WeightsError
from tf_hfwb.keras_compat import is_model_class
from tf_hfwb.keras_compat.safe_loading.hdf5_safety import check_hdf5
from tf_hfwb.validation.referenced_files import shards_of

# The arguments of transformers that say where to look for a file.
HUB_ARGUMENTS = ("cache_dir", "force_download", "local_files_only", "proxies", "revision", "subfolder", "token")
DTYPE_ARGUMENTS = ("dtype", "torch_dtype")

# An input embedding, and the tensors that PyTorch models tie to it: heads (when the configuration says so) and the
# embeddings of an encoder and a decoder that share theirs.
INPUT_EMBEDDING = re.compile(r"(\w+\.)?(shared|wte|embeddings\.word_embeddings)\.weight")
TIED_HEAD = re.compile(r"(lm_head|lm_head\.decoder|cls\.predictions\.decoder)\.weight")
SHARED_EMBEDDING = re.compile(r"(\w+\.)?(encoder|decoder)\.embed_tokens\.weight")


def from_pretrained(
    model_class: type[Any], pretrained_model_name_or_path: str | os.PathLike[str], *model_args: Any, **kwargs: Any
) -> Any:
    """Load a pretrained TensorFlow model from a directory or from the Hugging Face hub.

    A drop-in for ``model_class.from_pretrained(...)`` that also loads PyTorch-format safetensors, in one file or in
    shards, without PyTorch. Tensors are read one at a time and cast to the dtype of the model's own weights. Where
    several formats are at hand, safetensors are taken first, as transformers does, and also with ``from_pt=True``.

    Example:
        >>> import tempfile
        >>> from transformers import BertConfig, TFAutoModelForSequenceClassification, TFBertModel
        >>> model = from_pretrained(
        ...     TFAutoModelForSequenceClassification, "bert-base-uncased", num_labels=3
        ... )  # doctest: +SKIP

        >>> base = TFBertModel(BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=1))
        >>> base.build_in_name_scope()
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     base.save_pretrained(directory, safe_serialization=True)
        ...     model = from_pretrained(TFAutoModelForSequenceClassification, directory, num_labels=3)
        >>> type(model).__name__, model.config.num_labels
        ('TFBertForSequenceClassification', 3)

    Args:
        model_class: A ``TFAutoModelFor...`` class, or a concrete one such as ``TFBertForSequenceClassification``.
        pretrained_model_name_or_path: A directory, a model's name on the hub, or, together with ``config``, a file of
            weights.
        *model_args: Passed to the model's constructor.
        **kwargs: As in transformers: ``config``; ``cache_dir``, ``force_download``, ``local_files_only``, ``proxies``,
            ``revision``, ``subfolder`` and ``token`` say where to look; ``use_safetensors``, ``from_pt``,
            ``ignore_mismatched_sizes``, ``output_loading_info``, ``tf_to_pt_weight_rename`` and ``trust_remote_code``
            (nobody is asked: code that comes with a model is run with True alone). With ``from_pt=True`` a
            ``pytorch_model.bin`` is read, which PyTorch unpickles with nothing but tensors allowed.
            ``dtype`` is noted in the configuration and does not change the weights, whose dtype is up to Keras. What
            remains (``num_labels``, ``id2label``...) overrides the configuration, or goes to the model's constructor
            (``name``) when it is not in the configuration or ``config`` is a configuration object.

    Returns:
        The model; with ``output_loading_info=True`` the model and a dict of ``missing_keys``, ``unexpected_keys`` and
        ``mismatched_keys``.

    Raises:
        SettingError: ``model_class`` is not a TensorFlow class, or has no model of the checkpoint's type.
        UnsafeModelError: The model's class is code that comes with it, and ``trust_remote_code`` is not True.
        WeightsError: The configuration or the weights cannot be found or read, or do not fit the model; or the weights
            are in other files than the model's.

    Follows ``TFPreTrainedModel.from_pretrained`` (transformers/modeling_tf_utils.py) and
    ``_BaseAutoModelClass.from_pretrained`` (transformers/models/auto/auto_factory.py) of transformers 4.57.
    """
    _check_model_class(model_class)
    name = os.fspath(pretrained_model_name_or_path)
    rest = dict(kwargs)
    hub = {key: rest.pop(key) for key in HUB_ARGUMENTS if key in rest}
    config = rest.pop("config", None)
    from_pt = rest.pop("from_pt", False)
    use_safetensors = rest.pop("use_safetensors", None)
    ignore_mismatched_sizes = rest.pop("ignore_mismatched_sizes", False)
    output_loading_info = rest.pop("output_loading_info", False)
    rename = rest.pop("tf_to_pt_weight_rename", None)
    trust_remote_code = bool(rest.pop("trust_remote_code", False))  # None would ask on the terminal.

    config, model_kwargs = _load_config(model_class, name, config, hub, rest, trust_remote_code)
    if trust_remote_code and model_class.__name__ in (getattr(config, "auto_map", None) or {}):
        # The class is code in the checkpoint's repository, which transformers fetches, registers and runs.
        return model_class.from_pretrained(name, *model_args, **kwargs)
    concrete_class = _concrete_class(model_class, config)

    files = [] if use_safetensors is False else _safetensors_files(name, hub, config)
    with ExitStack() as stack:
        shards = [stack.enter_context(_open_safetensors(file)) for file in files]
        if shards and _in_pytorch_format(shards):
            config.name_or_path = name
            model = concrete_class(config, *model_args, **model_kwargs)
            loading_info = _load_pytorch_weights(model, LazyTensors(shards), rename)
            layout = "PyTorch"
        else:
            if not (files or from_pt):
                _check_tensorflow_weights(name, hub, config)
            model, loading_info = _load_with_transformers(
                concrete_class,
                _source(name, hub.get("subfolder"), [] if from_pt else files),
                *model_args,
                config=config,
                from_pt=from_pt,
                use_safetensors=use_safetensors,
                ignore_mismatched_sizes=True,  # They are collected, and raised below with all their names.
                tf_to_pt_weight_rename=rename,
                **hub,
                **model_kwargs,
            )
            model.config.name_or_path = model.name_or_path = name
            layout = "PyTorch" if from_pt else "TensorFlow"
        if loading_info["mismatched_keys"] and not ignore_mismatched_sizes:
            raise _shapes_differ(name, model, loading_info["mismatched_keys"], layout)

    if model.can_generate():
        _load_generation_config(model, name, hub, rest)
    return (model, loading_info) if output_loading_info else model


class LazyTensors(Mapping[str, Any]):
    """The tensors of all shards by name, each read from its file when it is asked for."""

    def __init__(self, shards: Sequence[Any]):
        self._shard_of = {name: shard for shard in shards for name in shard.keys()}  # noqa: SIM118 - not a mapping

    def __getitem__(self, name: str) -> Any:
        return self._shard_of[name].get_tensor(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._shard_of)

    def __len__(self) -> int:
        return len(self._shard_of)


def _check_model_class(model_class: Any) -> None:
    if is_model_class(model_class):
        return
    if isinstance(model_class, type) and _is_auto_class(model_class) and model_class.__name__.startswith("TF"):
        return
    raise SettingError(
        "model_class",
        model_class,
        expected="a TensorFlow class of transformers, such as TFAutoModel or TFBertForSequenceClassification",
        advice="Pass the class itself; where a PyTorch class has a TensorFlow twin, its name starts with TF.",
    )


def _is_auto_class(model_class: type) -> bool:
    from transformers.models.auto.auto_factory import _BaseAutoModelClass

    return issubclass(model_class, _BaseAutoModelClass)


def _load_config(
    model_class: type[Any],
    name: str,
    config: Any,
    hub: Mapping[str, Any],
    overrides: Mapping[str, Any],
    trust_remote_code: bool,
) -> tuple[Any, dict[str, Any]]:
    """The configuration, and the arguments that are left for the model's constructor."""
    from transformers import AutoConfig, PretrainedConfig

    # The configuration shall not say "auto", which is no dtype.
    overrides = {key: value for key, value in overrides.items() if key not in DTYPE_ARGUMENTS or value != "auto"}
    if isinstance(config, PretrainedConfig):
        model_kwargs = overrides
    else:
        source = name if config is None else os.fspath(config)
        _check_has_config(source, hub)
        try:
            if _is_auto_class(model_class):
                overrides["trust_remote_code"] = trust_remote_code
                config_class = AutoConfig
            else:
                config_class = model_class.config_class
            config, model_kwargs = config_class.from_pretrained(source, return_unused_kwargs=True, **hub, **overrides)
        except OSError as error:
            raise _no_config(source, error) from error
        except ValueError as error:
            refused = remote_code_refused(source, error)
            if refused is None:
                raise
            raise refused from error
    # Keras would take a dtype as the policy of the outermost layer alone: it would round float inputs, and all weights
    # would stay as they are.
    return config, {key: value for key, value in model_kwargs.items() if key not in DTYPE_ARGUMENTS}


def remote_code_refused(source: str, error: Exception) -> UnsafeModelError | None:
    """What to raise when transformers does not run code that comes with a model; None for other errors of its."""
    if "trust_remote_code" not in str(error):
        return None
    return UnsafeModelError(
        f"{source} is not loaded: it is of a class of its own, whose code comes with it (auto_map). Expected a class "
        "of transformers. If you trust whoever made it, pass trust_remote_code=True, which runs that code."
    )


def _check_has_config(source: str, hub: Mapping[str, Any]) -> None:
    """Without this check, a configuration class that finds no file silently describes its default model."""
    from huggingface_hub.errors import HFValidationError
    from transformers.utils import CONFIG_NAME, cached_file

    if os.path.isfile(source):
        return
    try:
        found = cached_file(source, CONFIG_NAME, **hub)
    except HFValidationError as error:
        raise _no_config(source, f"there is no such directory, and it cannot be a model's name: {error}") from error
    except OSError as error:
        raise _no_config(source, error) from error
    if found is None:
        raise _no_config(source, f"it has no {CONFIG_NAME}")


def _no_config(source: str, reason: object) -> WeightsError:
    return WeightsError(
        f"Cannot load a model's configuration from {source!r}: {reason}\n"
        "Expected an existing directory that holds config.json and weights, or a model's name on the Hugging Face hub. "
        "Check the path or name and, for the hub, the connection, revision, subfolder and token."
    )


def _concrete_class(model_class: Any, config: Any) -> type[Any]:
    from transformers.models.auto.auto_factory import _get_model_class

    if not _is_auto_class(model_class):
        return model_class
    mapping = model_class._model_mapping
    if type(config) not in mapping:
        raise SettingError(
            "model_class",
            model_class,
            expected=f"a class that has a TensorFlow model of type {config.model_type!r}",
            advice="Choose another TFAutoModelFor... class, or a checkpoint of another type.",
        )
    return _get_model_class(config, mapping)


def _safetensors_files(name: str, hub: Mapping[str, Any], config: Any) -> list[str]:
    """The safetensors files of a checkpoint; none when it has weights of another kind."""
    from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME, cached_file

    if os.path.isfile(name):
        return [name] if name.endswith(".safetensors") else []
    # The commit that the configuration came from: all files are then of one version, and no request is made for those
    # in the cache.
    where = {**hub, "_commit_hash": getattr(config, "_commit_hash", None)}
    optional = {"_raise_exceptions_for_missing_entries": False, "_raise_exceptions_for_gated_repo": False}
    try:
        file = cached_file(name, SAFE_WEIGHTS_NAME, **where, **optional)
        index_file = None if file else cached_file(name, SAFE_WEIGHTS_INDEX_NAME, **where, **optional)
    except OSError as error:
        raise _no_weights(name, error) from error
    if file:
        return [file]
    return _shard_files(name, index_file, where) if index_file else []


def _check_tensorflow_weights(name: str, hub: Mapping[str, Any], config: Any) -> None:
    """Refuse HDF5 that reaches for other files, which transformers would read.

    Raises:
        WeightsError: It does so, or is damaged; or an index names files that do not lie beside it.
    """
    from transformers.utils import TF2_WEIGHTS_INDEX_NAME, TF2_WEIGHTS_NAME, cached_file

    where = {**hub, "_commit_hash": getattr(config, "_commit_hash", None)}
    optional = {"_raise_exceptions_for_missing_entries": False, "_raise_exceptions_for_gated_repo": False}
    if os.path.isfile(name):
        files = [name] if name.endswith((".h5", ".hdf5")) else []
    else:
        try:
            file = cached_file(name, TF2_WEIGHTS_NAME, **where, **optional)
            index_file = None if file else cached_file(name, TF2_WEIGHTS_INDEX_NAME, **where, **optional)
        except OSError as error:
            raise _no_weights(name, error) from error
        files = [file] if file else _shard_files(name, index_file, where) if index_file else []
    for file in files:
        try:
            check_hdf5(file)
        except CorruptCheckpointError as error:
            raise _no_weights(name, error) from error


def _shard_files(name: str, index_file: str, where: Mapping[str, Any]) -> list[str]:
    # Not get_checkpoint_shard_files: it fails on an index without "metadata", and does not say which shard is missing.
    from transformers.utils.hub import cached_files

    shard_names = shards_of(index_file)
    try:
        return list(cached_files(name, shard_names, **where))
    except OSError as error:
        folder = os.path.dirname(index_file)
        missing = [shard for shard in shard_names if not os.path.isfile(os.path.join(folder, shard))]
        raise WeightsError(
            f"{index_file} names files that cannot be found: {', '.join(missing)}. Expected every shard beside its "
            "index. Download or copy the missing files."
        ) from error


def _open_safetensors(file: str) -> Any:
    from safetensors import SafetensorError, safe_open

    try:
        # "tf" and not "np": the loader transposes with TensorFlow and knows a wrong shape by TensorFlow's error.
        return safe_open(file, framework="tf")
    except (SafetensorError, OSError) as error:
        if _is_git_lfs_pointer(file):
            raise WeightsError(
                f"{file} is a git-lfs pointer and holds no weights. Expected a safetensors file. "
                "Run `git lfs install` and `git lfs pull` in its repository, or load the model by its hub name."
            ) from error
        raise WeightsError(
            f"{file} cannot be read: {error}. Expected a complete safetensors file. "
            "Save or download it again (force_download=True for a model of the hub)."
        ) from error


def _is_git_lfs_pointer(file: str) -> bool:
    start = b"version https://git-lfs"
    if not os.path.isfile(file):
        return False
    with open(file, "rb") as stream:
        return stream.read(len(start)) == start


def _in_pytorch_format(shards: Sequence[Any]) -> bool:
    written_by = (shards[0].metadata() or {}).get("format")
    if written_by in ("pt", "tf", "flax", "mlx"):
        return bool(written_by == "pt")
    # Converters that call safetensors.torch.save_file themselves often leave the format out, and transformers refuses
    # their files. But names tell: "bert.pooler.dense.bias" is PyTorch's way, "bert/pooler/dense/bias:0" TensorFlow's.
    names = list(LazyTensors(shards))
    return any("." in name for name in names) and not any("/" in name for name in names)


def _load_pytorch_weights(
    model: Any, tensors: LazyTensors, rename: Callable[[str], Sequence[str]] | None
) -> dict[str, Any]:
    from transformers.modeling_tf_pytorch_utils import load_pytorch_state_dict_in_tf2_model

    model.build_in_name_scope()
    _, loading_info = load_pytorch_state_dict_in_tf2_model(
        model,
        tensors,
        tf_inputs=False,  # It is built, and needs no call to become so.
        allow_missing_keys=True,
        output_loading_info=True,
        tf_to_pt_weight_rename=_with_tied_names(
            rename or getattr(model, "tf_to_pt_weight_rename", None), tensors, model.config
        ),
        # Where this is False, transformers means to raise InvalidArgumentError and raises TypeError for the missing
        # arguments of that; so mismatches are collected, and the caller raises.
        ignore_mismatched_sizes=True,
    )
    return dict(loading_info)


def _with_tied_names(
    rename: Callable[[str], Sequence[str]] | None, checkpoint_names: Iterable[str], config: Any
) -> Callable[[str], tuple[str, ...]]:
    """Let a tied tensor stand for the input embedding where the checkpoint has only one of the two.

    A safetensors file holds a tied tensor once. save_pretrained keeps the embedding's name, but accelerate and
    safetensors' save_model keep the first in alphabetical order, such as lm_head.weight. PyTorch does not notice, for
    all names are one parameter there; in TensorFlow the variable is the embedding's.
    """
    tied = tuple(
        name
        for name in checkpoint_names
        if SHARED_EMBEDDING.fullmatch(name) or (config.tie_word_embeddings and TIED_HEAD.fullmatch(name))
    )

    def names_of(name: str) -> tuple[str, ...]:
        names = tuple(rename(name)) if rename else (name,)
        return names + tied if INPUT_EMBEDDING.fullmatch(name) else names

    return names_of


def _shapes_differ(name: str, model: Any, mismatched: Collection[tuple[str, Any, Any]], layout: str) -> WeightsError:
    # The loader gives the found shape in the file's layout, and the wanted one in TensorFlow's.
    listed = "; ".join(
        f"{key} is {tuple(found)} in {layout}'s layout, the model's is {tuple(wanted)} in TensorFlow's"
        for key, found, wanted in sorted(mismatched, key=lambda one: one[0])[:5]
    )
    more = f"; and {len(mismatched) - 5} more" if len(mismatched) > 5 else ""
    return WeightsError(
        f"Weights of {name!r} do not fit {type(model).__name__}: {listed}{more}. Expected the shapes of the model's "
        "configuration. Correct the configuration (num_labels, for example), or pass ignore_mismatched_sizes=True to "
        "initialise these weights anew."
    )


def _source(name: str, subfolder: str | None, files: Sequence[str]) -> str:
    """Where transformers shall look: it ignores a directory's subfolder, and loads no safetensors shards by name."""
    if os.path.isdir(name):
        return os.path.join(name, subfolder) if subfolder else name
    if files and not os.path.isfile(name):
        return os.path.dirname(files[0])
    return name


def _load_with_transformers(
    concrete_class: type[Any], source: str, *model_args: Any, **kwargs: Any
) -> tuple[Any, dict[str, Any]]:
    try:
        return concrete_class.from_pretrained(source, *model_args, output_loading_info=True, **kwargs)
    except OSError as error:
        raise _no_weights(source, error) from error


def _no_weights(source: str, reason: object) -> WeightsError:
    return WeightsError(
        f"Cannot load weights from {source!r}: {reason}\n"
        "Expected model.safetensors (or model.safetensors.index.json and its shards), tf_model.h5 or, with PyTorch "
        "installed and from_pt=True, pytorch_model.bin. Check that the files are there and complete."
    )


def _load_generation_config(model: Any, name: str, hub: Mapping[str, Any], overrides: Mapping[str, Any]) -> None:
    from transformers import GenerationConfig

    try:
        model.generation_config = GenerationConfig.from_pretrained(name, **hub, **overrides)
    except OSError:
        # Most checkpoints have none. The model made its own from its configuration.
        return
