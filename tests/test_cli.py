"""The command line, run as a user runs it."""

from __future__ import annotations

import json

import pytest
import wandb
from helpers import python

from tf_hfwb.cli import main

pytestmark = pytest.mark.core


@pytest.mark.nightly
def test_show_prints_the_summary_without_a_terminal(capfd):
    with wandb.init(name="seen") as run:
        run.summary["accuracy"] = 0.75
    assert main(["show"]) == 0
    printed = capfd.readouterr().out
    assert "seen" in printed
    assert "0.75" in printed
    assert main(["show", "--json", "wandb/latest-run"]) == 0
    assert json.loads(capfd.readouterr().out)["summary"]["accuracy"] == 0.75


def test_show_says_what_is_missing(capsys):
    assert main(["show"]) == 1
    assert "run='wandb/latest-run' cannot be used" in capsys.readouterr().err
    assert main(["show", "nowhere"]) == 1
    assert "'nowhere'" in capsys.readouterr().err


def test_help_and_version():
    call = "import sys; from tf_hfwb.cli import main; main(sys.argv[1:])"
    assert "look at a local run" in python("-c", call, "--help").stdout
    assert python("-c", call, "--version").stdout.startswith("tf-hfwb 0.")
    assert python("-c", call).stdout == python("-c", call, "--help").stdout
    assert python("-c", call, "nothing", check=False).returncode == 2


def test_an_option_of_the_other_export_is_refused_even_if_it_is_zero(capsys):
    assert main(["export", "nowhere", "exported", "--to", "pytorch", "--max_new_tokens", "0"]) == 1
    assert "--max_new_tokens=0" in capsys.readouterr().err
