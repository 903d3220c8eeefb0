"""Methods of ``TFTrainer`` that a subclass overrides: they are called, or the subclass is refused."""

from __future__ import annotations

import ast
import importlib
import json
import logging
import pathlib
import types

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
import tiny
import transformers
from helpers import eval_rows, finish, history, nightly, samples, train_rows

from tf_hfwb import TFTrainer, TFTrainingArguments, load_model
from tf_hfwb.checkpoint.store import Checkpoint
from tf_hfwb.errors import DataError, SettingError
from tf_hfwb.trainer.overridden_methods import UNCALLED_METHODS


def trainer_of(model, data, trainer=TFTrainer, *, eval_dataset=None, **options):
    names = ("optimizers", "compute_metrics", "model_init", "callbacks", "tb_writer")
    given = {name: options.pop(name) for name in names if name in options}
    defaults = {"report_to": "none", "disable_tqdm": True, "save_strategy": "no", "num_train_epochs": 2}
    defaults |= {"per_device_train_batch_size": 4, "per_device_eval_batch_size": 4, "learning_rate": 1e-2}
    return trainer(
        model,
        TFTrainingArguments(**{**defaults, **options}),
        train_dataset=data,
        eval_dataset=data if eval_dataset is None else eval_dataset,
        processing_class=tiny.tokenizer() if hasattr(data, "column_names") else None,
        **given,
    )


def named(number: int = 11):
    return tiny.named(samples(number))


def weights(model) -> np.ndarray:
    return np.concatenate([np.ravel(np.asarray(weight)) for weight in model.get_weights()])


# -- what nothing calls ------------------------------------------------------------------------------------------------


class WithItsOwnStep:
    def training_step(self, features, labels, nb_instances_in_global_batch):
        raise AssertionError


@pytest.mark.parametrize(
    ("method", "advice"),
    [
        ("get_train_dataloader", "get_train_tfdataset"),
        ("prediction_step", "evaluation_loop"),
        ("prediction_loop", "evaluation_loop"),
        ("run_model", "compute_loss"),
        ("setup_wandb", "wandb.init"),
        ("setup_comet", "among callbacks"),
        ("_save_checkpoint", "save_model"),
        ("log", "callback"),
    ],
)
def test_a_method_that_nothing_calls_is_refused_with_the_way_out(method, advice):
    own = type("Own", (TFTrainer,), {method: lambda self, *args, **kwargs: None})
    with pytest.raises(SettingError, match=f"TFTrainer='Own' cannot be used.*its own {method}, which.*{advice}"):
        trainer_of(tiny.functional("keras"), named(), own)


def test_methods_of_a_base_class_are_found_and_a_users_own_are_not():
    class Own(WithItsOwnStep, TFTrainer):
        def create_optimizer(self):
            """Called."""

        def help_me(self, split, metrics):
            """Called by nobody but the user."""

    with pytest.raises(SettingError, match=r"without its own training_step, which nothing calls here\. compute_loss"):
        trainer_of(tiny.functional("keras"), named(), Own)


# Those of them that a training, an evaluation or a save calls here, too; add_callback is for users.
CALLED = "add_callback call_model_init compute_loss create_model_card create_optimizer create_optimizer_and_scheduler "
CALLED += "create_scheduler evaluate evaluation_loop is_local_process_zero is_world_process_zero push_to_hub save_model"


def called_by_the_trainers_of_transformers() -> set[str]:
    """The methods that ``Trainer`` and ``Seq2SeqTrainer`` have and use, by their source: importing needs PyTorch."""
    package = pathlib.Path(transformers.__file__).parent
    sources = [(package / name).read_text() for name in ("trainer.py", "trainer_seq2seq.py")]
    classes = [node for source in sources for node in ast.parse(source).body if isinstance(node, ast.ClassDef)]
    methods = {node.name for one in classes for node in one.body if isinstance(node, ast.FunctionDef)}
    used = {
        node.attr
        for one in classes
        for node in ast.walk(one)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self"
    }
    return {name for name in methods & used if not name.startswith("__")}


def test_all_methods_that_the_trainers_of_transformers_call_are_called_or_refused():
    found = called_by_the_trainers_of_transformers()
    assert {"training_step", "_save", "_pad_tensors_to_max_len"} < found
    assert found - set(UNCALLED_METHODS) == set(CALLED.split())
    assert not set(UNCALLED_METHODS) & set(CALLED.split())
    assert all(hasattr(TFTrainer, name) for name in CALLED.split())


