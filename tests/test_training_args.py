"""TFTrainingArguments: the defaults of transformers, every flag of a command line, and each refusal."""

from __future__ import annotations

import ast
import copy
import dataclasses
import json
import logging
import math
import pickle
import re
import runpy
from pathlib import Path

import numpy as np
import pytest
from transformers import HfArgumentParser, Seq2SeqTrainingArguments, TrainingArguments
from transformers import TFTrainingArguments as TheirTFTrainingArguments
from transformers.trainer_utils import IntervalStrategy, SchedulerType

import tf_hfwb
from tf_hfwb import TFTrainingArguments, WandbModelCheckpoint
from tf_hfwb.errors import SettingError, UnknownArgumentError
from tf_hfwb.trainer.arguments import argument_support
from tf_hfwb.trainer.arguments.argument_support import FOR_SCRIPTS, REFUSED, WITHOUT_EFFECT
from tf_hfwb.trainer.arguments.former_spellings import FORMER
from tf_hfwb.trainer.arguments.training_arguments import steps_of

DOCS = Path(__file__).parent.parent / "docs"
OURS = {"link_to_registry", "delete_superseded"}
FORMER_EVEN_THERE = {"evaluation_strategy"}


def parsed(*flags: str) -> TFTrainingArguments:
    return HfArgumentParser(TFTrainingArguments).parse_args_into_dataclasses([*flags])[0]


def theirs() -> dict[str, dataclasses.Field]:
    """The arguments of transformers' classes, in their order."""
    fields = [*dataclasses.fields(Seq2SeqTrainingArguments), *dataclasses.fields(TheirTFTrainingArguments)]
    return {field.name: field for field in reversed(fields) if field.init and field.name != "_n_gpu"}


def test_names_and_defaults_are_those_of_transformers():
    fields = theirs()
    assert {field.name for field in dataclasses.fields(TFTrainingArguments)} - OURS - FORMER_EVEN_THERE == set(fields)
    for field in dataclasses.fields(TFTrainingArguments):
        if field.name in OURS | FORMER_EVEN_THERE:
            continue
        default = fields[field.name].default
        if field.name == "output_dir":
            assert (default, TrainingArguments().output_dir) == (None, field.default)
        elif field.name == "report_to":  # "all" to both; transformers counts other trackers in.
            assert default in (None, "none", "all")
        elif field.name == "trackio_space_id":  # Nothing leaves the machine unless somebody names a Space.
            assert (default, field.default) == ("trackio", None)
        elif field.name == "disable_tqdm":  # None there means: by the level of logging.
            assert (default, field.default) == (None, False)
        else:
            assert field.default == (default.value if hasattr(default, "value") else default), field.name


def test_the_order_is_that_of_transformers():
    """Scripts pass the first ones by position."""
    order = [field.name for field in dataclasses.fields(Seq2SeqTrainingArguments) if field.name != "_n_gpu"]
    ours = [field.name for field in dataclasses.fields(TFTrainingArguments)]
    assert ours[: len(order)] == order
    assert TFTrainingArguments("out", True, True).do_train


def test_every_argument_is_read_somewhere():
    """Nothing is accepted and ignored."""
    read: set[str] = set()
    checks = {
        "argument_values.py",
        "argument_combinations.py",
        "argument_support.py",
        "former_spellings.py",
    }  # To check is not to use.
    for path in Path(tf_hfwb.__file__).parent.rglob("*.py"):
        if path.name in checks:
            continue
        tree = ast.parse(path.read_text())
        for function in [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]:
            owners = {"args", "self.args", "plan.args"}
            is_member = path.name == "training_arguments.py" or path.name.endswith("_members.py")
            if is_member and function.name not in ("__post_init__", "check"):
                owners.add("self")
            for node in ast.walk(function):
                if isinstance(node, ast.Attribute) and ast.unparse(node.value) in owners:
                    read.add(node.attr)
    assert {"eval_interval", "get_warmup_steps"} <= read  # Through which the trainer reads four of them.
    names = {field.name for field in dataclasses.fields(TFTrainingArguments)}
    assert names - read == FOR_SCRIPTS | set(WITHOUT_EFFECT) | set(REFUSED) | FORMER


def test_every_argument_is_of_one_kind_and_in_the_table():
    kinds = [FOR_SCRIPTS, set(WITHOUT_EFFECT), set(REFUSED), FORMER]
    names = [field.name for field in dataclasses.fields(TFTrainingArguments)]
    assert sum(map(len, kinds)) == len(set().union(*kinds))
    assert set().union(*kinds) < set(names)
    page = runpy.run_path(str(DOCS / "generate_arguments.py"))["table"]()
    assert (DOCS / "arguments.md").read_text() == page, "python docs/generate_arguments.py > docs/arguments.md"
    for field in dataclasses.fields(TFTrainingArguments):
        assert field.metadata["help"].endswith(".")


