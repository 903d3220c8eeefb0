"""Where a run is, in words for a document and for a terminal."""

from __future__ import annotations

import os
import shlex

from tf_hfwb.secret_masking import mask_text
from tf_hfwb.tracking.tracker import Tracker


def describe_run(tracker: Tracker) -> str:
    """Where a run is, in Markdown: its page, or how an offline one gets there.

    Args:
        tracker: The run.

    Returns:
        A sentence; empty without a run.
    """
    if not tracker.folders:
        return ""
    run = tracker.identity
    if tracker.url is not None:
        name = run.get("name") or run["id"]
        return f"The training is the run [{name}]({mask_text(tracker.url)}) in Weights & Biases."
    folders = [_short(folder) for folder in tracker.folders]
    return (
        f"The training is the offline run `{run['id']}` of the project `{run.get('project', '')}` of Weights & Biases. "
        f"To upload it: `{shlex.join(['wandb', 'sync', *folders])}`"
    )


def locate_run(tracker: Tracker) -> str:
    """Where a run is, for a terminal: its page, or its folder and what uploads it; empty without a run."""
    if tracker.url is not None:
        return mask_text(tracker.url)
    folders = [_short(folder) for folder in tracker.folders]
    return f"offline; upload it with: {shlex.join(['wandb', 'sync', *folders])}" if folders else ""


def _short(folder: str) -> str:
    """The folder as seen from here: a document is not to tell where else on this machine somebody works."""
    path = os.path.relpath(folder)
    return os.path.basename(folder) if path.startswith(os.pardir) else path
