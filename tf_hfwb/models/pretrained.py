"""``from_pretrained``: a TensorFlow model of transformers with pretrained weights of any format.

transformers 4.57 reads TensorFlow weights but fails on PyTorch-format safetensors, which is what the hub mostly holds
(``'builtins.safe_open' object is not iterable``, transformers issue 40028). Those files are read here; all others are
left to transformers.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from tf_hfwb.errors import WeightsError
from tf_hfwb.models.pretrained_config import check_model_class, concrete_class, load_config
from tf_hfwb.models.pytorch_weights import LazyTensors, is_in_pytorch_format, load_pytorch_weights
from tf_hfwb.models.weight_files import check_tensorflow_weights, no_weights, open_safetensors, safetensors_files
from tf_hfwb.validation.installed_packages import check_tf_classes

# The arguments of transformers that say where to look for a file.
_HUB_ARGUMENTS = ("cache_dir", "force_download", "local_files_only", "proxies", "revision", "subfolder", "token")


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
            (code that comes with a model is run only with True; the user is not asked). ``from_tf``, which PyTorch's
            classes take, changes nothing, as TensorFlow's weights are read in any case. With ``from_pt=True`` a
            ``pytorch_model.bin`` is read, which PyTorch unpickles with nothing but tensors allowed.
            ``dtype`` is noted in the configuration and does not change the weights, whose dtype is up to Keras. What
            remains (``num_labels``, ``id2label``...) overrides the configuration, or goes to the model's constructor
            (``name``) when it is not in the configuration or ``config`` is a configuration object.

    Returns:
        The model; with ``output_loading_info=True`` the model and a dict of ``missing_keys``, ``unexpected_keys`` and
        ``mismatched_keys``.

    Raises:
        MissingPackageError: transformers 4, TensorFlow or tf_keras is not installed.
        SettingError: ``model_class`` is not a TensorFlow class, or has no model of the checkpoint's type.
        UnsafeModelError: The model's class is code that comes with it, and ``trust_remote_code`` is not True.
        WeightsError: The configuration or the weights cannot be found or read, or do not fit the model; or the weights
            are in other files than the model's.

    Follows ``TFPreTrainedModel.from_pretrained`` (transformers/modeling_tf_utils.py) and
    ``_BaseAutoModelClass.from_pretrained`` (transformers/models/auto/auto_factory.py) of transformers 4.57.
    """
    check_tf_classes("from_pretrained")
    check_model_class(model_class)
    name = os.fspath(pretrained_model_name_or_path)
    options = _Options.take_from(kwargs)
    config, model_kwargs = load_config(
        model_class, name, options.config, options.hub, options.others, options.trust_remote_code
    )
    if options.trust_remote_code and model_class.__name__ in (getattr(config, "auto_map", None) or {}):
        # The class is code in the checkpoint's repository, which transformers fetches, registers and runs.
        return model_class.from_pretrained(name, *model_args, **kwargs)
    tf_class = concrete_class(model_class, config)
    files = [] if options.use_safetensors is False else safetensors_files(name, options.hub, config)
    with ExitStack() as stack:
        shards = [stack.enter_context(open_safetensors(file)) for file in files]
        if shards and is_in_pytorch_format(shards):
            layout = "PyTorch"
            config.name_or_path = name
            model = tf_class(config, *model_args, **model_kwargs)
            loading_info = load_pytorch_weights(model, LazyTensors(shards), options.rename)
        else:
            layout = "PyTorch" if options.from_pt else "TensorFlow"
            model, loading_info = _load_with_transformers(
                tf_class, name, files, options, model_args, {**model_kwargs, "config": config}
            )
    if loading_info["mismatched_keys"] and not options.ignore_mismatched_sizes:
        raise _shapes_differ(name, model, loading_info["mismatched_keys"], layout)
    if model.can_generate():
        _load_generation_config(model, name, options)
    return (model, loading_info) if options.output_loading_info else model


@dataclass(frozen=True)
class _Options:
    """The keyword arguments of :func:`from_pretrained`.

    Attributes:
        hub: The arguments that say where to look on the hub.
        rename: ``tf_to_pt_weight_rename``.
        others: The arguments that override the configuration, or go to the model's constructor.
    """

    hub: Mapping[str, Any]
    config: Any
    from_pt: bool
    use_safetensors: bool | None
    ignore_mismatched_sizes: bool
    output_loading_info: bool
    rename: Callable[[str], Sequence[str]] | None
    trust_remote_code: bool
    others: Mapping[str, Any]

    @classmethod
    def take_from(cls, kwargs: Mapping[str, Any]) -> _Options:
        others = dict(kwargs)
        others.pop("from_tf", None)  # Of PyTorch's classes. TensorFlow's weights are read in any case.
        return cls(
            hub={name: others.pop(name) for name in _HUB_ARGUMENTS if name in others},
            config=others.pop("config", None),
            from_pt=others.pop("from_pt", False),
            use_safetensors=others.pop("use_safetensors", None),
            ignore_mismatched_sizes=others.pop("ignore_mismatched_sizes", False),
            output_loading_info=others.pop("output_loading_info", False),
            rename=others.pop("tf_to_pt_weight_rename", None),
            # None would ask on the terminal.
            trust_remote_code=bool(others.pop("trust_remote_code", False)),
            others=others,
        )


def _load_with_transformers(
    tf_class: type[Any],
    name: str,
    files: Sequence[str],
    options: _Options,
    model_args: Sequence[Any],
    model_kwargs: Mapping[str, Any],
) -> tuple[Any, dict[str, Any]]:
    """Load weights that are not safetensors in PyTorch's format; also returns the loading info."""
    if not (files or options.from_pt):
        check_tensorflow_weights(name, options.hub, model_kwargs["config"])
    source = _source(name, options.hub.get("subfolder"), [] if options.from_pt else files)
    try:
        model, loading_info = tf_class.from_pretrained(
            source,
            *model_args,
            from_pt=options.from_pt,
            use_safetensors=options.use_safetensors,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # The caller raises for all of them, with their names.
            tf_to_pt_weight_rename=options.rename,
            **options.hub,
            **model_kwargs,
        )
    except OSError as error:
        raise no_weights(source, error) from error
    model.config.name_or_path = model.name_or_path = name
    return model, loading_info


def _source(name: str, subfolder: str | None, files: Sequence[str]) -> str:
    """Where transformers has to look: it ignores a directory's subfolder, and loads no safetensors shards by name."""
    if os.path.isdir(name):
        return os.path.join(name, subfolder) if subfolder else name
    if files and not os.path.isfile(name):
        return os.path.dirname(files[0])
    return name


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


def _load_generation_config(model: Any, name: str, options: _Options) -> None:
    from transformers import GenerationConfig

    try:
        model.generation_config = GenerationConfig.from_pretrained(name, **options.hub, **options.others)
    except OSError:
        # Most checkpoints have none. The model has made its own from its configuration.
        return