def another_value(name: str):
    """A value that is not the default."""
    default = getattr(TFTrainingArguments(), name)
    if isinstance(default, bool):
        return not default
    return default + 1 if isinstance(default, (int, float)) else "other"


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_cannot_be_obeyed_is_refused_with_the_way_out(name):
    with pytest.raises(SettingError, match=re.escape(REFUSED[name].reason)) as error:
        TFTrainingArguments(**{name: another_value(name)})
    assert (error.value.name, str(error.value).endswith(REFUSED[name].instead)) == (name, True)


@pytest.mark.parametrize("name", sorted(WITHOUT_EFFECT))
def test_what_has_no_effect_is_said_once(name, caplog, monkeypatch):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(argument_support, "_mentioned", set())
    for _ in range(2):
        TFTrainingArguments(**{name: another_value(name)})
    assert caplog.text.count(f"{name}={another_value(name)!r}, as {WITHOUT_EFFECT[name]}") == 1


@pytest.mark.parametrize(
    ("former", "value", "name", "expected"),
    [
        ("evaluation_strategy", "epoch", "eval_strategy", "epoch"),
        ("per_gpu_train_batch_size", 4, "per_device_train_batch_size", 4),
        ("per_gpu_eval_batch_size", 4, "per_device_eval_batch_size", 4),
        ("include_inputs_for_metrics", True, "include_for_metrics", ["inputs"]),
    ],
)
def test_former_spellings_are_taken_with_a_warning(former, value, name, expected, caplog):
    args = TFTrainingArguments(**{former: value})
    assert getattr(args, name) == expected
    assert [record.getMessage().partition(". ")[0] for record in caplog.records] == [f"{former} is a former spelling"]
    assert dataclasses.replace(args) == args


def test_both_spellings_with_different_values_are_refused():
    with pytest.raises(SettingError, match=r"evaluation_strategy='epoch' .* the same as eval_strategy='steps', whose"):
        TFTrainingArguments(evaluation_strategy="epoch", eval_strategy="steps")


def test_flags():
    args = parsed(
        *("--output_dir", "out", "--report_to", "wandb", "--run_name", "bert", "--do_train"),
        *("--eval_strategy", "steps", "--eval_steps", "0.25", "--logging_steps", "0.1", "--logging_first_step"),
        *("--label_names", "a", "b", "--lr_scheduler_type", "cosine", "--learning_rate", "3e-5", "--max_steps", "7"),
        *("--num_train_epochs", "2.5", "--remove_unused_columns", "False", "--data_seed", "3"),
    )
    assert args == TFTrainingArguments(
        output_dir="out",
        report_to="wandb",
        run_name="bert",
        do_train=True,
        eval_strategy="steps",
        eval_steps=0.25,
        logging_steps=0.1,
        logging_first_step=True,
        label_names=["a", "b"],
        lr_scheduler_type="cosine",
        learning_rate=3e-5,
        max_steps=7,
        num_train_epochs=2.5,
        remove_unused_columns=False,
        data_seed=3,
    )
    assert args.report_to == ["wandb"]
    assert parsed() == TFTrainingArguments()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, ["wandb"]),
        ("wandb", ["wandb"]),
        (["wandb"], ["wandb"]),
        ("none", []),
        (["none"], []),
        ([], []),
    ],
)
def test_report_to(value, expected):
    assert TFTrainingArguments(report_to=value).report_to == expected


def test_help_names_every_flag(capsys):
    with pytest.raises(SystemExit) as error:
        parsed("--help")
    assert error.value.code == 0
    printed = capsys.readouterr().out
    for field in dataclasses.fields(TFTrainingArguments):
        assert f"--{field.name}" in printed


def test_unknown_flags_are_refused():
    with pytest.raises(ValueError, match=r"not used by the HfArgumentParser.*accumulation_steps"):
        parsed("--accumulation_steps", "2")