class WithItsOwnFiles(TFTrainer):
    """Writes into each checkpoint, also below the directory, and what the checkpoint has itself."""

    def save_model(self, output_dir=None, _internal_call=False):
        super().save_model(output_dir, _internal_call)
        self.seen = [*getattr(self, "seen", []), (pathlib.Path(output_dir).name, _internal_call)]
        steps = {"step": self.state.global_step, "sum": float(np.sum(weights(self.model)))}
        pathlib.Path(output_dir, "more").mkdir()
        pathlib.Path(output_dir, "more", "own.json").write_text(json.dumps(steps))
        pathlib.Path(output_dir, "trainer_state.json").write_text("mine")


class Listener(transformers.TrainerCallback):
    def on_epoch_end(self, args, state, control, **kwargs):
        """A flow decides when it is saved."""


@pytest.mark.parametrize(
    ("kind", "callbacks"),
    [("keras", ()), nightly("keras", (Listener,)), nightly("tf_keras", ())],
)
def test_save_model_of_a_subclass_writes_into_each_checkpoint(kind, callbacks, tmp_path, caplog):
    caplog.set_level(logging.WARNING, logger="tf_hfwb")
    place = tmp_path / "out"
    options = {"save_strategy": "steps", "save_steps": 2, "output_dir": str(place), "callbacks": callbacks}
    trainer = trainer_of(tiny.functional(kind), named(8), WithItsOwnFiles, **options)
    trainer.train()
    assert trainer.seen == [("checkpoint-2", True), ("checkpoint-4", True)]
    assert sorted(path.name for path in place.iterdir()) == [".tf_hfwb.lock", "checkpoint-2", "checkpoint-4"]
    assert caplog.text.count("save_model wrote trainer_state.json into a checkpoint") == 1
    for step in (2, 4):
        checkpoint = Checkpoint.open(place / f"checkpoint-{step}")
        checkpoint.verify()
        assert "more/own.json" in checkpoint.files
        own = json.loads((checkpoint.path / "more" / "own.json").read_text())
        restored = load_model(str(checkpoint.path))
        assert own == {"step": step, "sum": pytest.approx(float(np.sum(weights(restored))), rel=1e-5)}
    assert trainer.train(resume_from_checkpoint=str(place / "checkpoint-2")).global_step == 4
    trainer.save_model(str(tmp_path / "saved"))
    assert (tmp_path / "saved" / "more" / "own.json").exists()
    assert len([*(tmp_path / "saved").iterdir()]) > 3  # The model, too.


# -- data --------------------------------------------------------------------------------------------------------------


class OfItsOwnBatches(TFTrainer):
    def get_train_tfdataset(self):
        x, y = named(12)
        return tf.data.Dataset.from_tensor_slices((x, y)).batch(3)


class Doubled(TFTrainer):
    """Maps the trainer's own batches."""

    def get_train_tfdataset(self):
        return super().get_train_tfdataset().map(lambda x, y: ({"x": x["x"] * 2}, y))


@pytest.mark.parametrize("kind", ["keras", nightly("tf_keras")])
def test_a_training_goes_through_the_batches_of_an_override(kind):
    trainer = trainer_of(tiny.functional(kind), None, OfItsOwnBatches, eval_dataset=named())
    assert trainer.train().global_step == 8  # 4 batches an epoch.
    x, y = named(12)
    expected = trainer_of(tiny.functional(kind), tf.data.Dataset.from_tensor_slices((x, y)).batch(3))
    expected.train()
    np.testing.assert_array_equal(weights(trainer.model), weights(expected.model))


@pytest.mark.parametrize("kind", ["keras", nightly("tf_keras")])
def test_mapped_batches_keep_epochs_order_and_resume(kind, tmp_path):
    x, y = named(11)
    twice = {"x": x["x"] * 2}, y
    options = {"save_strategy": "steps", "save_steps": 4, "full_determinism": True}
    expected = trainer_of(tiny.functional(kind), twice, output_dir=str(tmp_path / "a"), **options)
    assert expected.train().global_step == 6
    found = trainer_of(tiny.functional(kind), (x, y), Doubled, output_dir=str(tmp_path / "b"), **options)
    assert found.train().global_step == 6
    np.testing.assert_array_equal(weights(found.model), weights(expected.model))
    resumed = trainer_of(tiny.functional(kind), (x, y), Doubled, output_dir=str(tmp_path / "c"), **options)
    resumed.train(str(tmp_path / "b" / "checkpoint-4"))
    np.testing.assert_array_equal(weights(resumed.model), weights(expected.model))


