"""The W&B run of a model's training: a new one, or the one with which a restored training goes on."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from tf_hfwb.keras_compat import Host
from tf_hfwb.resumption import resumption_of
from tf_hfwb.settings import DEFAULT_PROJECT, Settings
from tf_hfwb.tracking import Tracker, open_tracker
from tf_hfwb.tracking.server import record_pending_uses


def open_run(
    host: Host, settings: Settings, *, name: str | None = None, config: Mapping[str, Any] | None = None
) -> Tracker:
    """Open it, or take over the one that is open.

    Args:
        host: The model.
        settings: Project and mode; where the project is the default one, a restored training's own counts.
        name: The name of a new run.
        config: Merged into the run's config, on top of what is known of the model.
    """
    resumption = resumption_of(host.model)
    run = {} if resumption is None else resumption.run
    if settings.project == DEFAULT_PROJECT and run.get("project"):
        settings = dataclasses.replace(settings, project=run["project"])
    tracker = open_tracker(
        settings,
        name=name or run.get("name"),
        config={**host.describe(), **(config or {})},
        chief=host.is_chief,
        run_id=run.get("id"),
        entity=run.get("entity"),
    )
    record_pending_uses(tracker)
    return tracker
