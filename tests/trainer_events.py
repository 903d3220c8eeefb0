"""The order in which transformers' ``Trainer`` calls its callbacks, by its own handler and its own default flow."""

from __future__ import annotations

import dataclasses
import math
import pathlib

import transformers
from transformers.trainer_callback import CallbackHandler, DefaultFlowCallback, TrainerControl, TrainerState

EVENTS = [
    *("on_init_end", "on_train_begin", "on_epoch_begin", "on_step_begin", "on_optimizer_step", "on_substep_end"),
    *("on_step_end", "on_log", "on_evaluate", "on_predict", "on_save", "on_prediction_step", "on_epoch_end"),
    "on_train_end",
]


def accuracy(prediction):
    """The share of right predictions, for ``compute_metrics``."""
    return {"accuracy": float((prediction.predictions.argmax(-1) == prediction.label_ids).mean())}


def course_of(trainer, recorder, output, folder) -> dict:
    """What a training has done, by either trainer.

    Args:
        trainer: The trainer, which has trained.
        recorder: What its callback has heard.
        output: What ``train`` has returned.
        folder: Its output directory.
    """
    state = dataclasses.asdict(dataclasses.replace(trainer.state, stateful_callbacks={}))
    if state["best_model_checkpoint"]:
        state["best_model_checkpoint"] = pathlib.Path(state["best_model_checkpoint"]).name
    return {
        "heard": recorder.heard,
        "states": recorder.states,
        "keywords": {event: sorted(more) for event, more in recorder.keywords.items()},
        "state": state,
        "saved": sorted(path.name for path in pathlib.Path(folder).iterdir()),
        "output": [output.global_step, output.training_loss, sorted(output.metrics)],
    }


class Recorder(transformers.TrainerCallback):
    """Notes each event with the step, the epoch, what ``control`` wants, and the names of metrics and logs."""

    def __init__(self, act=None):
        self.heard = []
        self.states = []
        self.keywords = {}
        self.act = act  # Called with each event, for a callback that wants something.

    def note(self, event, args, state, control, **more):
        wanted = [flag.removeprefix("should_") for flag, value in dataclasses.asdict(control).items() if value]
        self.keywords[event] = more
        names = sorted(name for name in more.get("logs", more.get("metrics", ())) if "_per_second" not in name)
        names = [name for name in names if name not in ("total_flos", "grad_norm")]
        self.heard.append((event, state.global_step, round(state.epoch or 0, 6), *wanted, *names))
        best = None if state.best_metric is None else round(state.best_metric, 4)
        self.states.append((event, len(state.log_history), best, state.best_global_step, state.max_steps))
        return None if self.act is None else self.act(event, args, state, control)

    def names(self):
        return [event[0] for event in self.heard]


for name in EVENTS:
    setattr(Recorder, name, lambda self, *given, event=name, **more: self.note(event, *given, **more))


def asking(flag, *, at, event="on_step_end", value=True):
    """What sets a flag of ``control`` at some steps."""

    def act(heard, args, state, control):
        if heard != event or state.global_step not in at:
            return None
        setattr(control, flag, value)
        return control

    return act


def acting(wishes):
    """What does all that several :func:`asking` with these arguments do."""
    acts = [asking(**wish) for wish in wishes]

    def act(heard, args, state, control):
        for one in acts:
            one(heard, args, state, control)

    return act


class Reference:
    """The loop of ``Trainer._inner_training_loop``, without a model.

    Beyond the ``Trainer``, here the last step has a row, too, where rows come by steps.
    """

    def __init__(self, args, callback, *, batches, eval_batches, eval_names=("",), train_names=("loss", "accuracy")):
        self.args, self.batches, self.eval_batches = args, batches, eval_batches
        self.eval_names, self.train_names = eval_names, train_names
        self.handler = CallbackHandler([DefaultFlowCallback(), callback], None, None, None, None)
        self.state, self.control = TrainerState(), TrainerControl()
        self.logged = 0
        self.call("on_init_end")

    def call(self, event, *more):
        self.control = getattr(self.handler, event)(self.args, self.state, self.control, *more)

    def log(self, *names):
        logs = dict.fromkeys(names, 0.0)
        if self.state.epoch is not None:
            logs["epoch"] = self.state.epoch
        self.call("on_log", logs)
        return logs

    def evaluate(self):
        for name in self.eval_names:
            prefix = f"eval_{name}" if name else "eval"
            for _ in range(self.eval_batches):
                self.call("on_prediction_step")
            metrics = self.log(*(f"{prefix}_{metric}" for metric in ("loss", "accuracy", "runtime")))
            self.call("on_evaluate", metrics)

    def follow(self):
        if self.control.should_log and self.state.global_step > self.logged:
            self.logged = self.state.global_step
            self.log(*self.train_names, "learning_rate")
        if self.control.should_evaluate:
            self.evaluate()
        if self.control.should_save:
            self.call("on_save")

    def train(self):
        args, state = self.args, self.state
        steps = args.max_steps if args.max_steps > 0 else math.ceil(args.num_train_epochs * self.batches)
        state.max_steps, state.epoch = steps, 0.0
        for kind in ("logging_steps", "eval_steps", "save_steps"):
            interval = getattr(args, kind) or args.logging_steps
            setattr(state, kind, interval if interval >= 1 else math.ceil(interval * steps))
        self.call("on_train_begin")
        for epoch in range(math.ceil(steps / self.batches)):
            self.call("on_epoch_begin")
            for batch in range(self.batches):
                self.call("on_step_begin")
                self.call("on_optimizer_step")
                state.global_step += 1
                state.epoch = epoch + (batch + 1) / self.batches
                if state.global_step == steps and args.logging_strategy == "steps":
                    self.control.should_log = True
                self.call("on_step_end")
                self.follow()
                if self.control.should_epoch_stop or self.control.should_training_stop:
                    break
            self.call("on_epoch_end")
            self.follow()
            if self.control.should_training_stop:
                break
        self.log("train_runtime", "train_loss")
        self.call("on_train_end")