@pytest.mark.nightly
def test_a_part_of_the_own_batches_begins_at_its_start_after_a_resume(tmp_path):
    class Few(TFTrainer):
        def get_train_tfdataset(self):
            return super().get_train_tfdataset().take(2)

    options = {"save_strategy": "steps", "save_steps": 3, "full_determinism": True}
    whole = trainer_of(tiny.functional("keras"), named(), Few, output_dir=str(tmp_path / "a"), **options)
    assert whole.train().global_step == 4
    resumed = trainer_of(tiny.functional("keras"), named(), Few, output_dir=str(tmp_path / "b"), **options)
    resumed.train(str(tmp_path / "a" / "checkpoint-3"))
    np.testing.assert_array_equal(weights(resumed.model), weights(whole.model))


def test_an_override_of_unknown_length_needs_max_steps():
    class Generated(TFTrainer):
        def get_train_tfdataset(self):
            return tf.data.Dataset.from_tensor_slices(named(12)).batch(3).filter(lambda x, y: True)

    with pytest.raises(DataError, match="length of train_dataset is unknown"):
        trainer_of(tiny.functional("keras"), None, Generated, eval_dataset=named()).train()
    assert trainer_of(tiny.functional("keras"), None, Generated, eval_dataset=named(), max_steps=7).train()[0] == 7


@pytest.mark.parametrize("result", [None, [1, 2], (1, 2, 3)])
def test_what_is_no_dataset_is_refused(result):
    class Wrong(TFTrainer):
        def get_train_tfdataset(self):
            return result

        def get_eval_tfdataset(self, eval_dataset=None):
            return result

    trainer = trainer_of(tiny.functional("keras"), named(), Wrong)
    with pytest.raises(SettingError, match=r"get_train_tfdataset\(\)=.*Expected a tf.data.Dataset of batches"):
        trainer.train()
    with pytest.raises(SettingError, match=r"get_eval_tfdataset\(\)=.*Expected a tf.data.Dataset of batches"):
        trainer.evaluate()


def test_evaluation_and_prediction_go_through_the_batches_of_overrides():
    asked = []

    class Own(TFTrainer):
        def get_eval_tfdataset(self, eval_dataset=None):
            asked.append(("eval", eval_dataset is None))
            return tf.data.Dataset.from_tensor_slices(named(6)).batch(2)

        def get_test_tfdataset(self, test_dataset):
            asked.append(("test", test_dataset))
            return tf.data.Dataset.from_tensor_slices(named(6)).batch(2)

    trainer = trainer_of(tiny.functional("keras"), named(), Own, max_steps=4, eval_strategy="steps", eval_steps=2)
    plain = trainer_of(trainer.model, named())
    trainer.train()
    assert len(asked) >= 3  # Each evaluation of the training asks, and may get others.
    assert trainer.evaluate()["eval_loss"] == pytest.approx(plain.evaluate(named(6))["eval_loss"])
    assert trainer.predict("whatever").predictions.shape == (6, 3)
    assert asked[-1] == ("test", "whatever")


def test_defaults_can_be_called_by_a_user():
    trainer = trainer_of(
        tiny.bert(), tiny.classified(), eval_dataset={"a": tiny.classified(5), "b": tiny.classified(7)}
    )
    inputs, labels = next(iter(trainer.get_train_tfdataset()))
    assert labels.shape == (4,)
    assert "input_ids" in inputs
    assert [int(batch[1].shape[0]) for batch in trainer.get_eval_tfdataset("b")] == [4, 3]
    assert [int(batch[1].shape[0]) for batch in trainer.get_test_tfdataset(tiny.classified(5))] == [4, 1]
    with pytest.raises(DataError, match=r"eval_dataset=None names none of the trainer's own, \['a', 'b'\]"):
        trainer.get_eval_tfdataset()
    with pytest.raises(DataError, match="eval_dataset='c' names none"):
        trainer.get_eval_tfdataset("c")