def test_unknown_choices_are_refused(capsys):
    with pytest.raises(SystemExit):
        parsed("--eval_strategy", "daily")
    assert "'daily' (choose from" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"eval_strategy": "daily"}, "eval_strategy='daily' is not recognised. Expected one of 'no', 'steps', 'epoch'"),
        ({"logging_strategy": None}, "logging_strategy=None is not recognised. Expected one of 'no', 'steps', 'epoch'"),
        (
            {"lr_scheduler_type": "exponential"},
            "lr_scheduler_type='exponential' is not recognised. Expected one of 'linear', 'cosine', 'cosine_with_",
        ),
        ({"output_dir": None}, "output_dir=None cannot be used. Expected the path of a directory"),
        ({"greater_is_better": "yes"}, "greater_is_better='yes' cannot be used. Expected True, False, or None"),
        ({"save_total_limit": True}, "save_total_limit=True cannot be used. Expected a number of checkpoints"),
        (
            {"report_to": ["wandb", "none"]},
            "report_to=['wandb', 'none'] cannot be used. Expected 'none' or 'all' by",
        ),
        (
            {"link_to_registry": "bert", "report_to": "none"},
            "link_to_registry='bert' cannot be used. Expected None without report_to='wandb'",
        ),
        ({"report_to": "mlflow"}, "report_to='mlflow' is not recognised. Expected one of 'wandb', 'tensorboard', "),
        ({"report_to": ["wandb", "mlflow"]}, "report_to='mlflow' is not recognised. Expected one of 'wandb', "),
        (
            {"per_device_train_batch_size": 0},
            "per_device_train_batch_size=0 cannot be used. Expected a number of samples, 1 or more",
        ),
        ({"per_device_eval_batch_size": 2.5}, "per_device_eval_batch_size=2.5 cannot be used. Expected a number of"),
        ({"learning_rate": "5e-5"}, "learning_rate='5e-5' cannot be used. Expected a finite number, 0 or more"),
        ({"learning_rate": math.nan}, "learning_rate=nan cannot be used. Expected a finite number, 0 or more"),
        ({"weight_decay": -0.1}, "weight_decay=-0.1 cannot be used. Expected a finite number, 0 or more"),
        ({"max_grad_norm": None}, "max_grad_norm=None cannot be used. Expected a finite number, 0 or more"),
        ({"adam_beta1": 1.0}, "adam_beta1=1.0 cannot be used. Expected a number from 0 to below 1"),
        ({"warmup_ratio": 1.5}, "warmup_ratio=1.5 cannot be used. Expected a number between 0 and 1"),
        ({"warmup_steps": 0.1}, "warmup_steps=0.1 cannot be used. Expected a number of steps, 0 or more"),
        ({"max_steps": 2.5}, "max_steps=2.5 cannot be used. Expected a number of steps, or -1"),
        ({"num_train_epochs": 0}, "num_train_epochs=0 cannot be used. Expected a number of epochs above 0"),
        ({"logging_steps": 0}, "logging_steps=0 cannot be used. Expected a number of steps, 1 or more, or a share"),
        ({"logging_steps": 2.5}, "logging_steps=2.5 cannot be used. Expected a number of steps, 1 or more, or a"),
        ({"eval_steps": -1}, "eval_steps=-1 cannot be used. Expected a number of steps, 1 or more, or a share"),
        ({"seed": -1}, "seed=-1 cannot be used. Expected an integer from 0 to"),
        ({"data_seed": "x"}, "data_seed='x' cannot be used. Expected an integer, or None to take seed"),
    ],
)
def test_bad_values_say_what_was_expected(values, message):
    with pytest.raises(SettingError) as error:
        TFTrainingArguments(**values)
    assert str(error.value).startswith(message)
    assert error.value.name == next(iter(values))
    assert isinstance(error.value, ValueError)


def test_enums_of_transformers_are_words():
    args = TFTrainingArguments(
        eval_strategy=IntervalStrategy.STEPS,
        logging_strategy=IntervalStrategy.EPOCH,
        lr_scheduler_type=SchedulerType.COSINE,
    )
    for value, word in [
        (args.eval_strategy, "steps"),
        (args.logging_strategy, "epoch"),
        (args.lr_scheduler_type, "cosine"),
    ]:
        assert (type(value), value) == (str, word)


@pytest.mark.parametrize(("steps", "ratio"), [(0, 0.0), (5, 0.0), (0, 0.1), (5, 0.1), (0, 1.0)])
def test_warmup_is_counted_as_transformers_counts_it(steps, ratio):
    ours = TFTrainingArguments(warmup_steps=steps, warmup_ratio=ratio)
    theirs = TrainingArguments(warmup_steps=steps, warmup_ratio=ratio, report_to="none", use_cpu=True)
    for total in (1, 7, 99, 1000):
        assert ours.get_warmup_steps(total) == theirs.get_warmup_steps(total)


def test_a_word_is_a_list_of_one():
    assert TFTrainingArguments(include_for_metrics="loss").include_for_metrics == ["loss"]


