"""Which backend a search uses."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any, NamedTuple

from tf_hfwb.errors import SettingError
from tf_hfwb.trainer.search.search_backend import SearchBackend


class _KnownBackend(NamedTuple):
    """A backend, which may not be installed.

    Attributes:
        module: What shows that it is installed.
        requirement: What is installed for it, as ``pip install`` takes it.
        load: Imports and makes it.
    """

    module: str
    requirement: str
    load: Callable[[], SearchBackend]

    @property
    def is_installed(self) -> bool:
        return importlib.util.find_spec(self.module) is not None

    @property
    def command(self) -> str:
        return f"pip install '{self.requirement}'"


def _load_optuna() -> SearchBackend:
    from tf_hfwb.trainer.search.optuna_backend import OptunaBackend

    return OptunaBackend()


def _load_ray() -> SearchBackend:
    from tf_hfwb.trainer.search.ray_backend import RayBackend

    return RayBackend()


def _load_wandb() -> SearchBackend:
    from tf_hfwb.trainer.search.wandb_backend import WandbBackend

    return WandbBackend()


# By the names that users know, in the order in which they are looked for.
_BACKENDS = {
    "optuna": _KnownBackend("optuna", "tf_hfwb[optuna]", _load_optuna),
    "ray": _KnownBackend("ray", "tf_hfwb[ray]", _load_ray),
    "wandb": _KnownBackend("wandb", "wandb", _load_wandb),
}


def choose_backend(wanted: Any) -> SearchBackend:
    """The backend of that name, or the first one that is installed.

    Args:
        wanted: Its name, or a member of transformers' ``HPSearchBackend``; None for any.

    Raises:
        SettingError: There is no such backend, or it is not installed.
    """
    if wanted is None:
        return _first_installed()
    name = str(getattr(wanted, "value", wanted)).lower()
    if name not in _BACKENDS:
        raise SettingError("backend", name, accepted=list(_BACKENDS), advice="Leave it out for the first installed.")
    known = _BACKENDS[name]
    if not known.is_installed:
        raise SettingError(
            "backend",
            name,
            expected=f"a backend that is installed, and {known.module} is not",
            advice=f"Run: {known.command}",
        )
    return known.load()


def _first_installed() -> SearchBackend:
    for known in _BACKENDS.values():
        if known.is_installed:
            return known.load()
    commands = " or ".join(known.command for known in _BACKENDS.values())
    raise SettingError("backend", None, expected="a backend that is installed", advice=f"Run: {commands}")