# -- optimizer and schedule --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["keras", nightly("tf_keras")])
def test_an_optimizer_of_an_override_follows_the_schedule_of_the_arguments(kind):
    """As in transformers: its rate is the highest one."""
    keras = importlib.import_module(kind)

    class Own(TFTrainer):
        def create_optimizer(self):
            self.optimizer = keras.optimizers.SGD(0.5)
            return self.optimizer

    trainer = trainer_of(tiny.functional(kind), named(), Own, report_to="wandb", logging_steps=1, warmup_steps=2)
    trainer.train()
    rates = [row["train/learning_rate"] for row in train_rows(history(finish()))]
    np.testing.assert_allclose(rates, [0.0, 0.25, 0.5, 0.375, 0.25, 0.125], atol=1e-6)
    assert type(trainer.optimizer) is keras.optimizers.SGD
    assert callable(trainer.lr_scheduler)


@pytest.mark.parametrize("kind", ["tf_keras", nightly("keras")])
def test_a_schedule_of_an_override(kind):
    keras = importlib.import_module(kind)

    class Own(TFTrainer):
        def create_scheduler(self, num_training_steps, optimizer=None):
            self.total = num_training_steps
            self.lr_scheduler = keras.optimizers.schedules.PiecewiseConstantDecay([2], [0.25, 0.125])
            return self.lr_scheduler

    trainer = trainer_of(tiny.functional(kind), named(), Own, report_to="wandb", logging_steps=1)
    trainer.train()
    assert trainer.total == 6
    rates = [row["train/learning_rate"] for row in train_rows(history(finish()))]
    np.testing.assert_allclose(rates, [0.25, 0.25, 0.25, 0.125, 0.125, 0.125], atol=1e-6)
    assert hasattr(trainer.optimizer, "apply_gradients")


@pytest.mark.parametrize("kind", ["keras", nightly("tf_keras")])
def test_both_in_one_override_and_each_training_makes_new_ones(kind):
    keras = importlib.import_module(kind)
    made = []

    class Own(TFTrainer):
        def create_optimizer_and_scheduler(self, num_training_steps):
            self.lr_scheduler = keras.optimizers.schedules.ExponentialDecay(0.5, 1, 0.5)
            self.optimizer = keras.optimizers.SGD(self.lr_scheduler)
            made.append((num_training_steps, self.optimizer))

    trainer = trainer_of(tiny.functional(kind), named(), Own, report_to="wandb", logging_steps=1, max_steps=3)
    trainer.train()
    trainer.train()
    assert [steps for steps, _ in made] == [3, 3]
    assert trainer.optimizer is made[1][1] is not made[0][1]
    rates = [row["train/learning_rate"] for row in train_rows(history(finish()))]
    np.testing.assert_allclose(rates, [0.5, 0.25, 0.125] * 2)


def test_what_super_makes_may_be_changed():
    class Slower(TFTrainer):
        def create_optimizer(self):
            optimizer = super().create_optimizer()
            optimizer.exclude_from_weight_decay(var_names=["kernel"])
            return optimizer

    plain, own = (trainer_of(tiny.functional("keras"), named(), one) for one in (TFTrainer, Slower))
    for trainer in (plain, own):
        trainer.train()
    np.testing.assert_allclose(weights(own.model), weights(plain.model), atol=1e-5)
    assert own.optimizer is own.model.optimizer


def test_an_optimizer_that_was_given_stays():
    optimizer = tf_keras.optimizers.SGD(0.1)
    trainer = trainer_of(tiny.functional("tf_keras"), named(), optimizers=(optimizer, None))
    assert trainer.optimizer is optimizer
    trainer.train()
    trainer.train()
    assert trainer.optimizer is optimizer
    assert int(optimizer.iterations) == 12


def test_the_wrong_optimizers_are_refused():
    keras = importlib.import_module("keras")

    def trainer(make):
        own = type("Own", (TFTrainer,), {"create_optimizer": lambda self: make()})
        return trainer_of(tiny.functional("keras"), named(), own)

    with pytest.raises(SettingError, match=r"optimizer=None cannot be used.*Set self.optimizer"):
        trainer(lambda: None).train()
    with pytest.raises(SettingError, match=r"create_optimizer='tf_keras.*Expected one of keras"):
        trainer(lambda: tf_keras.optimizers.SGD(0.1)).train()
    with pytest.raises(SettingError, match=r"gradient_accumulation_steps=2.*optimizers=\(optimizer, None\)"):
        trainer(lambda: keras.optimizers.SGD(0.1, gradient_accumulation_steps=2)).train()


