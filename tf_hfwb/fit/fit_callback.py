"""The base of callbacks that share the session of a fit."""

from __future__ import annotations

from typing import Any

from tf_hfwb.fit.fit_session import FitSession, interrupt_abandoned, session_of
from tf_hfwb.keras_compat import Callback, is_evaluating


class FitCallback(Callback):
    """Finds the session of a fit when Keras tells the fit's parameters.

    Keras also tells the parameters of an evaluation, which may be within the fit and with the same callbacks.
    """

    def __init__(self) -> None:
        super().__init__()
        self._next_session: FitSession | None = None  # Holds it until training begins.

    def set_params(self, params: dict[str, Any]) -> None:
        """Join the session of the fit that is about to begin."""
        super().set_params(params)
        if self.model is None:
            return
        interrupt_abandoned(self.model)
        if not is_evaluating(self.model):
            self._next_session = session_of(self)

    def _find_session(self) -> FitSession:
        """The session of the fit that begins, or has begun."""
        return self._next_session or session_of(self)
