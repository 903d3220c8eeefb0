"""The methods of a trainer about its callbacks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tf_hfwb.errors import SettingError
from tf_hfwb.trainer.fit_callbacks import check_trainer_callbacks, find_callback
from tf_hfwb.trainer.trainer_attributes import TrainerParts
from tf_hfwb.trainer.trainer_events.built_in_callbacks import BuiltIn, built_in
from tf_hfwb.trainer.trainer_events.callback_handler_for_scripts import CallbackHandler

if TYPE_CHECKING:
    from transformers.trainer_callback import TrainerControl, TrainerState


class CallbackMethods(TrainerParts):
    """What a user asks a trainer about its callbacks, and about what these are told.

    Example:
        >>> import keras
        >>> from transformers import PrinterCallback
        >>> from tf_hfwb import TFTrainer, TFTrainingArguments
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> model.compile(loss="mse")
        >>> trainer = TFTrainer(model, TFTrainingArguments(report_to="none"), callbacks=[PrinterCallback])
        >>> trainer.pop_callback(PrinterCallback) is not None, trainer.callbacks
        (True, [])

    Follows ``transformers.Trainer``.
    """

    @property
    def state(self) -> TrainerState:
        """How far the training is, or the last one: ``global_step``, ``epoch``, ``log_history``, ``best_metric``."""
        return self._events.state

    @property
    def control(self) -> TrainerControl:
        """What callbacks of transformers want to happen next."""
        return self._events.control

    @control.setter
    def control(self, control: TrainerControl) -> None:
        self._events.control = control

    @property
    def callback_handler(self) -> CallbackHandler:
        """Calls events, for an ``evaluate`` of a subclass that does all by itself."""
        return CallbackHandler(self._events)

    def add_callback(self, callback: Any) -> None:
        """Add a callback, before a training.

        Args:
            callback: A callback of transformers or of Keras, or its class.

        Raises:
            SettingError: It cannot work here, or a training is under way.
        """
        self._refuse_during_training("add_callback", callback)
        self.callbacks = check_trainer_callbacks([*self.callbacks, callback], self.args)

    def pop_callback(self, callback: Any) -> Any:
        """Take a callback out of the list, and return it; None if it is not there.

        What transformers' ``Trainer`` does by callbacks of its own is switched off by their names, too:
        ``ProgressCallback`` stands for the progress and the closing table, ``WandbCallback`` for the tracking.

        Args:
            callback: The callback, or its class: then the first one of that class.

        Raises:
            SettingError: A training is under way, or the class is one without which nothing would be done.
        """
        self._refuse_during_training("pop_callback", callback)
        found = find_callback(self.callbacks, callback)
        if found is not None:
            self.callbacks.remove(found)
            return found
        match built_in(callback):
            case BuiltIn.PROGRESS:
                self.args.disable_tqdm = True
            case BuiltIn.TRACKING:
                self.args.report_to = [name for name in self.args.report_to or () if name != "wandb"]
            case BuiltIn.FLOW:
                raise SettingError(
                    "pop_callback",
                    callback,
                    expected="another callback, as the arguments decide here when to log, to evaluate and to save",
                    advice="Set logging_strategy, eval_strategy and save_strategy to 'no'.",
                )
        return None

    def remove_callback(self, callback: Any) -> None:
        """Take a callback out of the list, if it is there; arguments and errors are those of :meth:`pop_callback`."""
        self.pop_callback(callback)

    def _refuse_during_training(self, method: str, callback: Any) -> None:
        if self._running is not None:
            raise SettingError(
                method,
                callback,
                expected="no call while a training is under way, as Keras has taken its callbacks already",
                advice="Call it before train().",
            )