@pytest.mark.parametrize("kind", ["tf_keras", nightly("keras")])
def test_a_training_with_an_own_optimizer_resumes(kind, tmp_path):
    keras = importlib.import_module(kind)

    class Own(TFTrainer):
        def create_optimizer(self):
            self.optimizer = keras.optimizers.Adam(0.05)

    options = {"save_strategy": "steps", "save_steps": 4, "full_determinism": True}
    whole = trainer_of(tiny.functional(kind), named(), Own, output_dir=str(tmp_path / "a"), **options)
    whole.train()
    resumed = trainer_of(tiny.functional(kind), named(), Own, output_dir=str(tmp_path / "b"), **options)
    resumed.train(str(tmp_path / "a" / "checkpoint-4"))
    np.testing.assert_array_equal(weights(resumed.model), weights(whole.model))


# -- model_init --------------------------------------------------------------------------------------------------------


def test_a_model_is_made_at_construction_and_anew_for_each_training():
    made = []

    def make():
        model = transformers.TFBertForSequenceClassification(tiny.bert_config())
        model.build_in_name_scope()
        made.append(weights(model))
        return model

    data = tiny.classified()
    trainer = trainer_of(None, data, model_init=make, report_to="wandb", logging_steps=3)
    assert len(made) == 1
    first = trainer.evaluate()["eval_loss"]
    assert trainer.train().global_step == 6
    np.testing.assert_array_equal(made[0], made[1])  # The seed of the arguments comes first.
    trained = weights(trainer.model)
    assert trainer.evaluate()["eval_loss"] != first
    trainer.train()
    np.testing.assert_array_equal(weights(trainer.model), trained)
    assert len(made) == 3
    rows = history(finish())
    assert [row["train/global_step"] for row in train_rows(rows)] == [3, 6]  # Another run.


def test_model_init_takes_a_trial_or_nothing():
    seen = []
    trainer_of(None, named(), model_init=lambda trial: seen.append(trial) or tiny.functional("keras"))
    assert seen == [None]
    with pytest.raises(SettingError, match=r"model_init=.*a function of no argument, or of the trial"):
        trainer_of(None, named(), model_init=lambda a, b: None)
    with pytest.raises(SettingError, match=r"model_init=None cannot be used. Expected a function that returns a model"):
        trainer_of(None, named(), model_init=lambda: None)
    with pytest.raises(SettingError, match=r"model=None cannot be used. Expected a model, or a function"):
        trainer_of(None, named())
    with pytest.raises(SettingError, match="and not both"):
        trainer_of(tiny.functional("keras"), named(), model_init=lambda: None)


# -- evaluation --------------------------------------------------------------------------------------------------------


class QuestionAnsweringTrainer(TFTrainer):
    """Of the same shape as the helper of transformers' examples for question answering."""

    def __init__(self, *args, eval_examples=None, post_process_function=None, **kwargs):
        super().__init__(*args, **kwargs)
        self.eval_examples = eval_examples
        self.post_process_function = post_process_function

    def evaluate(self, eval_dataset=None, eval_examples=None, ignore_keys=None, metric_key_prefix="eval"):
        dataset = self.eval_dataset if eval_dataset is None else eval_dataset
        loader = self.get_eval_dataloader(dataset)
        examples = self.eval_examples if eval_examples is None else eval_examples
        compute_metrics, self.compute_metrics = self.compute_metrics, None
        try:
            output = self.evaluation_loop(
                loader,
                description="Evaluation",
                prediction_loss_only=True if compute_metrics is None else None,
                ignore_keys=ignore_keys,
                metric_key_prefix=metric_key_prefix,
            )
        finally:
            self.compute_metrics = compute_metrics
        metrics = compute_metrics(self.post_process_function(examples, dataset, output.predictions))
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in metrics.items()}
        metrics.update(output.metrics)
        self.log(metrics)
        assert output.num_samples == len(dataset)
        return metrics

    def predict(self, predict_dataset, predict_examples, ignore_keys=None, metric_key_prefix="test"):
        loader = self.get_test_dataloader(predict_dataset)
        compute_metrics, self.compute_metrics = self.compute_metrics, None
        try:
            output = self.prediction_loop(
                loader, description="Prediction", ignore_keys=ignore_keys, metric_key_prefix=metric_key_prefix
            )
        finally:
            self.compute_metrics = compute_metrics
        predictions = self.post_process_function(predict_examples, predict_dataset, output.predictions)
        return transformers.trainer_utils.PredictionOutput(
            predictions, output.label_ids, {**compute_metrics(predictions), **output.metrics}
        )


def spans(number):
    return tiny.texts(number, start_positions=[1] * number, end_positions=[2] * number)


