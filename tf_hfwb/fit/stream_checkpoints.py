"""Where a training stands in its stream of data, in each of its checkpoints."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from tf_hfwb.data.stream_positions import StreamPositions
from tf_hfwb.fit.callback_place import CallbackPlace
from tf_hfwb.fit.step_callback import StepCallback
from tf_hfwb.keras_compat import Logs
from tf_hfwb.resume.checkpoint_participants import STREAM, CaptureState


class StreamCheckpoints(StepCallback):
    """Let each checkpoint say where the block begins whose batches the training has come to.

    Args:
        positions: The blocks that the pipeline has come to.
    """

    place = CallbackPlace.STATES
    participant_name = STREAM

    def __init__(self, positions: StreamPositions) -> None:
        super().__init__()
        self._positions = positions

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Take part in the checkpoints."""
        super().on_train_begin(logs)
        self._session.participants.add(self)

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """The pipeline, which is made before the fit begins, has begun there."""

    def capture_state(self) -> CaptureState:
        """The block of the next batch."""
        position = dataclasses.asdict(self._positions.before(self._schedule.data_position().batches))
        return lambda: position
