"""What scripts read of TFTrainingArguments besides its fields: devices, processes, setters, texts."""

from __future__ import annotations

import copy
import inspect
import json
import logging
import os
import pickle
import subprocess
import sys

import pytest
import tensorflow as tf
import tiny
from helpers import nightly, python, samples
from transformers import TrainingArguments
from transformers.utils import logging as library_logging

from tf_hfwb import TFTrainer, TFTrainingArguments
from tf_hfwb.errors import SettingError

SETTERS = [name for name in vars(TrainingArguments) if name.startswith("set_")]


def theirs(**options) -> TrainingArguments:
    return TrainingArguments(report_to="none", use_cpu=True, **options)


# Setters


def test_there_are_the_setters_of_transformers():
    assert len(SETTERS) == 9
    for name in SETTERS:
        own = inspect.signature(getattr(TFTrainingArguments, name)).parameters
        parameters = inspect.signature(getattr(TrainingArguments, name)).parameters
        assert {n: p.default for n, p in own.items()} == {n: p.default for n, p in parameters.items()}


@pytest.mark.parametrize(
    ("name", "values"),
    [
        *((name, {"model_id": "me/bert"} if name == "set_push_to_hub" else {}) for name in SETTERS),
        ("set_training", {"learning_rate": 1e-3, "batch_size": 4, "num_epochs": 1, "seed": 7, "max_steps": 5}),
        ("set_evaluate", {"strategy": "steps", "steps": 100, "batch_size": 32, "delay": 3, "loss_only": True}),
        ("set_testing", {"batch_size": 32, "loss_only": True}),
        ("set_save", {"strategy": "epoch", "total_limit": 3}),
        ("set_logging", {"strategy": "epoch", "report_to": ["none"], "level": "info", "on_each_node": True}),
        ("set_push_to_hub", {"model_id": "bert", "strategy": "end", "private_repo": True, "revision": "main"}),
        ("set_optimizer", {"name": "adafactor", "beta1": 0.8, "epsilon": 1e-6}),
        ("set_lr_scheduler", {"name": "cosine", "warmup_ratio": 0.05}),
        ("set_dataloader", {"train_batch_size": 16, "num_workers": 2, "prefetch_factor": 4, "sampler_seed": 3}),
    ],
)
def test_setters_set_what_those_of_transformers_set(name, values):
    other, before = theirs(), theirs()
    args = TFTrainingArguments(report_to="none")
    getattr(other, name)(**values)
    assert getattr(args, name)(**values) is args
    for field, value in vars(other).items():
        if hasattr(args, field) and value != getattr(before, field):
            assert getattr(args, field) == (value or 0 if field == "eval_delay" else value), field


def test_a_setter_refuses_values_and_makes_plain_words():
    args = TFTrainingArguments()
    with pytest.raises(SettingError, match="save_steps=0 cannot be used"):
        args.set_save("steps", steps=0)
    with pytest.raises(SettingError, match="eval_strategy='daily'"):
        args.set_evaluate("daily")
    assert (args.save_steps, args.eval_strategy) == (500, "no")
    assert type(args.set_lr_scheduler("cosine").lr_scheduler_type) is str


# Devices


@pytest.mark.nightly
def test_tensorflow_is_imported_only_by_members_about_devices():
    code = """if True:
        import sys
        from tf_hfwb import TFTrainingArguments
        args = TFTrainingArguments()
        str(args), repr(args), args.to_json_string(), args.should_log, args.should_save, args.world_size
        args.get_process_log_level(), args.get_warmup_steps(10), args.set_save("epoch")
        with args.main_process_first():
            print({"tensorflow", "keras", "tf_keras"} & set(sys.modules))
        print(args.device, args.n_gpu, args.parallel_mode.value, args.local_rank, "tensorflow" in sys.modules)
    """
    lines = python("-c", code, CUDA_VISIBLE_DEVICES="-1", TF_CONFIG=None).stdout.splitlines()
    assert lines == ["set()", "CPU:0 0 not_parallel -1 True"]


def test_batch_sizes_and_the_strategy_on_one_device():
    args = TFTrainingArguments(per_device_train_batch_size=3, per_device_eval_batch_size=5)
    assert isinstance(args.strategy, tf.distribute.OneDeviceStrategy)
    assert args.strategy is TFTrainingArguments().strategy
    assert (args.n_replicas, args.train_batch_size, args.eval_batch_size) == (1, 3, 5)
    with tf.device(args.device):
        assert args.device in tf.constant(1).device
    assert copy.deepcopy(args) == pickle.loads(pickle.dumps(args)) == args  # The strategy is not a part of it.


