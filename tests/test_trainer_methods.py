"""What scripts call around training: the constructor by position, metrics printed and saved, counts, the state."""

from __future__ import annotations

import inspect
import json
import pathlib

import datasets
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
import tiny
import transformers
from helpers import KERASES, finish, history, nightly, samples
from test_trainer import named, trainer_of
from transformers.trainer_callback import TrainerState

import tf_hfwb
from tf_hfwb import TFSeq2SeqTrainer, TFSeq2SeqTrainingArguments, TFTrainer, TFTrainingArguments
from tf_hfwb.data import evaluation_batches
from tf_hfwb.errors import DataError, SettingError


def arguments(**options) -> TFTrainingArguments:
    return TFTrainingArguments(**{"output_dir": "out", "report_to": "none", "disable_tqdm": True, **options})


# -- the constructor -------------------------------------------------------------------------------------------------


def test_arguments_by_position_are_those_of_the_trainer_of_transformers():
    parameters = inspect.signature(TFTrainer.__init__).parameters.values()
    names = [one.name for one in parameters if one.kind is one.POSITIONAL_OR_KEYWORD and one.name != "self"]
    source = inspect.getsourcefile(transformers).replace("__init__.py", "trainer.py")
    text = pathlib.Path(source).read_text()
    signature = text[text.index("def __init__(") :]
    signature = signature[: signature.index("):\n")]
    theirs = [
        line.split(":")[0].strip() for line in signature.splitlines() if line.startswith("        ") and ":" in line
    ]
    theirs = [name for name in theirs if name.isidentifier()]
    assert names == theirs


def test_a_call_by_position():
    data, tokenizer = tiny.classified(), tiny.tokenizer()
    collator = transformers.DataCollatorWithPadding(tokenizer, return_tensors="np")
    args = arguments(max_steps=1, per_device_train_batch_size=4)
    trainer = TFTrainer(tiny.bert(), args, collator, data, data, tokenizer, None, None, None, None)
    assert (trainer.data_collator, trainer.processing_class, trainer.callbacks) == (collator, tokenizer, [])
    assert trainer.train().global_step == 1


def test_the_former_name_of_the_tokenizer(caplog):
    tokenizer = tiny.tokenizer()
    trainer = TFTrainer(tiny.bert(), arguments(), tokenizer=tokenizer)
    assert trainer.processing_class is tokenizer
    assert "tokenizer is a former spelling" in caplog.text
    caplog.clear()
    assert trainer.tokenizer is tokenizer
    assert "Write that" in caplog.text
    trainer.tokenizer = None
    assert trainer.processing_class is None
    with pytest.raises(SettingError, match=r"Expected None beside processing_class.* Pass processing_class alone"):
        TFTrainer(tiny.bert(), arguments(), processing_class=tokenizer, tokenizer=tokenizer)


def test_what_is_not_supported_is_refused():
    with pytest.raises(SettingError, match=r"optimizer_cls_and_kwargs=.* cannot be used. Expected None"):
        TFTrainer(tiny.functional("keras"), arguments(), optimizer_cls_and_kwargs=(object, {}))


def test_a_trainer_without_a_model():
    with pytest.raises(SettingError, match=r"model=None cannot be used. Expected a model, or a function"):
        TFTrainer(args=arguments())


@pytest.mark.parametrize("name", ["TrainingArguments", "Seq2SeqTrainingArguments", "TFTrainingArguments"])
def test_arguments_of_transformers_get_one_sentence_that_names_ours(name):
    theirs = getattr(transformers, name)
    try:
        args = theirs("out", report_to="none")
    except ImportError:  # It may ask for PyTorch.
        args = theirs.__new__(theirs)
    with pytest.raises(SettingError) as raised:
        TFTrainer(tiny.functional("keras"), args)
    assert str(raised.value).startswith(f"args='transformers.{name}' cannot be used. Expected tf_hfwb.TFTrainingArg")
    assert "from tf_hfwb import TFTrainingArguments" in str(raised.value)


def test_names_for_sequence_to_sequence_models():
    assert TFSeq2SeqTrainer is TFTrainer
    assert TFSeq2SeqTrainingArguments is TFTrainingArguments
    assert {"TFSeq2SeqTrainer", "TFSeq2SeqTrainingArguments"} <= set(tf_hfwb.__all__)


@pytest.mark.nightly
def test_the_names_for_sequences_generate_and_predict():
    data = tiny.answered(5)
    args = TFSeq2SeqTrainingArguments("out", predict_with_generate=True, report_to="none", disable_tqdm=True)
    trainer = TFSeq2SeqTrainer(tiny.t5(), args, eval_dataset=data, tokenizer=tiny.tokenizer())
    output = trainer.predict(data, metric_key_prefix="predict", max_length=7, num_beams=2)
    assert output.predictions.shape[1] <= 7
    assert "predict_loss" in output.metrics


