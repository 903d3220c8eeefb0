"""Opening a run: ``wandb.init`` with what the user's settings leave open.

A run that cannot be opened online is opened offline; when that fails too, training continues without a run.
"""

from __future__ import annotations

import contextlib
import logging
import shlex
import sys
from collections.abc import Iterator
from typing import Any, Literal

from tf_hfwb.masking import masked
from tf_hfwb.settings import Settings
from tf_hfwb.tracking.credentials import has_credentials
from tf_hfwb.tracking.run_end import FINISH_TIMEOUT
from tf_hfwb.tracking.run_facts import RunFacts

# Seconds between two writes to the run's log. A killed process loses what came since; the client's 15 s are many rows.
FLUSH_INTERVAL = 0.1

_logger = logging.getLogger("tf_hfwb")


def open_wandb_run(settings: Settings, name: str | None, run_id: str | None, entity: str | None) -> Any:
    """The client's run, new or resumed; None, with a warning, if it cannot be opened.

    Without a key it is offline, which is said with the command that uploads it. It never asks for one.

    Args:
        settings: Project and mode.
        name: The run's name; W&B finds one when None.
        run_id: The run to resume, unless ``WANDB_RUN_ID`` says otherwise.
        entity: The user or team of that run, unless ``WANDB_ENTITY`` says otherwise.
    """
    is_keyless = settings.mode is None and not has_credentials()
    if is_keyless:
        run = _try_to_open("opening the W&B run", settings, name, "offline", run_id, entity)
    else:
        run = _try_to_open("opening the W&B run", settings, name, None, run_id, entity)
    is_fallback = run is None and settings.mode != "offline" and not is_keyless
    if is_fallback:
        run = _try_to_open("opening the W&B run offline", settings, name, "offline", run_id, entity)
    if run is None:
        _logger.warning("Training goes on without a W&B run.")
    elif is_keyless or is_fallback:
        _tell_how_to_upload(run)
    return run


def _try_to_open(
    what: str,
    settings: Settings,
    name: str | None,
    mode: Literal["offline"] | None,
    run_id: str | None,
    entity: str | None,
) -> Any:
    import wandb

    try:
        with _command_line_masked():
            return wandb.init(project=settings.project, name=name, mode=mode, **_options(run_id, entity))
    except Exception as error:
        _logger.warning("%s failed (%s: %s).", what[0].upper() + what[1:], type(error).__name__, error)
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
    sys.argv = masked(given)
    try:
        yield
    finally:
        sys.argv = given


def _options(run_id: str | None, entity: str | None) -> dict[str, Any]:
    """What the client's settings, from the environment or its files, leave open."""
    import wandb

    given = wandb.setup().settings
    options: dict[str, Any] = {}
    if entity is not None and given.entity is None:
        options["entity"] = entity
    if run_id is not None and given.run_id is None:
        options["id"] = run_id
    if run_id is not None and given.resume is None:
        options["resume"] = "allow"
    ours = wandb.Settings(finish_timeout_raises=True)
    for setting, value in (("x_transaction_log_flush_interval", FLUSH_INTERVAL), ("finish_timeout", FINISH_TIMEOUT)):
        if getattr(given, setting) == getattr(ours, setting):  # The client's default.
            setattr(ours, setting, value)
    options["settings"] = ours
    return options