@pytest.mark.nightly
def test_a_trainer_for_question_answering_that_evaluates_by_itself():
    starts = []

    def post_process(examples, features, predictions):
        starts.append(predictions[0].argmax(-1))
        assert len(predictions) == 2
        assert len(predictions[1]) == len(features) == len(examples)
        return starts[-1] == 1

    trainer = QuestionAnsweringTrainer(
        tiny.of_bert(transformers.TFBertForQuestionAnswering),
        TFTrainingArguments(max_steps=4, eval_strategy="steps", eval_steps=2, disable_tqdm=True, save_steps=2),
        train_dataset=spans(11),
        eval_dataset=spans(7),
        eval_examples=["example"] * 7,
        processing_class=tiny.tokenizer(),
        post_process_function=post_process,
        compute_metrics=lambda right: {"exact_match": float(np.mean(right))},
    )
    trainer.args.metric_for_best_model = "exact_match"
    trainer.train()
    metrics = trainer.evaluate()
    assert {"eval_exact_match", "eval_loss", "epoch"} == set(metrics)  # log adds the epoch, as the Trainer does.
    output = trainer.predict(spans(5), ["example"] * 5)
    assert set(output.metrics) == {"exact_match", "test_loss"}
    rows = eval_rows(history(finish()))
    assert len(starts) == 4
    assert [row["train/global_step"] for row in rows] == [2, 4, 4]
    assert all("eval/exact_match" in row for row in rows)


def test_an_override_of_the_loop_is_called_by_both():
    calls = []

    class Own(TFTrainer):
        def evaluation_loop(self, dataloader, description, *args, metric_key_prefix="eval", **kwargs):
            output = super().evaluation_loop(
                dataloader, description, *args, metric_key_prefix=metric_key_prefix, **kwargs
            )
            calls.append(description)
            output.metrics[f"{metric_key_prefix}_number"] = float(len(calls))
            return output

    trainer = trainer_of(tiny.functional("keras"), named(), Own, eval_strategy="epoch", metric_for_best_model="number")
    trainer.train()
    assert trainer.evaluate()["eval_number"] == 3.0
    assert trainer.predict(named()).metrics["test_number"] == 4.0
    assert calls == ["Evaluation"] * 3 + ["Prediction"]


def test_loaders_give_arrays_again_and_again():
    trainer = trainer_of(tiny.bert(), tiny.classified(11))
    loader = trainer.get_eval_dataloader()
    assert len(loader) == 3
    assert loader.dataset is trainer.eval_dataset
    for _ in range(2):
        batches = list(loader)
        assert [len(batch["labels"]) for batch in batches] == [4, 4, 3]
        assert all(isinstance(value, np.ndarray) for value in batches[0].values())
    assert len(trainer.get_train_dataloader()) == 3
    plain = trainer_of(tiny.functional("keras"), samples(5))
    plain.train_dataset = plain.eval_dataset = samples(5)
    assert [set(batch) for batch in plain.get_eval_dataloader()] == [{"inputs", "labels"}] * 2
    with pytest.raises(DataError, match=r"evaluation_loop got a list. Expected what get_eval_dataloader"):
        trainer.evaluation_loop([], "Evaluation")


def test_rows_that_a_user_logs():
    trainer = trainer_of(tiny.functional("keras"), named(), report_to="wandb", max_steps=2)
    trainer.train()
    trainer.log({"mine": 1.5, "eval_mine": 2.5, "epoch": 7.0, "word": "no number"})
    (row,) = [row for row in history(finish()) if "train/mine" in row]
    assert row == {"train/mine": 1.5, "eval/mine": 2.5, "train/epoch": row["train/epoch"], "train/global_step": 2}
    assert row["train/epoch"] != 7.0


def test_a_method_that_was_set_on_the_trainer_alone():
    trainer = trainer_of(tiny.functional("keras"), named())

    def get_eval_tfdataset(self, eval_dataset=None):
        return tf.data.Dataset.from_tensor_slices(named(2)).batch(2)

    trainer.get_eval_tfdataset = types.MethodType(get_eval_tfdataset, trainer)
    expected = trainer_of(trainer.model, named(2)).evaluate()["eval_loss"]
    assert trainer.evaluate()["eval_loss"] == pytest.approx(expected)


@pytest.fixture(autouse=True)
def _quiet(caplog):
    caplog.set_level(logging.ERROR, logger="tensorflow")
