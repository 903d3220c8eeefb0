"""``tf-hfwb table`` and ``tf-hfwb show``, called as a user calls them, on runs that W&B's client has logged."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import pty
import re

import numpy as np
import pytest
import wandb
from helpers import nightly, python

from tf_hfwb.cli import main
from tf_hfwb.cli.row_choice import parse_condition, sort_rows
from tf_hfwb.cli.table_formats import print_table, write_csv, write_json, write_markdown
from tf_hfwb.errors import SettingError

pytestmark = pytest.mark.core

NASTY = "a\x1b[31mb [bold]c[/bold] <b>d</b> | *e*\nf"
COLUMNS = ("text", "loss", "correct", "a > b")
ROWS = [
    ["first word", 0.5, True, 1],
    ["second WORD", 2.0, False, None],
    ["third", math.nan, False, 3],
    [None, 10, True, 2],
]


def chosen(condition: str) -> list:
    return [ROWS.index(row) for row in filter(parse_condition(condition, COLUMNS, ROWS), ROWS)]


@pytest.mark.parametrize(
    ("condition", "places"),
    [
        ("loss > 1", [1, 3]),
        ("loss>=2.0", [1, 3]),
        ("loss<2", [0]),
        ("loss == 10", [3]),
        ("loss = 1e1", [3]),
        ("loss != 10", [0, 1, 2]),
        ("loss == nan", [2]),
        ("loss == word", []),
        ("correct == False", [1, 2]),
        ("correct != false", [0, 3]),
        ("correct == 1", [0, 3]),
        ("text ~ word", [0, 1]),
        ("text~'WORD'", [0, 1]),
        ("text !~ word", [2, 3]),
        ("text == third", [2]),
        ('text == "third"', [2]),
        ("text == none", [3]),
        ("text != none", [0, 1, 2]),
        ("text >= second", [1, 2]),
        ("a > b > 1", [2, 3]),
        ("a > b == none", [1]),
    ],
)
def test_conditions(condition, places):
    assert chosen(condition) == places


@pytest.mark.parametrize(
    ("condition", "places"),
    [("n == 9007199254740993", [1]), ("n >= 9007199254740993", [1, 2, 3]), ("n != nan", [0, 1, 2, 3])],
)
def test_integers_are_compared_with_all_their_digits(condition, places):
    rows = [[2**53], [2**53 + 1], [2**53 + 2], [10**400]]
    assert [*filter(parse_condition(condition, ["n"], rows), rows)] == [rows[place] for place in places]


def test_integral_floats_are_printed_whole(capsys):
    print_table(["n"], [[1234567.0], [1764460800123.0], [0.12345678], [1e300], [3.0]], "")
    shown = capsys.readouterr().out.split()
    assert [word for word in shown if word[0].isdigit()] == ["1234567", "1764460800123", "0.123457", "1e+300", "3"]


def test_of_two_columns_with_one_beginning_the_longer_is_meant():
    rows = [[5, "b", 0], [0, "x", 5]]
    assert [*filter(parse_condition("a > b > 1", ["a", "c", "a > b"], rows), rows)] == rows[1:]


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("other > 1", "a column of 'text', 'loss', 'correct', 'a > b'"),
        ("loss", "COLUMN OPERATOR VALUE"),
        ("", "COLUMN OPERATOR VALUE"),
        ("loss > word", "a number after >, as loss has numbers"),
        ("__import__('os').system('false') == 0", "COLUMN OPERATOR VALUE"),
    ],
)
def test_what_is_no_condition(condition, message):
    with pytest.raises(SettingError, match=re.escape(message)):
        chosen(condition)


def test_sorting():
    def order(*wanted):
        return [ROWS.index(row) for row in sort_rows(ROWS, COLUMNS, wanted)]

    assert order("loss") == [0, 1, 3, 2]
    assert order("-loss") == [3, 1, 0, 2]
    assert order("text") == [0, 1, 2, 3]
    assert order("correct", "-loss") == [1, 2, 3, 0]
    assert order() == [0, 1, 2, 3]
    assert [row[0] for row in sort_rows([["b"], [2], ["a"], [1]], ["mixed"], ["mixed"])] == [1, 2, "a", "b"]
    with pytest.raises(SettingError, match=r"--sort='other' is not recognised. Expected one of 'text', 'loss'"):
        order("-other")


def written(write, columns, rows) -> str:
    stream = io.StringIO()
    write(columns, rows, stream)
    return stream.getvalue()


def test_what_is_written_can_be_read_again():
    rows = [[NASTY, 0.1, True, None], ['a,b"c\ud800', math.nan, False, [1, 2]]]
    read = list(csv.reader(io.StringIO(written(write_csv, COLUMNS, rows))))
    assert read == [
        [*COLUMNS],
        [NASTY, "0.1", "true", ""],
        ['a,b"c\\ud800', "NaN", "false", "[1, 2]"],
    ]
    text = written(write_json, COLUMNS, rows)
    assert text.isprintable() or set(re.findall(r"[^\x20-\x7e]", text)) == {"\n"}
    assert json.loads(text)[0] == dict(zip(COLUMNS, rows[0], strict=True))
    assert json.loads(text)[1]["loss"] == "NaN"
    assert json.loads(written(write_json, COLUMNS, [])) == []
    lines = written(write_markdown, COLUMNS, rows).splitlines()
    assert lines[0] == r"| text | loss | correct | a \> b |"
    assert lines[2] == (r"| a\\x1b\[31mb \[bold\]c\[/bold\] \<b\>d\</b\> \| \*e\*<br>f | 0.1 | true |  |")
    assert len(lines) == 4


def log_tables() -> str:
    """A run with two tables and a histogram; returns its folder."""
    with wandb.init(project="plain", name="logged") as run:
        picture = wandb.Image(np.zeros((4, 4, 3), "uint8"))
        data = [[NASTY, 1.5, True, picture], ["x" * 300, 0.5, False, None]]
        run.log({"answers": wandb.Table(columns=["text", "loss", "correct", "picture"], data=data)})
        run.log({"eval": {"f1": {"micro": 0.25}}, "weights": wandb.Histogram(np.linspace(-0.125, 0.25, 100))})
        folder = os.path.dirname(run.dir)
    wandb.teardown()
    return folder


def test_the_only_table_of_the_latest_run(capsys):
    log_tables()
    assert main(["table", "--where", "correct == true"]) == 0
    printed = capsys.readouterr().out
    assert r"a\x1b[31mb [bold]c[/bold] <b>d</b> | *e*\nf" in printed
    assert "staging" in printed  # Where the client keeps the image.
    assert "answers of logged: 1 rows" in printed
    assert "xxx" not in printed
    assert main(["table", "wandb", "answers", "--sort", "-loss", "--columns", "loss,correct", "--format", "csv"]) == 0
    assert capsys.readouterr().out == "loss,correct\n1.5,true\n0.5,false\n"
    assert main(["table", "wandb", "--limit", "1", "--format", "json", "--columns", "loss"]) == 0
    assert json.loads(capsys.readouterr().out) == [{"loss": 1.5}]
    assert main(["table"]) == 0
    assert "x" * 300 in capsys.readouterr().out  # It is cut on a terminal only.
    for words, message in {
        ("--limit", "-1"): "--limit=-1 cannot be used",
        ("wandb", "other"): "table='other' is not recognised. Expected one of 'answers'",
        ("--columns", "other"): "--columns='other' is not recognised",
        ("nowhere",): "run='nowhere' cannot be used",
    }.items():
        assert main(["table", *words]) == 1
        assert message in capsys.readouterr().err


def test_on_a_terminal_a_row_is_a_line_and_signs_are_harmless():
    log_tables()
    call = "import sys, fcntl, termios, struct; fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack('HHHH', 24, 70, 0, 0)); "
    call += "from tf_hfwb.cli import main; sys.exit(main(sys.argv[1:]))"
    printed = in_terminal("-c", call, "table", "wandb", "--columns", "text,loss,correct")
    lines = [line for line in re.sub(r"\x1b\[[\d;]*m", "", printed).splitlines() if line.strip()]
    assert all(len(line) <= 70 for line in lines)
    assert len(lines) == 5
    assert lines[2].lstrip().startswith(r"a\x1b[31mb [bold]c[/bold]")
    assert lines[3].strip().startswith("xxx")
    assert "…" in lines[3]
    assert lines[3].rstrip().endswith("0.5   false")
    assert "\\x1b[31mb" in in_terminal("-c", call, "table", "wandb", "--format", "csv")


def in_terminal(*arguments: str) -> str:
    """What Python writes to a terminal."""
    import subprocess
    import sys

    leader, follower = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "COLUMNS": "70"}
    process = subprocess.Popen(
        [sys.executable, *arguments], stdin=follower, stdout=follower, stderr=follower, env=environment
    )
    os.close(follower)
    written = b""
    while True:
        try:
            part = os.read(leader, 4096)
        except OSError:
            break
        if not part:
            break
        written += part
    os.close(leader)
    assert process.wait(60) == 0, written
    return written.decode()


def test_without_a_key_tables_are_listed(capsys):
    with wandb.init() as run:
        for key in ("one", "two"):
            run.log({key: wandb.Table(columns=["n", key], data=[[1, 2]])})
    wandb.teardown()
    assert main(["table", "--format", "csv"]) == 0
    assert capsys.readouterr().out == 'table,rows,columns\none,1,"n, one"\ntwo,1,"n, two"\n'
    with wandb.init():
        pass
    wandb.teardown()
    assert main(["table"]) == 1
    assert "a run with tables, and it has logged none" in capsys.readouterr().err


def test_the_summary_is_short(capsys):
    folder = log_tables()
    assert main(["show"]) == 0
    printed = capsys.readouterr().out
    assert len(printed.splitlines()) < 25
    assert re.search(r"^  weights +histogram: 64 bins, -0.125 to 0.25$", printed, re.M)
    assert re.search(r"^  answers +table: 2 rows, see tf-hfwb table RUN answers$", printed, re.M)
    assert re.search(r"^  eval.f1.micro +0.25$", printed, re.M)
    assert main(["show", "--json", folder]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["name"], facts["state"], facts["exit_code"], facts["step"]) == ("logged", "finished", 0, 1)
    assert facts["summary"]["eval.f1.micro"] == 0.25
    assert facts["summary"]["answers"] == "table: 2 rows, see tf-hfwb table RUN answers"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", facts["start_time"])


def test_what_a_failed_run_has_printed_last(capsys):
    script = "import wandb\nwith wandb.init() as run:\n    print('begun')\n    raise RuntimeError('it is lost')"
    assert python("-c", script, check=False).returncode == 1
    assert main(["show"]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"^state +failed$", printed, re.M)
    assert printed.rstrip().endswith("RuntimeError: it is lost")
    assert "  begun\n" in printed


def test_a_reader_that_has_enough_is_no_error():
    with wandb.init() as run:
        run.log({"long": wandb.Table(columns=["n"], data=[[number] for number in range(20_000)])})
    wandb.teardown()
    call = "import sys; from tf_hfwb.cli import main; sys.exit(main(sys.argv[1:]))"
    script = (
        "import subprocess, sys\n"
        f"p = subprocess.Popen([sys.executable, '-c', {call!r}, 'table', '--format', 'csv'], stdout=subprocess.PIPE, "
        "stderr=subprocess.PIPE)\n"
        "p.stdout.readline(); p.stdout.close(); print(p.stderr.read().decode())"
    )
    assert python("-c", script).stdout.strip() == ""


PLAIN = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.parametrize(
    ("words", "environment", "expected"),
    [
        ("show", PLAIN, r"n\xe9"),
        nightly("table", PLAIN, r"\uc190"),
        nightly("report wandb", PLAIN, "report.html: 1 run"),
        nightly("show", {"PYTHONIOENCODING": "ascii"}, r"n\xe9"),
        nightly("table --format csv", {"PYTHONIOENCODING": "ascii"}, r"\uc190"),
    ],
)
def test_what_a_terminal_cannot_show_is_written_as_python_writes_it(words, environment, expected):
    with wandb.init(name="n\N{LATIN SMALL LETTER E WITH ACUTE}") as run:
        run.log({"losses": wandb.Table(columns=["text"], data=[["\N{HANGUL SYLLABLE SON}"]])})
    wandb.teardown()
    call = f"from tf_hfwb.cli import main; raise SystemExit(main({words.split()}))"
    assert expected in python("-c", call, **environment).stdout
