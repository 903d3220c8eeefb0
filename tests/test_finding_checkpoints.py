"""From which checkpoint a training goes on, and what is said of it."""

from __future__ import annotations

import logging
import shutil

import pytest

from tf_hfwb import restore
from tf_hfwb.checkpoint.store import Store
from tf_hfwb.errors import NotACheckpointError, StateMismatchError
from tf_hfwb.resume.find_checkpoint import find_checkpoint
from tf_hfwb.resume.resume_position import Position

pytestmark = pytest.mark.core

ANOTHER = "Another training may go on than the one that saved last"


def save(step, run=None, directory="out"):
    with Store(directory).draft(f"checkpoint-{step}") as draft:
        draft.write_json("trainer_state.json", {"global_step": step, "run": run and {"id": run}})
        draft.write_json("weights.json", [step] * 10)
        return draft.commit()


def flip(checkpoint):
    path = checkpoint.path / "weights.json"
    path.write_bytes(path.read_bytes().replace(b"]", b"}"))


def find(caplog, source=True):
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        found = find_checkpoint(source, output_dir="out", is_tracked=False)
    return found, caplog.text


@pytest.mark.parametrize("source", [True, "out"])
def test_an_older_training_goes_on_aloud(caplog, source):
    save(1000)
    flip(save(10))
    flip(save(11))
    found, said = find(caplog, source)
    assert found.step == 1000
    for step in (10, 11):
        assert f"out/checkpoint-{step} is not used: " in said
        assert f"out/checkpoint-{step} was saved after out/checkpoint-1000, though its step is smaller" in said
    assert "Instead out/checkpoint-1000 is used." in said
    assert f"{ANOTHER}: out/checkpoint-1" in said
    assert "If out/checkpoint-1000 is not the one that is meant, stop here" in said


def test_another_run_goes_on_aloud_whatever_its_steps(caplog):
    save(10, run="old")
    flip(save(20, run="new"))
    found, said = find(caplog)
    assert found.step == 10
    assert f"{ANOTHER}: out/checkpoint-20 is of the run new, and out/checkpoint-10 of old." in said


def test_when_nobody_knows_when_one_was_saved_it_may_have_been_the_last(caplog):
    save(1000, run="old")
    (save(10, run="new").path / "manifest.json").write_text("")
    found, said = find(caplog)
    assert found.step == 1000
    assert "out/checkpoint-10 is not used" in said
    assert "out/checkpoint-10 may have been saved after out/checkpoint-1000, though its step is smaller" in said


def test_a_changed_digit_makes_no_older_training_go_on(caplog):
    path = save(1000, run="old").path / "manifest.json"
    save(10, run="new")
    path.write_text(path.read_text().replace('"sequence": 1', '"sequence": 3'))
    found, said = find(caplog)
    assert found.step == 10
    assert "out/checkpoint-1000 is not used" in said
    assert ANOTHER not in said


@pytest.mark.parametrize("run", [None, "same"])
def test_the_same_training_goes_on_from_its_older_one(caplog, run):
    save(10, run)
    flip(save(20, run))
    found, said = find(caplog)
    assert found.step == 10
    assert "out/checkpoint-20 is not used" in said
    assert "Instead out/checkpoint-10 is used." in said
    assert ANOTHER not in said


@pytest.mark.parametrize("facts", ["[" * 100_000, "null", '{"run": 7}', '{"run": {"id": {}}}'])
def test_state_that_tells_no_run_tells_nothing(caplog, facts):
    save(10, "old")
    damaged = save(20, "new")
    (damaged.path / "trainer_state.json").write_text(facts)
    found, said = find(caplog)
    assert found.step == 10
    assert "out/checkpoint-20 is not used" in said
    assert ANOTHER not in said


def test_what_is_whole_is_taken_without_a_word(caplog):
    save(1000, "old")
    flip(save(5, "old"))
    save(10, "new")
    found, said = find(caplog)
    assert found.step == 10
    assert said == ""


def test_a_fresh_start_beside_damaged_ones_is_said(caplog):
    flip(save(10))
    found, said = find(caplog)
    assert found is None
    assert "Instead a fresh start is made." in said
    caplog.clear()
    with pytest.raises(NotACheckpointError):
        find(caplog, "out")
    assert "Instead nothing is used." in caplog.text


def test_one_that_goes_while_it_is_put_back_is_looked_for_again(monkeypatch):
    save(1)
    save(2)
    seen = []

    def resume_from(model, checkpoint):
        """As far as reading goes, with another process that removes what is read first."""
        seen.append(checkpoint.step)
        if len(seen) == 1:
            shutil.rmtree(checkpoint.path)
        return Position(step=checkpoint.read_json("trainer_state.json")["global_step"])

    monkeypatch.setattr("tf_hfwb.resume.restore.resume_from", resume_from)
    assert restore(None, True, output_dir="out").step == 1
    assert seen == [2, 1]
    seen.clear()
    with pytest.raises(NotACheckpointError, match="checkpoint-1 is no checkpoint"):
        restore(None, "out/checkpoint-1")
    assert not restore(None, True, output_dir="out")


def test_one_that_cannot_be_put_back_is_not_tried_again(monkeypatch):
    save(1)
    tried = []

    def resume_from(model, checkpoint):
        tried.append(checkpoint.step)
        raise StateMismatchError("It does not fit.")

    monkeypatch.setattr("tf_hfwb.resume.restore.resume_from", resume_from)
    with pytest.raises(StateMismatchError):
        restore(None, True, output_dir="out")
    assert tried == [1]
