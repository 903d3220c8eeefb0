"""Opening a run: ``wandb.init`` with what the user's settings leave open.

A run that cannot be opened online is opened offline; when that fails too, training continues without a run.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import shlex
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from tf_hfwb.secret_masking import mask
from tf_hfwb.settings import Settings
from tf_hfwb.tracking.credentials import has_credentials
from tf_hfwb.tracking.run_end import FINISH_TIMEOUT
from tf_hfwb.tracking.run_facts import RunFacts

# Seconds between two writes to the run's log. A killed process loses what came since; the client's 15 s are many rows.
FLUSH_INTERVAL = 0.1

_logger = logging.getLogger("tf_hfwb")


def open_wandb_run(
    settings: Settings, name: str | None, run_id: str | None, entity: str | None, *, is_new: bool = False
) -> Any:
    """The client's run, new or resumed; None, with a warning, if it cannot be opened.

    Without a key it is offline, which is said with the command that uploads it. It never asks for one.

    Args:
        settings: Project, entity and mode.
        name: The run's name; W&B finds one when None.
        run_id: The run to resume, unless ``WANDB_RUN_ID`` says otherwise.
        entity: The user or team of that run, unless ``WANDB_ENTITY`` says otherwise.
        is_new: Whether it is another training than the one before, whose run ``WANDB_RESUME=auto`` is not to resume.
    """
    options = {"project": settings.project, "name": name, **_identity_options(settings, run_id, entity, is_new)}
    is_keyless = settings.mode is None and not has_credentials()
    run = _try_to_open("Opening the W&B run", "offline" if is_keyless else None, options)
    is_fallback = run is None and settings.mode != "offline" and not is_keyless
    if is_fallback:
        run = _try_to_open("Opening the W&B run offline", "offline", options)
    if run is None:
        _logger.warning("Training goes on without a W&B run.")
    elif is_keyless or is_fallback:
        _tell_how_to_upload(run)
    return run


def _try_to_open(what: str, mode: Literal["offline"] | None, options: Mapping[str, Any]) -> Any:
    import wandb

    try:
        with _command_line_masked():
            return wandb.init(mode=mode, settings=_client_settings(), **options)
    except Exception as error:
        _logger.warning("%s failed (%s: %s).", what, type(error).__name__, error)
        return None


def _tell_how_to_upload(run: Any) -> None:
    import wandb

    facts = RunFacts(run)
    folders = facts.folders
    if facts.directory is not None and facts.directory not in folders:
        folders.append(facts.directory)  # The client's service makes its file in a moment.
    wandb.termlog(f"Offline run. Upload it later with: wandb login && {shlex.join(['wandb', 'sync', *folders])}")


@contextlib.contextmanager
def _command_line_masked() -> Iterator[None]:
    """The client records what the program was called with when it opens a run; no setting keeps secrets out."""
    given = sys.argv
    sys.argv = mask(given)
    try:
        yield
    finally:
        sys.argv = given


def _identity_options(settings: Settings, run_id: str | None, entity: str | None, is_new: bool) -> dict[str, str]:
    """Which run it is, as far as the client's settings, from the environment or its files, leave that open."""
    import wandb

    given = wandb.setup().settings
    options: dict[str, str] = {}
    if settings.entity is not None:  # The client reads the variable once in a process.
        options["entity"] = settings.entity
    elif entity is not None and given.entity is None:
        options["entity"] = entity
    if settings.group is not None and given.run_group is None:
        options["group"] = settings.group
    if run_id is not None and given.run_id is None:
        options["id"] = run_id
    if run_id is not None and given.resume is None:
        options["resume"] = "allow"
    if is_new and given.resume == "auto" and given.run_id is None:
        options["id"] = secrets.token_hex(4)  # The client would take the id of the run that failed.
    return options


def _client_settings() -> Any:
    """The settings of the client that are ours, unless the user has others."""
    import wandb

    given, ours = wandb.setup().settings, wandb.Settings(finish_timeout_raises=True)
    for setting, value in (("x_transaction_log_flush_interval", FLUSH_INTERVAL), ("finish_timeout", FINISH_TIMEOUT)):
        if getattr(given, setting) == getattr(ours, setting):  # The client's default.
            setattr(ours, setting, value)
    return ours
