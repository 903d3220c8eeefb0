"""What arguments say of evaluations: when the first one is, and what becomes of predictions."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tiny
from helpers import KERASES, eval_rows, finish, history, nightly, samples

from tf_hfwb import EarlyStopping, TFTrainer, TFTrainingArguments
from tf_hfwb.errors import SettingError
from tf_hfwb.step_policies import EverySteps

STEP = "train/global_step"


def trainer_of(kind="tf_keras", *, number=12, callbacks=(), compute_metrics=None, preprocess=None, **options):
    """With 3 batches of 4 samples an epoch."""
    defaults = {"report_to": "none", "disable_tqdm": True, "save_strategy": "no"}
    defaults |= {"per_device_train_batch_size": 4, "per_device_eval_batch_size": 4, "max_steps": 6}
    model = tiny.functional(kind) if kind in KERASES else getattr(tiny, kind)()
    if kind in KERASES:
        data = tiny.named(samples(number))
    else:
        data = {"bert": tiny.classified, "t5": tiny.answered, "gpt2": tiny.next_words}[kind](number)
    return TFTrainer(
        model,
        TFTrainingArguments(**{**defaults, **options}),
        train_dataset=data,
        eval_dataset=data,
        processing_class=None if kind in KERASES else tiny.tokenizer(),
        compute_metrics=compute_metrics,
        callbacks=callbacks,
        preprocess_logits_for_metrics=preprocess,
    )


def evaluated_steps(**options) -> list[int]:
    trainer_of(report_to="wandb", **options).train()
    return [row[STEP] for row in eval_rows(history(finish()))]


# When


@pytest.mark.parametrize("kind", ["tf_keras", nightly("keras"), nightly("bert")])
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        nightly({"eval_strategy": "steps", "eval_steps": 1, "eval_delay": 4}, [4, 5, 6]),
        ({"eval_strategy": "steps", "eval_steps": 2, "eval_delay": 2.5}, [4, 6]),
        nightly({"eval_strategy": "steps", "eval_steps": 2, "eval_delay": 7}, []),
        nightly({"eval_strategy": "epoch", "eval_delay": 2, "max_steps": 9}, [6, 9]),
        ({"eval_strategy": "epoch", "eval_delay": 1.5, "max_steps": 9}, [6, 9]),
        nightly({"eval_strategy": "steps", "eval_steps": 3, "eval_on_start": True}, [0, 3, 6]),
        ({"eval_strategy": "epoch", "eval_on_start": True}, [0, 3, 6]),
        ({"eval_strategy": "no", "eval_on_start": True}, [0]),
        ({"eval_strategy": "steps", "eval_steps": 2, "eval_on_start": True, "eval_delay": 5}, [0, 6]),
    ],
)
def test_evaluations_fall_on_these_steps(kind, options, expected):
    assert evaluated_steps(kind=kind, **options) == expected


def test_a_policy_with_an_earliest_step():
    for earliest in (0, 1, 4, 5, 10, 10.5, 15):
        policy = EverySteps(5, earliest=earliest)
        for step in range(30):
            assert policy.next_due(step) == next(n for n in range(step + 1, 99) if n % 5 == 0 and n >= earliest)


@pytest.mark.parametrize("kind", ["tf_keras", nightly("keras")])
def test_the_model_at_the_start_is_evaluated_before_its_first_step(kind):
    found = []

    def note(prediction):
        found.append(np.array(prediction.predictions))
        return {}

    trainer = trainer_of(kind, eval_on_start=True, learning_rate=0.5, compute_metrics=note)
    before = trainer.model.predict(trainer.eval_dataset[0], verbose=0)
    trainer.train()
    assert len(found) == 1
    np.testing.assert_allclose(found[0], before, rtol=1e-5, atol=1e-6)


@pytest.mark.nightly
def test_a_resumed_training_does_not_start_again():
    options = {"report_to": "wandb", "eval_on_start": True, "eval_strategy": "steps", "eval_steps": 2}
    options |= {"save_strategy": "steps", "save_steps": 2, "output_dir": "out"}
    trainer_of(max_steps=4, **options).train()
    finish()
    trainer_of(max_steps=6, **options).train(resume_from_checkpoint="out/checkpoint-2")
    assert [row[STEP] for row in eval_rows(history(finish()))] == [6]  # The run has the others already.


def test_the_first_evaluation_is_no_metric_of_the_epoch():
    stopping = EarlyStopping("val_loss", patience=0)
    trainer = trainer_of(eval_on_start=True, learning_rate=0.0, max_steps=6, callbacks=[stopping])
    assert trainer.train().global_step == 6


def test_evaluations_need_data():
    with pytest.raises(SettingError, match=r"a dataset, because eval_on_start=True. .*set eval_on_start=False"):
        TFTrainer(tiny.functional("tf_keras"), TFTrainingArguments(eval_on_start=True, report_to="none"))
    with pytest.raises(SettingError, match=r"because eval_strategy='epoch'. .*set eval_strategy='no'"):
        TFTrainer(tiny.functional("tf_keras"), TFTrainingArguments(eval_strategy="epoch", report_to="none"))
    with pytest.raises(SettingError, match="eval_delay=-1 cannot be used"):
        TFTrainingArguments(eval_delay=-1)


def test_only_an_evaluated_checkpoint_is_the_best(caplog):
    options = {"eval_strategy": "steps", "eval_steps": 2, "eval_delay": 3, "save_strategy": "steps", "save_steps": 2}
    trainer_of(load_best_model_at_end=True, output_dir="out", **options).train()
    best = [json.loads(Path(f"out/checkpoint-{n}/trainer_state.json").read_text())["best_step"] for n in (2, 4, 6)]
    assert best == [None, 4, 6]
    assert not caplog.records


# What


def never(prediction):
    raise AssertionError(prediction)


@pytest.mark.parametrize("kind", [nightly("tf_keras"), nightly("keras"), "bert", nightly("t5")])
def test_only_the_loss_is_predicted(kind):
    trainer = trainer_of(kind, prediction_loss_only=True, compute_metrics=never)
    metrics, output = trainer.evaluate(), trainer.predict(trainer.eval_dataset)
    assert (output.predictions, output.label_ids) == (None, None)
    expected = trainer_of(kind).evaluate()
    assert metrics["eval_loss"] == output.metrics["test_loss"] == pytest.approx(expected["eval_loss"])
    assert set(metrics) == set(expected)


@pytest.mark.nightly
def test_only_the_loss_of_generated_predictions():
    trainer = trainer_of("t5", prediction_loss_only=True, predict_with_generate=True, compute_metrics=never)
    assert trainer.predict(trainer.eval_dataset).predictions is None


def test_a_metric_that_is_not_computed_cannot_tell_the_best():
    options = {"eval_strategy": "epoch", "save_strategy": "epoch", "metric_for_best_model": "right"}
    trainer = trainer_of(prediction_loss_only=True, compute_metrics=never, **options)
    with pytest.raises(SettingError, match="metric_for_best_model='right' is not recognised"):
        trainer.train()


@pytest.mark.parametrize("kind", ["tf_keras", nightly("keras"), nightly("bert"), nightly("gpt2"), "t5"])
def test_batches_are_not_joined(kind):
    seen = []

    def note(prediction):
        seen.append(prediction)
        return {"batches": len(prediction.predictions)}

    trainer = trainer_of(kind, number=11, eval_do_concat_batches=False, compute_metrics=note)
    assert trainer.evaluate()["eval_batches"] == 3
    output = trainer.predict(trainer.eval_dataset)
    joined = trainer_of(kind, number=11).predict(trainer.eval_dataset)
    for batches, whole in ((output.predictions, joined.predictions), (output.label_ids, joined.label_ids)):
        assert isinstance(batches, list)
        first = [batch[0] if isinstance(batch, tuple) else batch for batch in batches]
        whole = whole[0] if isinstance(whole, tuple) else whole
        assert [len(batch) for batch in first] == [4, 4, 3]
        for batch, start in zip(first, (0, 4, 8), strict=True):
            inner = tuple(slice(length) for length in batch.shape[1:])
            np.testing.assert_allclose(batch, whole[(slice(start, start + len(batch)), *inner)], rtol=1e-4, atol=1e-5)


def test_what_else_metrics_get_is_not_joined_either():
    def note(prediction):
        assert [len(part) for part in prediction.inputs] == [len(part) for part in prediction.losses] == [4, 4, 3]
        return {}

    options = {"eval_do_concat_batches": False, "include_for_metrics": ["inputs", "loss"]}
    trainer_of("bert", number=11, compute_metrics=note, **options).evaluate()


def test_data_without_labels_has_no_list_of_labels():
    trainer = trainer_of(eval_do_concat_batches=False)
    output = trainer.predict({"x": samples(11)[0]})
    assert output.label_ids is None
    assert len(output.predictions) == 3