def test_intervals():
    assert [steps_of(value, 7) for value in (1, 3, 500.0, 0.5, 0.1, 0.999)] == [1, 3, 500, 4, 1, 7]
    assert TFTrainingArguments(logging_steps=7).eval_interval == 7
    assert TFTrainingArguments(logging_steps=7, eval_steps=3).eval_interval == 3


class Wrapped(float):
    """A number of a class of its own, as other libraries have them."""


def test_numbers_of_numpy_and_paths_become_plain_ones():
    args = TFTrainingArguments(
        Path("out"), num_train_epochs=np.int64(1), learning_rate=np.float32(0.5), label_names=("a", np.str_("b"))
    )
    args.seed, args.output_dir = np.uint8(7), Path("elsewhere")  # As transformers' run_clm.py sets it.
    args.weight_decay, args.do_train = Wrapped(0.25), np.bool_(True)
    args.check()
    plain = args.to_dict()
    assert json.loads(args.to_json_string()) == plain
    expected = {"output_dir": "elsewhere", "num_train_epochs": 1, "learning_rate": 0.5, "seed": 7}
    expected |= {"label_names": ["a", "b"], "weight_decay": 0.25, "do_train": True}
    assert {name: plain[name] for name in expected} == expected
    assert {type(plain[name]) for name in expected} == {str, int, float, list, bool}


def test_what_cannot_be_written_is_named():
    @dataclasses.dataclass
    class More(TFTrainingArguments):
        scales: dict = dataclasses.field(default_factory=dict)

    assert More(scales={np.int64(1): (np.float32(0.5),)}).scales == {1: [0.5]}
    message = (
        r"scales\['a'\]\[1\]=\{1\} cannot be used. Expected what JSON can write, .* not an object of set. Use a number"
    )
    with pytest.raises(SettingError, match=message):
        More(scales={"a": [0, {1}]})
    args = More()
    args.scales = {"a": object()}
    with pytest.raises(SettingError, match=r"scales\['a'\]="):
        args.check()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"fp32": True}, "fp32=True cannot be used. Expected an argument of TFTrainingArguments. "),
        ({"learning_rat": 1}, "learning_rat=1 .* Did you mean 'learning_rate'?"),
    ],
)
def test_unknown_arguments_get_advice(values, message):
    with pytest.raises(UnknownArgumentError, match=message) as error:
        TFTrainingArguments(**values)
    assert isinstance(error.value, TypeError)
    assert isinstance(error.value, SettingError)


def test_subclasses_have_arguments_of_their_own():
    class Own(TFTrainingArguments):
        def __init__(self, extra, **options):
            self.extra = extra
            super().__init__(**options)

    assert Own(extra=1, seed=3).seed == 3
    with pytest.raises(TypeError, match="seeed"):
        Own(extra=1, seeed=3)
    assert dataclasses.replace(TFTrainingArguments(seed=3), data_seed=4).seed == 3
    assert copy.deepcopy(TFTrainingArguments(seed=3)) == pickle.loads(pickle.dumps(TFTrainingArguments(seed=3)))


@pytest.mark.parametrize(
    ("metric", "expected"),
    [("loss", False), ("eval_loss", False), ("eval_accuracy", True), ("wer", False), (None, None)],
)
def test_the_direction_of_the_metric_is_known_when_the_arguments_are_made(metric, expected):
    args = TFTrainingArguments(metric_for_best_model=metric)
    assert (args.greater_is_better, args.stated_direction) == (expected, None)
    assert TFTrainingArguments(metric_for_best_model=metric, greater_is_better=True).stated_direction is True
    if (metric is not None and "loss" in metric) or metric == "eval_accuracy":
        theirs = TrainingArguments(
            metric_for_best_model=metric,
            load_best_model_at_end=True,
            eval_strategy="steps",
            report_to="none",
            use_cpu=True,
        )
        assert args.greater_is_better == theirs.greater_is_better


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            "~nobody-here/x",
            "the name of a user behind the tilde; there is no 'nobody-here' here. .* write './~nobody-h",
        ),
        ("a\0b", "the path of a directory, which has no NUL byte"),
        ("", "the path of a directory|the directory in which the checkpoints go"),
        (None, "the path of a directory|the directory in which the checkpoints go"),
    ],
)
def test_paths_that_are_none(value, message):
    for make in (TFTrainingArguments, WandbModelCheckpoint):
        with pytest.raises(SettingError, match=message):
            make(value)
    assert TFTrainingArguments(b"out").output_dir == "out"


def test_json():
    args = TFTrainingArguments(output_dir="~/out", label_names=["a"])
    assert json.loads(args.to_json_string()) == args.to_dict()
    assert args.output_dir == str(Path.home() / "out")
    assert TFTrainingArguments(**args.to_dict()) == args
