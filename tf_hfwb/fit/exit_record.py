"""The end of the W&B run after SIGTERM, where nothing saves checkpoints."""

from __future__ import annotations

import signal
import sys
import weakref
from collections.abc import Callable
from typing import Any

from tf_hfwb.fit.fit_session import FitSession
from tf_hfwb.fit.signals import SignalWatch, is_watched
from tf_hfwb.tracking.user_runs import running_tracker


class ExitRecord:
    """Ends the run between two steps after SIGTERM, with the exit code, and leaves the process.

    SIGTERM would end the process at once, and W&B would hear nothing of it: the run would be shown as running for
    minutes, and then as crashed. Ctrl-C is left alone: it is an exception, which ends the run as it should. A callback
    that saves checkpoints takes over from this.

    It costs nothing while no signal comes.
    """

    def __init__(self) -> None:
        self._watch = SignalWatch([signal.SIGTERM], self._answer_before_next_step)
        # Weakly: after an exception nobody takes the handler of the signal back, and the model would stay in memory.
        self._session: Callable[[], FitSession | None] = lambda: None

    def begin(self, model: Any, session: FitSession) -> None:
        """A fit begins; nothing is done where a trainer answers signals already.

        Args:
            model: The model.
            session: The fit.
        """
        self._session = weakref.ref(session)
        if not is_watched(signal.SIGTERM):
            self._watch.start(model, "ending the W&B run when this step has ended, then exiting")

    def end(self) -> None:
        """The fit has ended."""
        if self._watch.received is not None:
            self._answer()
        self._watch.stop()

    def stop(self) -> None:
        """Leave the signal to others."""
        self._watch.stop()

    def _answer_before_next_step(self) -> None:
        session = self._session()
        if session is not None:
            session.hooks.before.append(self._answer)

    def _answer(self) -> None:
        if not self._watch.is_on:  # Whoever has taken over answers.
            return
        self._watch.stop()
        tracker, status = running_tracker(), 128 + signal.SIGTERM
        tracker.mark_preempting()
        tracker.finish(exit_code=status)
        sys.exit(status)  # Which tells the end of a user's own run the status.
