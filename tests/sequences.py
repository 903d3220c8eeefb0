"""Random sequences of public calls on a model, and the same on a bare twin: what ``test_sequences`` runs.

The bare twin is a model that this package never sees. It fits without our callbacks; where ours is restored, it is
given what it was itself when that checkpoint was taken, and the rest of the data.
"""

from __future__ import annotations

import contextlib
import itertools
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
from machines import (
    BATCH_SIZE,
    PER_EPOCH,
    WAYS,
    Machine,
    MineError,
    X,
    Y,
    assert_one_sentence,
    batches_done,
    checkpoints_in,
    ending_callback,
    model_variables,
)

from tf_hfwb import (
    ComputeMetrics,
    EarlyStopping,
    WandbEvalTable,
    WandbMetricsLogger,
    WandbModelCheckpoint,
    WandbWatch,
    restore,
)
from tf_hfwb.errors import SettingError, StateMismatchError, TFHFWBError


def state_of(model: Any) -> list[np.ndarray]:
    return [variable.numpy() for variable in [*model_variables(model), *model.optimizer.variables]]


def assert_same(left: list[np.ndarray], right: list[np.ndarray]) -> None:
    """An optimizer whose variables are not made yet is one in which they are zero."""
    for one, other in itertools.zip_longest(left, right):
        one = np.zeros_like(other) if one is None else one
        np.testing.assert_array_equal(one, np.zeros_like(one) if other is None else other)


@dataclass
class Saved:
    """What the twin was when a checkpoint was taken."""

    state: list[np.ndarray]
    position: tuple[int, int, int]
    frozen: tuple[bool, bool]


@dataclass
class Bare:
    """What the twin has done in a fit: its state before and after each batch, its history, and what it raised."""

    states: list[tuple[int, list[np.ndarray]]] = field(default_factory=list)
    history: dict[str, list[float]] = field(default_factory=dict)
    raised: type[BaseException] | None = None


FITS = {
    "callbacks": st.sets(
        st.sampled_from(["logger", "checkpoint", "stopping", "metrics", "table", "watch"]), max_size=2
    ),
    "are_old": st.booleans(),
    "epochs": st.integers(1, 3),
    "way": st.sampled_from(["", "", "stop", *WAYS]),
    "at": st.integers(0, 5),
    "where": st.sampled_from(["batch", "batch", "epoch"]),
    "is_first": st.booleans(),
    "form": st.sampled_from(["arrays", "dataset"]),
    "freq": st.sampled_from([1, 2, "epoch"]),
    "output_dir": st.sampled_from(["a", "a", "b"]),
    "limit": st.sampled_from([None, None, 2]),
}


