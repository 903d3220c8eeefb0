"""Which class a pretrained model is loaded as, and its configuration."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from tf_hfwb.errors import SettingError, UnsafeModelError, WeightsError
from tf_hfwb.keras_compat import is_auto_class, is_model_class
from tf_hfwb.keras_compat.transformers_private import choose_class, classes_by_config

_DTYPE_ARGUMENTS = ("dtype", "torch_dtype")


def check_model_class(model_class: Any) -> None:
    """Raise ``SettingError`` unless it is a TensorFlow class of transformers."""
    if is_model_class(model_class) or is_auto_class(model_class):
        return
    raise SettingError(
        "model_class",
        model_class,
        expected="a TensorFlow class of transformers, such as TFAutoModel or TFBertForSequenceClassification",
        advice="Pass the class itself; where a PyTorch class has a TensorFlow twin, its name starts with TF.",
    )


def load_config(
    model_class: type[Any],
    name: str,
    config: Any,
    hub: Mapping[str, Any],
    overrides: Mapping[str, Any],
    trust_remote_code: bool,
) -> tuple[Any, dict[str, Any]]:
    """Load the configuration; also returns the arguments that are left for the model's constructor.

    Args:
        model_class: The class that was asked for.
        name: The directory, file or model's name.
        config: The argument ``config``: None, a configuration, or where to load it from.
        hub: The arguments that say where to look on the hub.
        overrides: Arguments that override the configuration, or go to the constructor.
        trust_remote_code: Whether code that comes with a model may be run.

    Raises:
        WeightsError: There is no configuration.
        UnsafeModelError: It is code that comes with the model.
    """
    from transformers import AutoConfig, PretrainedConfig

    # "auto" is not a dtype, so it must not get into the configuration.
    overrides = {key: value for key, value in overrides.items() if key not in _DTYPE_ARGUMENTS or value != "auto"}
    if isinstance(config, PretrainedConfig):
        model_kwargs = overrides
    else:
        source = name if config is None else os.fspath(config)
        _check_has_config(source, hub)
        try:
            if is_auto_class(model_class):
                overrides["trust_remote_code"] = trust_remote_code
                config_class = AutoConfig
            else:
                config_class = model_class.config_class
            config, model_kwargs = config_class.from_pretrained(source, return_unused_kwargs=True, **hub, **overrides)
        except OSError as error:
            raise _no_config(source, error) from error
        except ValueError as error:
            refused = refused_remote_code(source, error)
            if refused is None:
                raise
            raise refused from error
    # Keras would take a dtype as the policy of the outermost layer alone, which rounds float inputs and leaves all
    # weights as they are.
    return config, {key: value for key, value in model_kwargs.items() if key not in _DTYPE_ARGUMENTS}


def refused_remote_code(source: str, error: Exception) -> UnsafeModelError | None:
    """The error to raise instead, when transformers has refused to run code that comes with a model; else None."""
    if "trust_remote_code" not in str(error):
        return None
    return UnsafeModelError(
        f"{source} is not loaded: it is of a class of its own, whose code comes with it (auto_map). Expected a class "
        "of transformers. If you trust whoever made it, pass trust_remote_code=True, which runs that code."
    )


def _check_has_config(source: str, hub: Mapping[str, Any]) -> None:
    """Refuse a source without a configuration: a configuration class would silently describe its default model."""
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


def concrete_class(model_class: Any, config: Any) -> type[Any]:
    """The class itself, or the one that a ``TFAutoModelFor...`` class stands for with this configuration."""
    if not is_auto_class(model_class):
        return model_class
    classes = classes_by_config(model_class)
    if type(config) not in classes:
        raise SettingError(
            "model_class",
            model_class,
            expected=f"a class that has a TensorFlow model of type {config.model_type!r}",
            advice="Choose another TFAutoModelFor... class, or a checkpoint of another type.",
        )
    return choose_class()(config, classes)
