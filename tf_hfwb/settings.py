"""The environment contract: which variables are read, which values they take, and what wins over what.

===================  ============================================  ================================================
variable             values, the default first                     effect
===================  ============================================  ================================================
``WANDB_PROJECT``    ``huggingface``, any name                     the project of a run that this package opens
``WANDB_ENTITY``     the client's, any name                        the user or team of such a run
``WANDB_NAME``       the client's, any name                        the name of such a run
``WANDB_LOG_MODEL``  ``false``, ``end``, ``checkpoint``            which models are uploaded
``WANDB_WATCH``      ``false``, ``gradients``, ``parameters``,     which histograms of the model are logged
                     ``all``
``WANDB_DISABLED``   unset, a true word                            no run is opened and nothing is logged
``WANDB_MODE``       unset, the client's modes                     unset: a run is offline where there is no key
===================  ============================================  ================================================

This is the only file that reads ``WANDB_*`` variables. Precedence: argument, then environment variable, then default.
Variables that are not named here belong to the W&B client, which reads them by itself. Names and values are those that
W&B documents for the Hugging Face ``Trainer``.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

from tf_hfwb.errors import SettingError

DEFAULT_PROJECT = "huggingface"
TRUE_WORDS = frozenset({"true", "1", "yes", "on", "y", "t"})


class LogModel(str, Enum):
    """Which models are uploaded (``WANDB_LOG_MODEL``): none, the last one, or every checkpoint too."""

    FALSE = "false"
    END = "end"
    CHECKPOINT = "checkpoint"

    __str__ = str.__str__  # As in enum.StrEnum, which Python 3.10 lacks.


class Watch(str, Enum):
    """Which histograms of the model's layers are logged (``WANDB_WATCH``)."""

    FALSE = "false"
    GRADIENTS = "gradients"
    PARAMETERS = "parameters"
    ALL = "all"

    __str__ = str.__str__  # As in enum.StrEnum, which Python 3.10 lacks.


@dataclass(frozen=True)
class Settings:
    """The settings of one run, resolved once.

    Attributes:
        project: The W&B project of a run that we open.
        log_model: Which models are uploaded.
        watch: Which histograms are logged.
        disabled: Whether no run is opened and nothing is logged.
        mode: The client's ``WANDB_MODE`` as given, or None when it is not set.
        is_project_given: Whether ``project`` was asked for, and is not merely the default.
        run_name: ``WANDB_NAME`` as given; the client reads it once in a process, however many runs there are.
        entity: ``WANDB_ENTITY`` likewise.
        group: The group of a run that we open, where the client's settings have none.
        run_id: The run that we open or continue, whichever a checkpoint names.
    """

    project: str = DEFAULT_PROJECT
    log_model: LogModel = LogModel.FALSE
    watch: Watch = Watch.FALSE
    disabled: bool = False
    mode: str | None = None
    is_project_given: bool = False
    run_name: str | None = None
    entity: str | None = None
    group: str | None = None
    run_id: str | None = None

    @classmethod
    def resolve(
        cls,
        environ: Mapping[str, str] | None = None,
        *,
        project: str | None = None,
        log_model: str | bool | LogModel | None = None,
        watch: str | bool | Watch | None = None,
        group: str | None = None,
        run_id: str | None = None,
    ) -> Settings:
        """Resolve the settings: arguments win over ``environ``, which wins over the defaults.

        Args:
            environ: The environment; the process's own when None.
            project: Overrides ``WANDB_PROJECT``.
            log_model: Overrides ``WANDB_LOG_MODEL``.
            watch: Overrides ``WANDB_WATCH``.
            group: The group of a run that we open; ``WANDB_RUN_GROUP`` overrides it.
            run_id: The run that we open or continue; ``WANDB_RUN_ID`` overrides it.

        Raises:
            SettingError: A value is not one of the accepted words.

        Example:
            >>> Settings.resolve({"WANDB_PROJECT": "glue", "WANDB_LOG_MODEL": "End"}).log_model.value
            'end'
        """
        environ = os.environ if environ is None else environ
        given = project or environ.get("WANDB_PROJECT")
        return cls(
            project=given or DEFAULT_PROJECT,
            is_project_given=bool(given),
            run_name=environ.get("WANDB_NAME") or None,
            entity=environ.get("WANDB_ENTITY") or None,
            log_model=_parse_log_model(*_given_value("log_model", log_model, "WANDB_LOG_MODEL", environ)),
            watch=_parse_watch(*_given_value("watch", watch, "WANDB_WATCH", environ)),
            disabled=environ.get("WANDB_DISABLED", "").strip().lower() in TRUE_WORDS,
            mode=environ.get("WANDB_MODE") or None,
            group=group,
            run_id=run_id,
        )


_E = TypeVar("_E", bound=Enum)


def _given_value(argument: str, value: object, variable: str, environ: Mapping[str, str]) -> tuple[str, object]:
    """The name under which the user gave a value, and the value that counts."""
    if value is not None:
        return argument, value
    return variable, environ.get(variable) or "false"


def _word(value: object) -> str:
    if isinstance(value, Enum):
        value = value.value
    return str(value).strip().lower()


def _parse_enum(kind: type[_E], name: str, value: object, advice: str) -> _E:
    try:
        return kind(_word(value))
    except ValueError:
        raise SettingError(name, value, accepted=[member.value for member in kind], advice=advice) from None


def _parse_log_model(name: str, value: object) -> LogModel:
    word = _word(value)
    if word in TRUE_WORDS:
        warnings.warn(
            f"{name}={value!r} is deprecated and means 'end': the model is uploaded when training ends. "
            f"Write {name}='end', or {name}='checkpoint' to upload every checkpoint too.",
            FutureWarning,
            stacklevel=4,
        )
        return LogModel.END
    return _parse_enum(LogModel, name, value, f"Unset {name} to upload nothing.")


def _parse_watch(name: str, value: object) -> Watch:
    return _parse_enum(Watch, name, value, f"Unset {name} to observe nothing.")