# -- metrics ---------------------------------------------------------------------------------------------------------

METRICS = {
    "train_runtime": 3725.678,
    "train_loss": 0.123456,
    "epoch": 3.0,
    "train_samples": 1000,
    "init_mem_cpu_alloc_delta": 5 << 20,
    "total_flos": 3 << 30,
}
PRINTED = """\
***** train metrics *****
  epoch                    =        3.0
  init_mem_cpu_alloc_delta =        5MB
  total_flos               =        3GF
  train_loss               =     0.1235
  train_runtime            = 1:02:05.67
  train_samples            =       1000
"""


@pytest.fixture
def trainer():
    return trainer_of(tiny.functional("keras"), named(), output_dir="new/out")


def test_metrics_are_printed_as_by_the_trainer_of_transformers(trainer, capsys):
    trainer.log_metrics("train", METRICS)
    assert capsys.readouterr().out == PRINTED
    assert trainer.metrics_format(METRICS)["train_runtime"] == "1:02:05.67"
    trainer.log_metrics("test", {})
    assert capsys.readouterr().out == "***** test metrics *****\n"


def test_metrics_are_saved_by_split_and_all_together(trainer):
    trainer.save_metrics("train", METRICS)
    trainer.save_metrics("eval", {"eval_loss": np.float32(0.5), "eval_confusion": np.eye(2), "eval_note": {1, 2}})
    trainer.save_metrics("predict", {"predict_loss": 1.0}, combined=False)
    out = pathlib.Path("new/out")
    assert json.loads((out / "train_results.json").read_text()) == METRICS
    found = {"eval_loss": 0.5, "eval_confusion": [[1.0, 0.0], [0.0, 1.0]], "eval_note": "{1, 2}"}
    assert json.loads((out / "eval_results.json").read_text()) == found
    assert json.loads((out / "all_results.json").read_text()) == {**METRICS, **found}
    assert list(json.loads((out / "all_results.json").read_text())) == sorted({**METRICS, **found})
    assert (out / "predict_results.json").exists()


@pytest.mark.parametrize("broken", ["{", "[1]", ""])
def test_broken_results_are_written_anew(trainer, broken, caplog):
    out = pathlib.Path("new/out")
    out.mkdir(parents=True)
    (out / "all_results.json").write_text(broken)
    trainer.save_metrics("eval", {"eval_loss": 0.5})
    assert json.loads((out / "all_results.json").read_text()) == {"eval_loss": 0.5}
    assert "all_results.json is written anew" in caplog.text


def test_another_worker_than_the_chief_writes_nothing(monkeypatch, capsys, trainer):
    from tf_hfwb.keras_compat import Host
    from tf_hfwb.keras_compat.keras3_host import Keras3Host

    assert (trainer.is_world_process_zero(), trainer.is_local_process_zero()) == (True, True)
    monkeypatch.setattr(Keras3Host, "is_chief", property(lambda self: False))
    assert isinstance(trainer._host, Host)
    trainer.log_metrics("train", METRICS)
    trainer.save_metrics("train", METRICS)
    trainer.save_state()
    assert not trainer.is_world_process_zero()
    assert capsys.readouterr().out == ""
    assert not pathlib.Path("new").exists()


# -- what training and evaluation report, and the state ----------------------------------------------------------------


@pytest.mark.parametrize("kind", ["keras", nightly("tf_keras")])
def test_metrics_have_the_epoch_and_the_state_their_history(kind):
    trainer = trainer_of(tiny.functional(kind), named(8), num_train_epochs=2, eval_strategy="epoch", output_dir="out")
    assert "epoch" not in trainer.evaluate()
    metrics = trainer.train().metrics
    assert {"train_runtime", "train_samples_per_second", "train_steps_per_second", "train_loss"} < set(metrics)
    assert metrics["epoch"] == 2.0
    assert trainer.evaluate()["epoch"] == 2.0
    trainer.save_state()
    state = TrainerState.load_from_json("out/trainer_state.json")
    assert (state.global_step, state.epoch, state.max_steps, state.num_train_epochs) == (4, 2.0, 4, 2)
    evaluations = [row for row in state.log_history if "eval_loss" in row]
    assert [(row["step"], row["epoch"]) for row in evaluations] == [(2, 1.0), (4, 2.0), (4, 2.0)]
    assert [row["step"] for row in state.log_history if "train_runtime" in row] == [4]


def test_the_epoch_of_a_resumed_training():
    first = trainer_of(tiny.functional("keras"), named(8), max_steps=3, save_steps=1, output_dir="out")
    assert first.train().metrics["epoch"] == 1.5
    second = trainer_of(tiny.functional("keras"), named(8), max_steps=5, save_steps=10, output_dir="out")
    assert second.train(resume_from_checkpoint=True).metrics["epoch"] == 2.5
    assert second.state.global_step == 5
    fresh = second.train(resume_from_checkpoint=False)
    assert (fresh.global_step, fresh.metrics["epoch"]) == (5, 2.5)
    assert len([row for row in second.state.log_history if "train_runtime" in row]) == 1


