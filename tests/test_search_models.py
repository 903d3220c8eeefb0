"""Small searches of models of other architectures, and on JAX."""

from __future__ import annotations

import json

import numpy as np
import optuna
import pytest
import tiny
from forking import Launcher
from helpers import needs

from tf_hfwb import TFSeq2SeqTrainer, TFSeq2SeqTrainingArguments

# Two trials of a model of Keras 3, of which one is pruned at its first evaluation.
ON_JAX = """
import json, sys
import keras, optuna
from helpers import classifier, samples
from tf_hfwb import TFTrainer, TFTrainingArguments

assert keras.backend.backend() == "jax"
args = TFTrainingArguments(
    "out", max_steps=4, per_device_train_batch_size=8, eval_strategy="steps", eval_steps=2, save_steps=2,
    report_to="none", disable_tqdm=True,
)
given = {"model_init": lambda: classifier("keras"), "train_dataset": samples(32), "eval_dataset": samples(20, seed=1)}
start = float(classifier("keras").evaluate(*samples(20, seed=1), verbose=0)[0])
rates = [0.05, 1e-6]
best = TFTrainer(args=args, **given).hyperparameter_search(
    lambda trial: {"learning_rate": trial.suggest_categorical("learning_rate", rates)},
    lambda metrics: metrics["eval_loss"],
    n_trials=2,
    sampler=optuna.samplers.GridSampler({"learning_rate": rates}),
    pruner=optuna.pruners.ThresholdPruner(upper=0.9 * start),
)
trials = optuna.load_study(study_name="search", storage="sqlite:///out/search/optuna.db").trials
found = sorted((t.params["learning_rate"], t.state.name, list(t.intermediate_values)) for t in trials)
print("\\n" + json.dumps([best.hyperparameters, found, "tensorflow" in sys.modules]))
"""


def test_trials_of_keras_on_jax():
    pytest.importorskip("jax")
    with Launcher(KERAS_BACKEND="jax") as launcher:
        said = launcher.python(ON_JAX, KERAS_BACKEND="jax").stdout
    best, trials, _ = json.loads(said.splitlines()[-1])
    assert best == {"learning_rate": 0.05}
    assert trials == [[1e-6, "PRUNED", [2]], [0.05, "COMPLETE", [2, 4]]]


def exact(prediction):
    """Generated tokens begin as the answer does: one metric that needs the predictions."""
    generated, labels = np.asarray(prediction.predictions), np.asarray(prediction.label_ids)
    return {"first": float(np.mean(generated[:, 1] == labels[:, 0]))}


def top(prediction):
    return {"right": float(np.mean(np.argmax(prediction.predictions, -1) == prediction.label_ids))}


CASES = {
    "gpt2": (tiny.gpt2, tiny.next_words, None, {}, "eval_loss"),
    "t5": (tiny.t5, tiny.answered, exact, {"predict_with_generate": True, "generation_max_length": 6}, "eval_first"),
    "vit": (tiny.vit, tiny.pictures, top, {}, "eval_right"),
}


@needs("tf_keras")
@pytest.mark.nightly
@pytest.mark.parametrize("name", CASES)
def test_trials_of_models_of_transformers(name):
    make, data, compute_metrics, options, metric = CASES[name]
    args = TFSeq2SeqTrainingArguments(
        "out",
        max_steps=4,
        per_device_train_batch_size=4,
        eval_strategy="steps",
        eval_steps=2,
        save_steps=2,
        save_total_limit=1,
        report_to="none",
        disable_tqdm=True,
        **options,
    )
    dropouts = []

    def model_init(trial):
        dropouts.append(None if trial is None else trial.params["dropout"])
        return make(dropouts[-1] or 0.0)

    def space(trial):
        return {
            "learning_rate": trial.suggest_float("learning_rate", 1e-3, 1e-1, log=True),
            "dropout": trial.suggest_float("dropout", 0, 0.5),
        }

    trainer = TFSeq2SeqTrainer(
        args=args,
        model_init=model_init,
        train_dataset=data(12),
        eval_dataset=data(6),
        processing_class=None if name == "vit" else tiny.tokenizer(),
        compute_metrics=compute_metrics,
    )
    best = trainer.hyperparameter_search(space, lambda metrics: metrics[metric], n_trials=2)
    trials = optuna.load_study(study_name="search", storage="sqlite:///out/search/optuna.db").trials
    assert [(trial.state.name, [*trial.intermediate_values]) for trial in trials] == [("COMPLETE", [2, 4])] * 2
    assert dropouts == [None, *(trial.params["dropout"] for trial in trials)]
    assert best.objective == min(trial.value for trial in trials)
    # What the best trial has saved is a model that gives its objective.
    trainer.train(f"out/run-{best.run_id}/checkpoint-4", optuna.trial.FixedTrial(best.hyperparameters))
    assert trainer.evaluate()[metric] == pytest.approx(best.objective, rel=1e-5)
