"""Where a trainer's metrics go: the W&B run and the dashboards that it reports to, if any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from tf_hfwb.callbacks.row_logger import RowLogger
from tf_hfwb.evaluation.metric_values import flat_numbers
from tf_hfwb.fit.fit_session import forget_steps
from tf_hfwb.fit.metric_names import evaluation_name, training_name
from tf_hfwb.settings import Settings
from tf_hfwb.tracking.run_links import describe_run, locate_run
from tf_hfwb.trainer.arguments.training_arguments import TFTrainingArguments
from tf_hfwb.trainer.search.search_trial import TrialState, TrialStoppedError, objective_names
from tf_hfwb.trainer.trainer_dashboards import TrainerDashboards


class RunOfTrial(NamedTuple):
    """What the W&B run of a trial has besides a training's.

    Attributes:
        group: Its group; None where it is no trial of a search.
        config: The hyperparameters.
        run_id: Which run it is; None for a new one, or that of the checkpoint.
    """

    group: str | None
    config: Mapping[str, Any]
    run_id: str | None = None


class TrainerReporting:
    """Reports a trainer's metrics, as ``report_to`` says; without it every method does nothing.

    Each training has a logger of its own, and so have the evaluations before and after it: they may belong to
    different runs. A run is opened at the first event.

    Args:
        model: The model.
        args: The trainer's arguments.
        trial: The trial that is trained; None outside of a search.
    """

    def __init__(self, model: Any, args: TFTrainingArguments, trial: RunOfTrial | None = None) -> None:
        self._model, self._trial = model, trial
        self._dashboards = TrainerDashboards()
        self._logger: RowLogger | None = None
        self.start(args, "no", {})

    @property
    def logger(self) -> RowLogger | None:
        """The callback that logs; None without reports."""
        return self._logger

    @property
    def directory(self) -> str | None:
        """The folder of the W&B run on disk; None without a run."""
        return None if self._logger is None else self._logger.tracker.directory

    @property
    def identity(self) -> Mapping[str, str]:
        """What finds the run again: ``id``, ``project``, ``entity`` and ``name``; empty without a run."""
        return {} if self._logger is None else self._logger.tracker.identity

    @property
    def link(self) -> str:
        """Where the run is, in Markdown; empty without one."""
        return "" if self._logger is None else describe_run(self._logger.tracker)

    @property
    def place(self) -> str:
        """Where the run and the dashboards are, for a terminal; empty without any."""
        if self._logger is None:
            return ""
        tracker = self._logger.tracker
        places = [locate_run(tracker), *(f"{title}: {place}" for title, place in tracker.dashboards.places.items())]
        return "; ".join(filter(None, places))

    def start(
        self,
        args: TFTrainingArguments,
        log_freq: Literal["no", "epoch"] | int,
        facts: Mapping[str, Any],
        *,
        waits_for_flow: bool = False,
    ) -> None:
        """Begin a new part: a training, or what comes after it.

        Args:
            args: Whether and as what it is reported.
            log_freq: When rows of training metrics are written.
            facts: What the run's config says besides the arguments.
            waits_for_flow: Whether rows are written when somebody tells the logger to, and not by ``log_freq``.
        """
        if not args.report_to:
            self._logger = None
            return
        group, run_id = (self._trial.group, self._trial.run_id) if self._trial else (None, None)
        self._logger = RowLogger(
            "no" if waits_for_flow else log_freq,
            log_first_step=args.logging_first_step and not waits_for_flow,
            run_name=args.run_name,
            config={**args.to_dict(), **facts, **(self._trial.config if self._trial else {})},
            settings=Settings.resolve(group=group, run_id=run_id) if "wandb" in args.report_to else None,
            dashboards=self._dashboards.of(args, group),
        )
        self._logger.set_model(self._model)

    def forget_steps(self) -> None:
        """Count steps from 0, in a run of their own; in a run that the user has opened the count continues."""
        tracker = None if self._logger is None else self._logger.tracker
        if tracker is None:
            forget_steps(self._model)
        elif not tracker.active or tracker.owned:
            forget_steps(self._model)
            tracker.finish()

    def begin_prediction(self) -> None:
        """Open the run."""
        if self._logger is not None:
            self._logger.on_predict_begin()

    def log_evaluation(self, metrics: Mapping[str, Any], seconds: float = 0.0) -> None:
        """Write a row of metrics of an evaluation.

        Args:
            metrics: By their full names; they may be nested, and what is no number is left out.
            seconds: How long it took; within a training this does not count as training time.
        """
        if self._logger is not None:
            self._logger.log_evaluation(flat_numbers(metrics), seconds)

    def log(self, metrics: Mapping[str, Any]) -> None:
        """Write a row of any metrics; those that are not named ``eval_...`` or ``test_...`` are of the training.

        Args:
            metrics: By their names. The epoch is the row's own.
        """
        named = {name: value for name, value in metrics.items() if name != "epoch"}
        self.log_evaluation({name if evaluation_name(name) else training_name(name): named[name] for name in named})

    def summarize(self, metrics: Mapping[str, Any]) -> None:
        """Put metrics into the run's summary, and write everything that was logged so far."""
        if self._logger is not None:
            tracker = self._logger.tracker
            tracker.submit(tracker.summarize, metrics)
            tracker.flush_rows()

    def flush(self) -> None:
        """Hand over what was logged so far."""
        if self._logger is not None and self._logger.tracker.active:
            self._logger.tracker.flush_rows()

    def end_trial(self, state: TrialState, objective: Sequence[float]) -> Mapping[str, str]:
        """Say in the run what a trial has come to, and end the run if the trainer has opened it.

        Args:
            state: How the trial has ended; one that was pruned has a tag.
            objective: The values of the objectives.

        Returns:
            What finds the run, as :attr:`identity`.
        """
        if self._logger is None:
            return {}
        tracker, run = self._logger.tracker, self.identity
        self.summarize({**objective_names(objective), "trial/state": state.value})
        if state is TrialState.PRUNED:
            tracker.submit(tracker.add_tag, state.value)
        tracker.finish()
        return run

    def fail(self, args: TFTrainingArguments, error: BaseException) -> None:
        """End a run that the trainer opened: as killed after an interrupt, and as failed after any other exception.

        Args:
            args: The trainer's arguments.
            error: What ended the training.
        """
        if self._logger is not None:
            if isinstance(error, TrialStoppedError):
                self.end_trial(error.state, error.objective)
            else:
                self._logger.tracker.finish(exit_code=255 if isinstance(error, KeyboardInterrupt) else 1)
            self.start(args, "no", {})  # Later evaluations are not part of the failed training.
