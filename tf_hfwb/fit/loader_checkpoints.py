"""Where the loader of a training stands, in each of its checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tf_hfwb.fit.fit_session import FitSession
from tf_hfwb.keras_compat import GrainStates, TorchLoaderStates
from tf_hfwb.resume.checkpoint_participants import LOADER, CaptureState


def join_loader(model: Any, session: FitSession) -> None:
    """Let the loader of the running ``fit`` take part in its checkpoints, if it is one that tells its state."""
    if LOADER in session.participants:
        return
    states = GrainStates.of_running_fit(model) or TorchLoaderStates.of_running_fit(model)
    if states is not None:
        session.participants.add(LoaderCheckpoints(states, session))


class LoaderCheckpoints:
    """Let each checkpoint hold the state before the batch that the training has come to.

    Args:
        states: The states that the loader has had.
        session: The fit.
    """

    participant_name = LOADER

    def __init__(self, states: GrainStates | TorchLoaderStates, session: FitSession) -> None:
        self._states = states
        self._schedule = session.schedule

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Let the loader begin there."""
        batches = self._schedule.data_position().batches
        self._states.begin_at(state.get("batches", batches), state.get("state"))

    def capture_state(self) -> CaptureState:
        """The state before the next batch."""
        batches = self._schedule.data_position().batches
        state = self._states.before(batches)
        return lambda: {"batches": batches, "state": state}