def test_the_strategy_is_that_in_whose_scope_it_is_asked_for():
    with tf.distribute.OneDeviceStrategy("CPU:0").scope():
        inner = tf.distribute.get_strategy()
        assert TFTrainingArguments().strategy is inner
    assert TFTrainingArguments().strategy is not inner


@pytest.mark.nightly
def test_several_devices_are_counted():
    code = """if True:
        import tensorflow as tf
        from tf_hfwb import TFTrainingArguments
        devices = [tf.config.LogicalDeviceConfiguration()] * 2
        tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], devices)
        with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
            args = TFTrainingArguments(per_device_train_batch_size=3)
            print(args.n_replicas, args.train_batch_size, args.to_sanitized_dict()["eval_batch_size"])
    """
    assert python("-c", code).stdout.splitlines() == ["2 6 16"]


@pytest.mark.parametrize("kind", ["tf_keras", "keras", nightly("bert")])
def test_models_of_the_strategy_train(kind):
    args = TFTrainingArguments(max_steps=2, report_to="none", save_strategy="no", disable_tqdm=True)
    with args.strategy.scope():
        model = tiny.bert() if kind == "bert" else tiny.functional(kind)
    data = tiny.classified() if kind == "bert" else tiny.named(samples(11))
    tokenizer = tiny.tokenizer() if kind == "bert" else None
    trainer = TFTrainer(model, args, train_dataset=data, eval_dataset=data, processing_class=tokenizer)
    assert trainer.train().global_step == 2
    assert "eval_loss" in trainer.evaluate()


def test_a_tpu_that_is_not_there():
    args = TFTrainingArguments(tpu_name="local", report_to="none")
    with pytest.raises(SettingError, match=r"tpu_name='local' .* a TPU that this machine can use, .*Check tpu_name"):
        args.strategy  # noqa: B018
    assert (args.device, args.parallel_mode.value) == ("TPU:0", "tpu")
    with pytest.raises(SettingError, match=r"tpu_name='local' .* 'with args.strategy.scope"):
        TFTrainer(tiny.functional("tf_keras"), args)
    with pytest.raises(SettingError, match=r"tpu_zone='a' .* None without tpu_name"):
        TFTrainingArguments(tpu_zone="a")


# Processes


def cluster(monkeypatch, kind: str, index: int, **jobs: list[str]) -> None:
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": jobs, "task": {"type": kind, "index": index}}))


@pytest.mark.parametrize(
    ("kind", "index", "jobs", "expected"),
    [
        ("worker", 0, {"worker": ["a:1"]}, (1, 0, 0, -1)),
        ("worker", 1, {"worker": ["a:1", "a:2", "b:1", "b:2"]}, (4, 1, 1, 1)),
        ("worker", 2, {"worker": ["a:1", "a:2", "b:1", "b:2"]}, (4, 2, 0, 0)),
        ("chief", 0, {"chief": ["a:1"], "worker": ["a:2", "b:1"]}, (3, 0, 0, 0)),
        ("worker", 0, {"chief": ["a:1"], "worker": ["a:2", "b:1"]}, (3, 1, 1, 1)),
        ("evaluator", 0, {"worker": ["a:1", "b:1"], "evaluator": ["c:1"]}, (2, 2, 2, 2)),
    ],
)
def test_workers(kind, index, jobs, expected, monkeypatch):
    cluster(monkeypatch, kind, index, **jobs)
    args = TFTrainingArguments()
    assert (args.world_size, args.process_index, args.local_process_index, args.local_rank) == expected
    assert args.should_save == (expected[1] == 0)
    assert args.should_log == (expected[2] == 0)
    assert TFTrainingArguments(log_on_each_node=False).should_log == args.should_save
    assert args.parallel_mode.value == ("distributed" if expected[0] > 1 else "not_parallel")
    args.check()
    assert args.local_rank == expected[3]


def test_what_is_no_cluster(monkeypatch):
    for text in ("{", "[]", '{"cluster": 1}', '{"task": {"index": "x"}}'):
        monkeypatch.setenv("TF_CONFIG", text)
        with pytest.raises(SettingError, match=r"TF_CONFIG=.* Expected JSON such as"):
            TFTrainingArguments()


