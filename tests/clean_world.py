"""Every test and every example has an offline W&B, an empty working directory and a cleaned environment."""

from __future__ import annotations

import os
import sys

import pytest


@pytest.fixture(autouse=True)
def _clean_world(monkeypatch, tmp_path):
    for name in list(os.environ):
        if name.startswith("WANDB_"):
            monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_X_SAVE_REQUIREMENTS", "false")  # Listing what is installed takes as long as a training.
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    if "tf_hfwb.tracking.process_tracker" in sys.modules:
        # It is said once in a process, and each test is to see it.
        sys.modules["tf_hfwb.tracking.process_tracker"]._warn_that_it_is_disabled.cache_clear()
    yield
    if "wandb" in sys.modules:
        import wandb

        if wandb.run is not None:
            wandb.finish()
        wandb.teardown()
