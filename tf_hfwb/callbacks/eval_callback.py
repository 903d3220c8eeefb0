"""``WandbEvalCallback``: tables that a subclass fills, as W&B's own class of that name has them."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from tf_hfwb.errors import SettingError
from tf_hfwb.fit.callback_place import CallbackPlace
from tf_hfwb.fit.fit_callback import FitCallback
from tf_hfwb.keras_compat import Logs
from tf_hfwb.settings import Settings
from tf_hfwb.tracking import Tracker
from tf_hfwb.tracking.run_tables import log_data_table, new_table, submit_prediction_table


class WandbEvalCallback(FitCallback):
    """A base for callbacks that fill W&B Tables with samples and predictions of their own.

    Subclasses of ``wandb.integration.keras.WandbEvalCallback`` work with it when only the import is changed, on
    transformers' TF models too, offline too, and without a ``wandb.init`` before it. For tables without code of your
    own see :class:`~tf_hfwb.WandbEvalTable`.

    Args:
        data_table_columns: Columns of :attr:`data_table`.
        pred_table_columns: Columns of :attr:`pred_table`.

    Attributes:
        data_table: The client's table of samples, which :meth:`add_ground_truth` fills once.
        data_table_ref: The same as W&B has it: rows of other tables that take values from its ``data`` refer to them
            and are small. Offline it is ``data_table`` itself.
        pred_table: A new table for each epoch, which :meth:`add_model_predictions` fills.

    Raises:
        SettingError: The columns are no lists of names, or the two methods are not there.

    Example:
        >>> import numpy as np
        >>> class Digits(WandbEvalCallback):
        ...     def __init__(self, x, y):
        ...         super().__init__(["index", "label"], ["epoch", "index", "label", "prediction"])
        ...         self.x, self.y = x, y
        ...     def add_ground_truth(self, logs=None):
        ...         for index, label in enumerate(self.y):
        ...             self.data_table.add_data(index, label)
        ...     def add_model_predictions(self, epoch, logs=None):
        ...         predictions = self.model.predict(self.x, verbose=0).argmax(axis=-1)
        ...         for index in self.data_table_ref.get_index():
        ...             self.pred_table.add_data(epoch, *self.data_table_ref.data[index], predictions[index])
        >>> import keras
        >>> x = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
        >>> y = (x[:, 0] > 0).astype("int64")
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        >>> history = model.fit(x, y, verbose=0, callbacks=[Digits(x, y)])

    Follows ``wandb.integration.keras.WandbEvalCallback``.
    """

    place = CallbackPlace.TABLES

    data_table: Any
    data_table_ref: Any
    pred_table: Any

    def __init__(
        self, data_table_columns: Sequence[str], pred_table_columns: Sequence[str], *args: Any, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        for name, columns in (("data_table_columns", data_table_columns), ("pred_table_columns", pred_table_columns)):
            if isinstance(columns, str) or not all(isinstance(column, str) for column in columns) or not columns:
                raise SettingError(name, columns, expected="a list of names")
        for hook in ("add_ground_truth", "add_model_predictions"):
            if getattr(type(self), hook) is getattr(WandbEvalCallback, hook):
                raise SettingError(hook, type(self).__name__, expected=f"a class that defines it: {_EXPECTED[hook]}")
        self.data_table_columns = list(data_table_columns)
        self.pred_table_columns = list(pred_table_columns)
        self._settings = Settings.resolve()
        self._tracker = Tracker()

    def add_ground_truth(self, logs: Logs | None = None) -> None:
        """Add the samples to ``self.data_table``; called once, when ``fit`` begins."""

    def add_model_predictions(self, epoch: int, logs: Logs | None = None) -> None:
        """Add predictions to ``self.pred_table``; called at the end of each epoch."""

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Fill and log the table of samples."""
        self._tracker = self._find_session().run.open(self, self._settings, for_artifacts=True)
        self.init_data_table(self.data_table_columns)
        _call(self.add_ground_truth, logs=logs)
        self.log_data_table()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Fill and log a table of predictions."""
        self.init_pred_table(self.pred_table_columns)
        _call(self.add_model_predictions, epoch, logs=logs)
        self.log_pred_table()

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Wait until the tables are handed over."""
        self._tracker.flush()

    def init_data_table(self, column_names: Sequence[str]) -> None:
        """Begin the table of samples."""
        self.data_table = new_table(column_names, allow_mixed_types=True)

    def init_pred_table(self, column_names: Sequence[str]) -> None:
        """Begin a table of predictions."""
        self.pred_table = new_table(column_names)

    def log_data_table(self, name: str = "val", type: str = "dataset", table_name: str = "val_data") -> None:
        """Log the table of samples as an artifact that the run uses.

        Args:
            name: Of the artifact.
            type: Of the artifact.
            table_name: Of the table in it.
        """
        self.data_table_ref = log_data_table(self._tracker, self.data_table, name, type, table_name)

    def log_pred_table(
        self, type: str = "evaluation", table_name: str = "eval_data", aliases: list[str] | None = None
    ) -> None:
        """Log the table of predictions as a new version of the artifact ``run_{id}_pred``, in the background.

        Args:
            type: Of the artifact.
            table_name: Of the table in it.
            aliases: Of the version, besides ``latest``.
        """
        submit_prediction_table(self._tracker, self.pred_table, type, table_name, aliases or ["latest"])


_EXPECTED = {
    "add_ground_truth": "add_ground_truth(self, logs=None)",
    "add_model_predictions": "add_model_predictions(self, epoch, logs=None)",
}


def _call(hook: Any, *args: Any, logs: Logs | None) -> None:
    """Older subclasses take no ``logs``."""
    parameters = inspect.signature(hook).parameters.values()
    takes_logs = len(parameters) > len(args) or any(p.kind is p.VAR_KEYWORD for p in parameters)
    hook(*args, logs) if takes_logs else hook(*args)