def test_the_epoch_is_no_metric_of_the_evaluation_in_the_run(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    seen = []

    class Logs(tf_keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append(sorted(logs))

    options = {"eval_strategy": "epoch", "report_to": "wandb", "num_train_epochs": 1, "save_strategy": "no"}
    trainer = trainer_of(tiny.functional("tf_keras"), named(8), callbacks=[Logs()], **options)
    trainer.train()
    trainer.evaluate()
    assert "val_epoch" not in seen[0]
    rows = history(finish())
    assert not [row for row in rows if "eval/epoch" in row or "epoch" in row]


# -- numbers ---------------------------------------------------------------------------------------------------------


def test_the_number_of_samples(trainer):
    x, y = samples(11)
    assert trainer.num_examples((x, y)) == 11
    assert trainer.num_examples({"x": x}) == 11
    assert trainer.num_examples(({"x": x}, y)) == 11
    assert trainer.num_examples(tiny.classified(7)) == 7
    assert trainer.num_examples(evaluation_batches((x, y), 4)) == 11
    batched = tf.data.Dataset.from_tensor_slices((x, y)).batch(4)
    assert trainer.num_examples(batched) == 12
    assert trainer.num_examples(evaluation_batches(batched, 4)) == 12
    with pytest.raises(DataError, match="assert_cardinality"):
        trainer.num_examples(batched.repeat())


@pytest.mark.parametrize("make", [tiny.bert, lambda: tiny.functional("keras")], ids=["transformers", "keras"])
def test_the_number_of_weights_that_are_trained(make):
    model = make()
    data = named() if make is not tiny.bert else tiny.classified()
    trainer = trainer_of(model, data)
    everything = sum(int(np.prod(weight.shape)) for weight in model.weights)
    assert trainer.get_num_trainable_parameters() == everything
    model.layers[-1 if make is not tiny.bert else 0].trainable = False
    assert 0 < trainer.get_num_trainable_parameters() < everything


@pytest.mark.parametrize("kind", KERASES)
def test_learning_rates_and_the_batch_of_a_step(kind):
    trainer = trainer_of(tiny.functional(kind), named(8), max_steps=2, learning_rate=0.5, lr_scheduler_type="constant")
    trainer.train()
    assert trainer.get_learning_rates() == pytest.approx([0.5])
    assert trainer.get_total_train_batch_size(trainer.args) == 4
    assert trainer.get_total_train_batch_size(arguments(gradient_accumulation_steps=3)) == 24


def test_a_subclass_may_not_override_what_nothing_calls():
    class Own(TFTrainer):
        def num_examples(self, dataloader):
            raise AssertionError

    with pytest.raises(SettingError, match=r"Expected a class without its own num_examples"):
        Own(tiny.functional("keras"), arguments())


def test_a_dataset_without_rows_is_counted(trainer):
    assert trainer.num_examples(datasets.Dataset.from_dict({"x": []})) == 0


def test_rows_that_a_user_logs_are_in_the_history_as_json_writes_them():
    trainer = TFTrainer(tiny.functional("keras"), arguments())
    trainer.log({"np32": np.float32(1.5), "i64": np.int64(2), "tensor": tf.constant(0.5), "s": "x", "py": 1.0})
    trainer.log({"matrix": np.eye(2), "list": [np.float32(0.5)], "nest": {"a": np.float32(0.25), "b": np.eye(2)}})
    first, second = json.loads(json.dumps(trainer.state.log_history))
    assert first == {"np32": 1.5, "i64": 2, "tensor": 0.5, "s": "x", "py": 1.0, "step": 0}
    assert second == {"list": [0.5], "nest": {"a": 0.25}, "step": 0}


def test_an_evaluation_of_the_dataset_of_a_name():
    data = {"a": tiny.named(samples(8)), "b": tiny.named(samples(4))}
    trainer = TFTrainer(tiny.functional("keras"), arguments(), eval_dataset=data)
    assert trainer.evaluate("b")["eval_loss"] == pytest.approx(trainer.evaluate()["eval_b_loss"])
    with pytest.raises(DataError, match=r"eval_dataset='c' names none of the trainer's own, \['a', 'b'\]"):
        trainer.evaluate("c")


def test_a_metric_that_is_no_number_does_not_spoil_the_state():
    def confusion(prediction):
        return {"confusion": np.eye(3), "right": 1.0}

    trainer = trainer_of(tiny.functional("keras"), named(8), compute_metrics=confusion, output_dir="out")
    assert trainer.evaluate()["eval_confusion"].shape == (3, 3)
    trainer.save_state()
    assert "eval_right" in TrainerState.load_from_json("out/trainer_state.json").log_history[0]