class OnAModel(Machine):
    """Calls on a model itself."""

    def __init__(self) -> None:
        super().__init__()
        self.saved: dict[str, dict[int, Saved]] = {output_dir: {} for output_dir in self.newest}
        self.pending: Saved | None = None
        self.is_compiled_since = False
        self.pool: dict[str, Any] = {}
        self.counted, self.uncounted = 0, 0
        self.frozen = False, False  # As it is set, and as it is compiled.

    def prepare(self) -> None:
        self.compile()

    def check(self):
        assert_same(state_of(self.ours), state_of(self.twin))

    # -- training --------------------------------------------------------------------------------------------------

    @rule(**FITS)
    def fit(self, callbacks, are_old, epochs, way, at, where, is_first, form, **options):
        if self.pending is not None and "stopping" in callbacks:
            callbacks = callbacks - {"stopping"}  # It goes on with the count that it had.
        own, bare_own = self.callbacks(sorted(callbacks), are_old, **options)
        ending = ending_callback(self.keras, way, at, where)
        own = [ending, *own] if is_first else [*own, ending]
        bare_own = [*bare_own, ending_callback(self.keras, way, at, where)]
        output_dir = self.pool["checkpoint"][2] if "checkpoint" in callbacks else None
        there = {} if output_dir is None else checkpoints_in(output_dir)
        validation = {"validation_data": (X, Y)} if {"stopping", "metrics"} & callbacks else {}
        before = state_of(self.ours)

        self.reset_executions()
        raised: BaseException | None = None
        fitted = None
        try:
            data = {"x": X, "y": Y, "batch_size": BATCH_SIZE, "shuffle": False}
            if form == "dataset":
                data = {"x": tf.data.Dataset.from_tensor_slices((X, Y)).batch(BATCH_SIZE)}
            validation |= {"validation_batch_size": BATCH_SIZE} if validation else {}
            fitted = self.ours.fit(**data, epochs=epochs, verbose=0, callbacks=own, **validation)
        except (MineError, KeyboardInterrupt, SystemExit, TFHFWBError) as error:
            raised = error
        if isinstance(raised, TFHFWBError):
            assert_one_sentence(raised)
            assert isinstance(raised, SettingError), raised
            assert self.is_compiled_since, raised
            assert "restore again" in str(raised)
            assert_same(state_of(self.ours), before)
            return
        assert not self.is_compiled_since

        bare = self.fit_bare(epochs, bare_own, validation)
        self.check()
        assert (None if raised is None else type(raised)) == bare.raised, raised
        trained = bare.states[-1][0]
        if fitted is not None:
            for name, values in bare.history.items():
                assert fitted.history[name][-len(values) :] == values, name

        is_counted = bool(callbacks & {"logger", "checkpoint", "stopping", "watch"})
        begin = self.counted + (0 if self.pending else self.uncounted)
        if output_dir is not None:
            self.see_checkpoints(output_dir, there, begin, bare)
        if "logger" in callbacks and self.pool["logger"][2] == 1 and raised is None:
            self.promised |= {begin + batches for batches, _ in bare.states[1:]}
        if is_counted:
            self.counted, self.uncounted = begin + trained, 0
        else:
            self.counted, self.uncounted = (
                (begin, trained) if self.pending else (self.counted, self.uncounted + trained)
            )
        if trained or raised is None:
            self.pending = None

    @rule(**FITS)
    def fit_and_save(self, callbacks, **options):
        self.fit(callbacks | {"checkpoint"}, **options)

    @rule(**FITS)
    def fit_and_log(self, callbacks, **options):
        self.fit(callbacks | {"checkpoint", "logger"}, **options)

    def callbacks(self, names, are_old, freq, output_dir, limit):
        """Ours, and those that the twin has in their place."""
        chosen = []
        for name in names:
            if not (are_old and name in self.pool):
                self.pool[name] = self.callback(name, freq, output_dir, limit)
            chosen.append(self.pool[name])
        order = ["metrics", "table", "stopping", "watch", "logger", "checkpoint"]
        pairs = [self.pool[name] for name in order if name in names]
        return [ours for ours, *_ in pairs], [bare for _, bare, *_ in pairs if bare is not None]

    def callback(self, name, freq, output_dir, limit):
        if name == "logger":
            return WandbMetricsLogger(freq), None, freq
        if name == "checkpoint":
            output_dir = f"{self.place}/{output_dir}"
            ours = WandbModelCheckpoint(output_dir, save_freq=freq, save_total_limit=limit)
            return ours, None, output_dir
        if name == "stopping":
            options = {"monitor": "val_loss", "patience": 0 if freq == 1 else 1, "min_delta": 0.05}
            return EarlyStopping(**options), self.keras.callbacks.EarlyStopping(**options)
        if name == "metrics":
            return ComputeMetrics(lambda p: {"right": np.mean(p.predictions.argmax(-1) == p.label_ids)}, (X, Y)), None
        if name == "table":
            return WandbEvalTable((X, Y), num_samples=2), None
        return WandbWatch("all"), None

    def fit_bare(self, epochs, callbacks, validation) -> Bare:
        """The twin's fit, from where it stands, or from where it goes on, in two parts within an epoch."""
        done = Bare([(0, state_of(self.twin))])
        twin = self.twin

        _, epoch, batch = (0, 0, 0) if self.pending is None else self.pending.position
        begin = epoch * PER_EPOCH + batch
        ahead = iter(batches_done(self.steps_per_execution, begin, epochs * PER_EPOCH))

        class Sees(self.keras.callbacks.Callback):
            def on_train_batch_end(self, batch, logs=None):
                done.states.append((next(ahead) - begin, state_of(twin)))

        options = {"batch_size": BATCH_SIZE, "shuffle": False, "verbose": 0, "callbacks": [Sees(), *callbacks]}
        options |= validation
        try:
            if batch and epoch < epochs:
                rest = slice(batch * BATCH_SIZE, None)
                twin.fit(X[rest], Y[rest], initial_epoch=epoch, epochs=epoch + 1, **options)
                epoch += 1
                if twin.stop_training:
                    return done
            if epoch < epochs:
                done.history = twin.fit(X, Y, initial_epoch=epoch, epochs=epochs, **options).history
        except (MineError, KeyboardInterrupt, SystemExit) as error:
            done.raised = type(error)
        return done

    def see_checkpoints(self, output_dir, there, begin, bare) -> None:
        """Those of this fit hold what the twin was; all are whole, and the newest is the last that was saved."""
        _, epoch, batch = (0, 0, 0) if self.pending is None else self.pending.position
        states = dict(bare.states)
        fresh = self.written_since(output_dir, there)
        for step in fresh:
            assert step - begin in states, (step, begin, [*states])
            batches = epoch * PER_EPOCH + batch + step - begin
            position = step, *divmod(batches, PER_EPOCH)
            self.saved[output_dir][step] = Saved(states[step - begin], position, self.frozen)
        for step in self.saved[output_dir].keys() - checkpoints_in(output_dir).keys():
            del self.saved[output_dir][step]

    @precondition(lambda self: any(self.saved.values()))
    @rule(dice=st.integers(0, 99), is_newest=st.booleans())
    def restore(self, dice, is_newest):
        output_dir = [name for name, saved in self.saved.items() if saved][dice % sum(map(bool, self.saved.values()))]
        saved = self.saved[output_dir]
        step = self.newest[output_dir] if is_newest else sorted(saved)[dice % len(saved)]
        before = state_of(self.ours)
        try:
            if is_newest:
                position = restore(self.ours, True, output_dir=output_dir)
            else:
                position = restore(self.ours, f"{output_dir}/checkpoint-{step}")
        except StateMismatchError as error:
            assert_one_sentence(error)
            assert saved[step].frozen != self.frozen
            assert_same(state_of(self.ours), before)
            return
        assert (position.step, position.epoch, position.batch) == saved[step].position
        self.put(saved[step].state)
        self.check()
        self.pending, self.is_compiled_since = saved[step], False
        self.counted, self.uncounted = step, 0

    def put(self, state) -> None:
        """Make the twin what it was."""
        with contextlib.suppress(ValueError):
            self.twin.optimizer.build(self.twin.trainable_variables)
        variables = [*model_variables(self.twin), *self.twin.optimizer.variables]
        for variable, value in itertools.zip_longest(variables, state):
            variable.assign(np.zeros(variable.shape) if value is None else value)

    @precondition(lambda self: self.steps_per_execution == 1)  # tf_keras asks for as many batches.
    @rule()
    def train_on_batch(self):
        assert len({str(model.train_on_batch(X[:4], Y[:4])) for model in self.each()}) == 1
        self.uncounted += 1
        self.check()

    # -- between trainings -----------------------------------------------------------------------------------------

    @rule(is_logged=st.booleans())
    def look(self, is_logged):
        callbacks = [WandbMetricsLogger()] if is_logged else []
        ours = self.ours.evaluate(X, Y, batch_size=BATCH_SIZE, verbose=0, callbacks=callbacks)
        assert ours == self.twin.evaluate(X, Y, batch_size=BATCH_SIZE, verbose=0)
        np.testing.assert_array_equal(*(model.predict(X, verbose=0) for model in self.each()))
        self.check()

    @rule()
    def compile(self):
        for model in self.each():
            model.compile(
                self.keras.optimizers.SGD(0.1, momentum=0.9),
                self.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
                metrics=["accuracy"],
                steps_per_execution=self.steps_per_execution,
            )
        self.frozen = self.frozen[0], self.frozen[0]
        self.uncounted = 0
        self.is_compiled_since = self.pending is not None

    @rule(rate=st.sampled_from([0.01, 0.05, 0.2]))
    def set_learning_rate(self, rate):
        for model in self.each():
            model.optimizer.learning_rate = rate
        self.check()

    @rule(is_trainable=st.booleans())
    def set_trainable(self, is_trainable):
        for model in self.each():
            model.layers[0].trainable = is_trainable
        self.frozen = not is_trainable, self.frozen[1]
        self.compile()

    @rule(factor=st.sampled_from([0.5, -1.0]))
    def set_weights(self, factor):
        for model in self.each():
            model.set_weights([factor * values for values in model.get_weights()])
        self.check()


class OnTfKeras(OnAModel):
    kind = "tf_keras"


class OnKeras(OnAModel):
    kind = "keras"
