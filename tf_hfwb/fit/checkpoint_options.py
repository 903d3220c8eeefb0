"""The arguments of ``WandbModelCheckpoint``, checked and frozen."""

from __future__ import annotations

import os
import string
from dataclasses import dataclass, field
from typing import Any, Literal

from tf_hfwb.errors import SettingError
from tf_hfwb.step_policies import EverySteps, Never, Policy
from tf_hfwb.tracking.artifact_names import check_artifact_name
from tf_hfwb.tracking.registry import registry_path
from tf_hfwb.validation.argument_checks import check_directory, check_whole_number, to_json_value

# Arguments of Keras's and W&B's checkpoints, and what to do about them.
_OF_OTHERS = {
    "filepath": "Pass a directory instead, output_dir='checkpoints': each checkpoint is a directory of its step in it.",
    "save_weights_only": "Pass save_only_model=True to leave out the state of the training, from which restore "
    "continues it.",
    "verbose": "Leave it out: what is worth a word is logged by the logger 'tf_hfwb'.",
    "initial_value_threshold": "Leave it out: a training that goes on knows its best value.",
}


@dataclass(frozen=True, kw_only=True)
class CheckpointOptions:
    """What :class:`~tf_hfwb.WandbModelCheckpoint` was asked for; the arguments are described there.

    Attributes:
        path: The absolute path of ``output_dir``, which itself stays as the user wrote it, for messages.
        policy: When checkpoints are due, by steps.

    Raises:
        SettingError: An argument is out of range, or cannot be combined with another one.
    """

    output_dir: str
    save_freq: Literal["epoch", "no"] | int
    monitor: str | None
    mode: Literal["auto", "min", "max"]
    save_best_only: bool
    save_only_model: bool
    save_total_limit: int | None
    artifact_name: str | None
    link_to_registry: str | None
    delete_superseded: bool
    load_best_at_end: bool
    stop_on_error: bool
    arguments: dict[str, Any]
    path: str = field(init=False)
    policy: Policy = field(init=False)

    def __post_init__(self) -> None:
        self._set("policy", self._check_frequency())
        self._check_monitoring()
        self._check_retention()
        if self.artifact_name is not None:
            self._set("artifact_name", check_artifact_name(self.artifact_name))
        if self.link_to_registry is not None:
            self._set("link_to_registry", registry_path(self.link_to_registry))
        self._set("output_dir", _check_directory(self.output_dir))
        self._set("path", os.path.abspath(check_directory("output_dir", self.output_dir)))
        self._set("arguments", to_json_value("arguments", self.arguments))

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def _check_frequency(self) -> Policy:
        if self.save_freq in ("epoch", "no"):
            return Never()
        expected = "'epoch', 'no' or a number of steps, 1 or more"
        return EverySteps(check_whole_number("save_freq", self.save_freq, expected=expected))

    def _check_monitoring(self) -> None:
        if self.mode not in ("auto", "min", "max"):
            raise SettingError("mode", self.mode, accepted=("auto", "min", "max"))
        if self.monitor is not None and not isinstance(self.monitor, str):
            raise SettingError("monitor", self.monitor, expected="the name of a metric, such as 'val_loss'")
        for name in ("save_best_only", "load_best_at_end"):
            if getattr(self, name) and self.monitor is None:
                raise SettingError(
                    name, getattr(self, name), expected="False without a metric", advice="Pass monitor='val_loss'."
                )

    def _check_retention(self) -> None:
        if self.save_total_limit is not None:
            expected = "a number of checkpoints, 1 or more"
            limit = check_whole_number("save_total_limit", self.save_total_limit, expected=expected)
            self._set("save_total_limit", limit)
        elif self.delete_superseded:
            raise SettingError(
                "delete_superseded",
                self.delete_superseded,
                expected="False without a limit",
                advice="Pass save_total_limit=3, for example.",
            )
        for name in ("monitor", "save_total_limit"):
            given = getattr(self, name)
            if given is not None and self.save_freq == "no":
                raise SettingError(name, given, expected="None with save_freq='no', where no checkpoint is saved")

    @property
    def saves(self) -> bool:
        """Whether there are checkpoints, and not the model at the end alone."""
        return self.save_freq != "no"

    @property
    def by_epochs(self) -> bool:
        """Whether each epoch is saved."""
        return self.save_freq == "epoch"


def refuse_argument(name: str, value: Any) -> None:
    """An argument that ``WandbModelCheckpoint`` does not have.

    Raises:
        SettingError: W&B's and Keras's callbacks have it.
        TypeError: None of them has.
    """
    if name not in _OF_OTHERS:
        raise TypeError(f"WandbModelCheckpoint.__init__() got an unexpected keyword argument {name!r}")
    expected = "no such argument: it is one of keras.callbacks.ModelCheckpoint and of W&B's WandbModelCheckpoint"
    raise SettingError(name, value, expected=expected, advice=_OF_OTHERS[name])


def _check_directory(output_dir: Any) -> str:
    """The path as the user wrote it.

    Raises:
        SettingError: It is not a path, it is empty, or it is the template of a file name, as Keras's callback takes.
    """
    expected, advice = "the directory in which the checkpoints go", "Pass 'checkpoints', for example."
    path = os.fspath(output_dir) if isinstance(output_dir, (str, os.PathLike)) else ""
    if not isinstance(path, str) or not path.strip():
        raise SettingError("output_dir", output_dir, expected=expected, advice=advice)
    try:
        fields = [field for _, field, _, _ in string.Formatter().parse(path) if field]
    except ValueError:  # Braces that are not a template.
        fields = []
    if fields:
        expected += f", without {{{fields[0]}}}: each checkpoint is a directory 'checkpoint-{{step}}' in it"
        raise SettingError("output_dir", path, expected=expected, advice=advice)
    return path
