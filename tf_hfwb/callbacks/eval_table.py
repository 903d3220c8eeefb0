"""``WandbEvalTable``: what the model says of a few samples, evaluation after evaluation, as a table of the run."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from tf_hfwb.errors import SettingError
from tf_hfwb.evaluation.tables.predicted_samples import PredictedSamples, UserRows
from tf_hfwb.fit.callback_place import CallbackPlace
from tf_hfwb.fit.evaluation_listener import EvaluationCallback
from tf_hfwb.keras_compat import Logs
from tf_hfwb.resume.checkpoint_participants import TABLES, CaptureState
from tf_hfwb.settings import Settings
from tf_hfwb.tracking import Tracker
from tf_hfwb.tracking.run_tables import GrowingTable, check_table_key
from tf_hfwb.validation.argument_checks import check_whole_number

_logger = logging.getLogger("tf_hfwb")


class WandbEvalTable(EvaluationCallback):
    """Log what the model says of a few samples to a W&B Table that grows with every evaluation.

    Each row has the global step, the epoch, the number of the sample, its input as a person reads it, the label, the
    prediction, and as far as the task has them its probability, the sample's loss and whether it is correct. The
    columns come from the model's task: classification of texts, of pairs of texts and of images, also into any number
    of classes, and regression; token classification; question answering; masked, causal and sequence-to-sequence
    language models, which generate; and plain Keras classifiers and regressors, also those with a class for each word
    or pixel. The samples are chosen once for a model: spread evenly over the data, or the first ones of a
    ``tf.data.Dataset``.

    An evaluation is one inside ``fit`` or ``train``: Keras's own at the end of an epoch, or one of ``TFTrainer``;
    without any, each epoch counts. ``model.evaluate`` and ``trainer.evaluate`` by themselves log no table. Only the
    predictions are made on the training thread. A resumed training continues the table: rows that it has are not
    written again. The same samples can be read back from the run in order of ``train/global_step`` and ``example``.

    Args:
        dataset: What the samples are chosen from: a raw ``datasets.Dataset`` (texts, images, words, questions with
            contexts) or a tokenised one, a batched ``tf.data.Dataset``, or arrays ``(x, y)``.
        processing_class: The tokenizer or image processor: it prepares raw data and turns token ids into text.
        num_samples: How many samples.
        freq: A table at every so many evaluations.
        table_key: The name of the table in the run.
        batch_size: How many samples are predicted at once.
        class_names: Names of the classes, in order or by number as in ``id2label``, instead of those of
            ``model.config.id2label`` or of the data set. With names, a plain Keras model's outputs are classes.
        input_columns: The columns of a raw data set that are the input, where their names do not tell.
        rows: Your own columns instead of the task's: a function from the inputs, labels and predictions of a batch
            (arrays, or dicts of them) to a list of dicts, all with the same keys. A uint8 array
            [height, width, channels] is shown as an image.
        max_bytes: How large the rows of one evaluation may be; what is beyond is left out, with a warning.
        max_new_tokens: How long a generated text may be; else the model's own limit.
        num_beams: Beams of a generated text; else the model's own number.

    Raises:
        SettingError: A number is not positive, ``table_key`` is empty or too long, or, when ``fit`` begins, that of
            another one, or a class has no name in ``class_names``.
        DataError: When ``fit`` begins: the data cannot be used with the model, or ``rows`` returns no list of dicts.

    Example:
        >>> import numpy as np, keras
        >>> x = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
        >>> table = WandbEvalTable((x, (x[:, 0] > 0).astype("int64")), num_samples=8, class_names=["no", "yes"])
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        >>> history = model.fit(x, (x[:, 0] > 0).astype("int64"), verbose=0, callbacks=[table])

    Takes the place of ``wandb.integration.keras.WandbEvalCallback``, whose subclasses work with
    :class:`~tf_hfwb.WandbEvalCallback`.
    """

    place = CallbackPlace.TABLES

    def __init__(
        self,
        dataset: Any,
        *,
        processing_class: Any = None,
        num_samples: int = 100,
        freq: int = 1,
        table_key: str = "sample_predictions",
        batch_size: int = 32,
        class_names: Sequence[str] | Mapping[int, str] | None = None,
        input_columns: Sequence[str] | None = None,
        rows: UserRows | None = None,
        max_bytes: int = 20_000_000,
        max_new_tokens: int | None = None,
        num_beams: int | None = None,
    ) -> None:
        super().__init__()
        given = {"max_new_tokens": max_new_tokens, "num_beams": num_beams}
        generation = {name: check_whole_number(name, value) for name, value in given.items() if value is not None}
        if rows is not None and not callable(rows):
            raise SettingError(
                "rows", rows, expected="a function from inputs, labels and predictions to a list of dicts"
            )
        if isinstance(class_names, str):
            raise SettingError("class_names", class_names, expected="a list of names, or a dict from numbers to names")
        self._key = check_table_key(table_key)
        self._dataset = dataset
        self._options: dict[str, Any] = {
            "processing_class": processing_class,
            "number": check_whole_number("num_samples", num_samples),
            "batch_size": check_whole_number("batch_size", batch_size),
            "class_names": class_names,
            "input_columns": input_columns,
            "rows": rows,
            "generation": generation,
        }
        self._freq = check_whole_number("freq", freq)
        self._max_bytes = check_whole_number("max_bytes", max_bytes)
        self._settings = Settings.resolve()
        self._samples: PredictedSamples | None = None
        self._table: GrowingTable | None = None  # None without a run.
        self._evaluations = 0
        self._tracker = Tracker()
        self.participant_name = f"{TABLES}/{self._key}"

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Choose the samples, and find out whether the table can be made of them."""
        super().on_train_begin(logs)
        if self.participant_name in self._session.participants:
            raise SettingError(
                "table_key",
                self._key,
                expected="another one for each WandbEvalTable, or their rows would mix",
                advice="Pass table_key='other_predictions' to one of them.",
            )
        self._session.participants.add(self)
        self._tracker = self._session.run.open(self, self._settings)
        self._table = None
        if not self._tracker.active:
            return
        self._table = GrowingTable(self._tracker, self._key, self._max_bytes)
        if self._samples is None or self._samples.model is not self.model:
            samples = PredictedSamples(self.model, self._dataset, **self._options)
            samples.rows(samples.predict())  # What cannot be shown is an error now, and not after an epoch.
            self._samples = samples

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Count on from the evaluations of the resumed training."""
        self._evaluations = state.get("evaluations", 0)

    def capture_state(self) -> CaptureState:
        """The number of evaluations so far."""
        state = {"evaluations": self._evaluations}
        return lambda: state

    def on_evaluated(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Predict the samples, and hand the rest over to the tracker's thread."""
        self._evaluations += 1
        if self._table is None or self._samples is None or self._evaluations % self._freq:
            return
        samples, predictions = self._samples, self._samples.predict()
        self._table.submit(lambda: samples.rows(predictions), step, self._schedule.position()[1])

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Wait until the table is handed over."""
        super().on_train_end(logs)
        self._tracker.flush()
