"""The observer of gradients on JAX, for models of Keras 3."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np

from tf_hfwb.keras_compat import keras3_private
from tf_hfwb.keras_compat.gradients.gradient_observer import MODULUS, GradientObserver, empty_record
from tf_hfwb.keras_compat.gradients.histogram_bins import SIZE, vector_in_jax
from tf_hfwb.keras_compat.gradients.optimizer_seams import put_observer_into


def attach_on_jax(model: Any, optimizer: Any) -> GradientObserver:
    """The same on JAX; arguments as in :func:`attach_on_tensorflow`."""
    return put_observer_into(model, optimizer, lambda variables: JAXObserver(variables, optimizer, model))


class JAXObserver(GradientObserver):
    """Variables of the optimizer; in the middle of a fit the window is written into the state that ``fit`` carries."""

    def __init__(self, variables: Sequence[Any], optimizer: Any, model: Any) -> None:
        super().__init__(variables)
        self._model = weakref.ref(model)
        self._counter = keras3_private.iterations(optimizer)
        self._accumulation = optimizer.gradient_accumulation_steps or 1
        record = empty_record(len(self.variables))
        self._record = optimizer.add_variable(record.shape, dtype="float32", name="tf_hfwb_gradients")
        self._window = optimizer.add_variable((2,), dtype="int32", name="tf_hfwb_window")
        self._record.assign(record)
        self._window.assign([-1, -1])

    @property
    def own_variables(self) -> tuple[Any, ...]:
        return self._record, self._window

    def look_at(self, first: int, last: int) -> None:
        from jax import numpy as jnp

        model: Any = self._model()
        carried = model.train_step.recorder.carried
        if carried is None:
            self._window.assign([first, last])
        else:
            carried[2][self._place(self._window)] = jnp.array([first, last], "int32")

    def capture(self) -> Any:
        model: Any = self._model()
        state = keras3_private.carried_state(model)
        # The buffer is given away to the next step: copy.
        return np.array(state["optimizer_variables"][self._place(self._record)] if state else self._record)

    def _place(self, variable: Any) -> int:
        model: Any = self._model()
        return next(place for place, v in enumerate(model.optimizer.variables) if v is variable)

    def observe(self, gradients: Sequence[Any], variables: Sequence[Any]) -> None:
        import jax
        from jax import numpy as jnp

        placed = self._placed(gradients, variables)
        counter, window, record = self._counter.value, self._window.value, self._record.value
        is_update = (counter + 1) % self._accumulation == 0

        def write() -> Any:
            rows = [jnp.full([SIZE], -1.0)] * len(self.variables)
            for place, gradient in placed.items():
                rows[place] = vector_in_jax(gradient)
            return jnp.stack([*rows, jnp.full([SIZE], counter % MODULUS, "float32")])

        is_due = is_update & (window[0] <= counter) & (counter <= window[1])
        self._record.assign(jax.lax.cond(is_due, write, lambda: record))
