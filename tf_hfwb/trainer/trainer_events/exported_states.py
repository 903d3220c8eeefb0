"""The states of transformers' callbacks in the checkpoints of a training."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tf_hfwb import json_text
from tf_hfwb.errors import SettingError
from tf_hfwb.resume.checkpoint_participants import TRAINER_CALLBACKS, CaptureState
from tf_hfwb.trainer.trainer_events.event_dispatch import TrainerEvents

if TYPE_CHECKING:
    from transformers.trainer_callback import ExportableState


class ExportedStates:
    """Keeps what callbacks export with ``state()``, by their class and, of several of one class, in their order.

    A resumed training gives them back the attributes. The arguments with which they are made are those of now: there
    may be more patience.

    Args:
        events: Knows the callbacks.
    """

    participant_name = TRAINER_CALLBACKS

    def __init__(self, events: TrainerEvents) -> None:
        self._events = events

    def _exporting(self) -> dict[str, list[ExportableState]]:
        from transformers.trainer_callback import ExportableState

        found: dict[str, list[ExportableState]] = {}
        for callback in self._events.callbacks:
            if isinstance(callback, ExportableState):
                found.setdefault(type(callback).__name__, []).append(callback)
        return found

    def _states(self) -> dict[str, Any]:
        return {name: [copy.deepcopy(one.state()) for one in those] for name, those in self._exporting().items()}

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Give the attributes back.

        Raises:
            SettingError: A callback has a state that no checkpoint could hold.
        """
        for name, states in self._states().items():
            try:
                json_text.dumps(states)
            except TypeError as error:
                raise SettingError(
                    f"{name}.state()",
                    states,
                    expected=f"what JSON can write, as checkpoints hold it ({error})",
                    advice="Return plain numbers, strings, lists and dicts.",
                ) from error
        for name, callbacks in self._exporting().items():
            for callback, saved in zip(callbacks, state.get(name, ()), strict=False):
                for attribute, value in saved.get("attributes", {}).items():
                    setattr(callback, attribute, value)

    def capture_state(self) -> CaptureState:
        """What the callbacks export now."""
        states = self._states()
        return lambda: states