def test_the_processes_of_torchrun_are_refused():
    with pytest.raises(SettingError, match=r"local_rank=1 cannot be used. Expected -1: TensorFlow has one process"):
        TFTrainingArguments(local_rank=1)


@pytest.mark.parametrize("level", ["detail", "debug", "info", "warning", "error", "critical", "passive"])
@pytest.mark.parametrize("index", [0, 1])
def test_levels_are_those_of_transformers(level, index, monkeypatch):
    own = TFTrainingArguments(log_level=level, log_level_replica="error")
    other = theirs(log_level=level, log_level_replica="error")
    cluster(monkeypatch, "worker", index, worker=["a:1", "a:2"])
    monkeypatch.setattr(TrainingArguments, "should_log", index == 0)
    assert own.get_process_log_level() == other.get_process_log_level()


def test_the_trainer_sets_the_level_that_is_asked_for():
    logger, before = logging.getLogger("tf_hfwb"), library_logging.get_verbosity()
    try:
        TFTrainer(tiny.functional("tf_keras"), TFTrainingArguments(report_to="none"))
        assert (logger.level, library_logging.get_verbosity()) == (logging.NOTSET, before)
        TFTrainer(tiny.functional("tf_keras"), TFTrainingArguments(report_to="none", log_level="error"))
        assert (logger.level, library_logging.get_verbosity()) == (logging.ERROR, logging.ERROR)
    finally:
        logger.setLevel(logging.NOTSET)
        library_logging.set_verbosity(before)
    with pytest.raises(SettingError, match="log_level='loud' is not recognised"):
        TFTrainingArguments(log_level="loud")


TURN = """if True:
    import sys, time
    from tf_hfwb import TFTrainingArguments
    args = TFTrainingArguments()
    with args.main_process_first(desc="tokenise"):
        for word in ("begins", "ends"):
            with open(sys.argv[1], "a") as file:
                print(args.process_index, word, file=file)
            time.sleep(1)
"""


def test_workers_take_turns(tmp_path):
    running = []
    for index in range(2):
        config = json.dumps({"cluster": {"worker": ["a:1", "a:2"]}, "task": {"type": "worker", "index": index}})
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TF_CONFIG": config}
        environment["HOME"] = str(tmp_path)
        running.append(subprocess.Popen([sys.executable, "-c", TURN, str(tmp_path / "turns")], env=environment))
    assert [process.wait(120) for process in running] == [0, 0]
    first, *others = (tmp_path / "turns").read_text().split("\n")[:4]
    other = "1" if first[0] == "0" else "0"
    assert others == [f"{first[0]} ends", f"{other} begins", f"{other} ends"]


def test_machines_cannot_take_turns(monkeypatch):
    cluster(monkeypatch, "worker", 0, worker=["a:1", "b:1"])
    turn = TFTrainingArguments().main_process_first(local=False)
    with pytest.raises(SettingError, match=r"local=False .* workers on 2 machines"), turn:
        pass


# Texts


def test_texts_have_no_secrets(monkeypatch):
    class Own(TFTrainingArguments):
        """A script's own."""

    args = Own(run_name="bert", report_to="none")
    args.hub_token = "hf_abcdefghijklmnopqrstuvwxyz0123456789"
    for text in (str(args), repr(args), args.to_json_string(), str(args.to_sanitized_dict())):
        assert "abcdefghij" not in text
        assert "bert" in text
    lines = str(args).splitlines()
    assert (lines[0], lines[-1]) == ("Own(", ")")
    assert lines[1:-1] == sorted(lines[1:-1])
    assert "run_name='bert'," in lines
    assert "per_gpu_train_batch_size" not in str(args)


def test_sanitized_values_are_plain():
    args = TFTrainingArguments(report_to="none", label_names=["a"], per_device_train_batch_size=3)
    own = args.to_sanitized_dict()
    assert set(own) == {*args.to_dict(), "train_batch_size", "eval_batch_size"}
    expected = {"label_names": "['a']", "train_batch_size": 3, "learning_rate": 5e-5, "max_steps": -1, "do_eval": False}
    assert {name: own[name] for name in expected} == expected
    assert {type(value) for value in own.values()} <= {bool, int, float, str}
