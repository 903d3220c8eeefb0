"""Opening, sharing and ending the run, with the real client."""

from __future__ import annotations

import logging
import os
import pathlib

import pytest
import wandb
from helpers import classifier, finish, history, python, records, samples

from tf_hfwb import WandbMetricsLogger
from tf_hfwb.secret_masking import mask
from tf_hfwb.settings import Settings
from tf_hfwb.tracking import Tracker, open_tracker
from tf_hfwb.tracking.credentials import has_credentials

pytestmark = pytest.mark.core

FIT = """
import sys
from helpers import classifier, samples
from tf_hfwb import WandbMetricsLogger
model = classifier("keras")
x, y = samples(12)
logger = WandbMetricsLogger("batch", run_name="scripted")
model.fit(x, y, batch_size=4, verbose=0, callbacks=[logger])
"""


def config(directory) -> dict:
    merged: dict = {}
    for record in records(directory):
        if record["type"] in ("run", "config"):
            source = record[record["type"]]
            merged |= (source.get("config", source)).get("update", {})
    return merged


def exit_code(directory) -> int:
    return next(record["exit"].get("exit_code", 0) for record in records(directory) if record["type"] == "exit")


def only_run() -> pathlib.Path:
    (directory,) = pathlib.Path("wandb").glob("*run-*-*")
    return directory


@pytest.mark.nightly
def test_without_a_key_the_run_is_offline_says_so_and_asks_nothing():
    finished = python("-c", FIT, WANDB_MODE=None, WANDB_SILENT=None)
    (line,) = [line for line in finished.stderr.splitlines() if "Offline run" in line]
    assert line.endswith(f"Upload it later with: wandb login && wandb sync {only_run().absolute()}")
    assert "wandb: (1)" not in finished.stdout + finished.stderr  # The client's menu of accounts.
    assert only_run().name.startswith("offline-run-")
    assert exit_code(only_run()) == 0
    assert len(history(only_run())) == 3


@pytest.mark.nightly
@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a pseudo-terminal")
def test_in_a_terminal_too():
    import pty

    script = pathlib.Path("script.py")
    script.write_text("import sys\nsys.path[:0] = " + repr([p for p in os.sys.path if p]) + FIT)
    for name in ("WANDB_MODE", "WANDB_SILENT"):
        os.environ.pop(name)  # monkeypatch in conftest puts them back.
    printed = []

    def read(descriptor: int) -> bytes:
        printed.append(os.read(descriptor, 1024))
        return printed[-1]

    assert pty.spawn([os.sys.executable, str(script)], read) == 0
    assert b"Offline run" in b"".join(printed)


@pytest.mark.nightly
def test_the_mode_by_name_is_the_clients_business(launcher):
    assert Settings.resolve({"WANDB_MODE": "online"}).mode == "online"
    finished = launcher.python(FIT, WANDB_MODE="disabled", WANDB_SILENT=None)
    assert "Offline run" not in finished.stderr
    assert not list(pathlib.Path().glob("wandb/*run-*"))


def test_credentials_are_found_where_the_client_finds_them(monkeypatch):
    monkeypatch.delenv("WANDB_MODE")
    assert not has_credentials()
    wandb.teardown()
    netrc = pathlib.Path.home() / ".netrc"
    netrc.write_text("machine example.org login user password x\n")
    assert not has_credentials()
    netrc.write_text(f"machine api.wandb.ai login user password {'0' * 40}\n")
    assert has_credentials()
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    wandb.teardown()
    assert not has_credentials()
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    wandb.teardown()
    assert has_credentials()


def test_a_run_of_the_user_is_used_and_left_open():
    with wandb.init(name="mine", config={"mine": 1, "seed": 0}) as run:
        model, (x, y) = classifier("keras"), samples(8)
        model.fit(x, y, verbose=0, callbacks=[WandbMetricsLogger(run_name="other", config={"seed": 7})])
        assert wandb.run is run
        assert run.name == "mine"
        run.log({"after": 1})
        directory = os.path.dirname(run.dir)
    assert config(directory)["mine"] == 1
    assert config(directory)["seed"] == 7
    assert config(directory)["model/num_parameters"] == 67
    assert "after" in history(directory)[-1]


def test_name_project_and_group_come_from_the_environment(monkeypatch):
    for name, value in {"PROJECT": "p", "NAME": "n", "RUN_GROUP": "g", "JOB_TYPE": "j", "TAGS": "a,b"}.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    tracker = open_tracker(Settings.resolve())
    run = tracker.run
    assert (run.project, run.name, run.group, run.job_type, run.tags) == ("p", "n", "g", "j", ("a", "b"))
    assert open_tracker(Settings.resolve(), name="later") is tracker
    wandb.finish()
    assert open_tracker(Settings.resolve(project="q"), name="argument").run.name == "argument"
    assert wandb.run.project == "q"


def test_disabled_trains_on_with_one_warning(monkeypatch):
    monkeypatch.setenv("WANDB_DISABLED", "true")
    model, (x, y) = classifier("keras"), samples(8)
    with pytest.warns(FutureWarning, match='report_to="none", or set WANDB_MODE=disabled') as caught:
        model.fit(x, y, verbose=0, epochs=2, validation_data=(x, y), callbacks=[WandbMetricsLogger()])
    assert len([w for w in caught if "WANDB_DISABLED" in str(w.message)]) == 1
    assert wandb.run is None
    assert not os.path.exists("wandb")


def test_a_server_that_cannot_be_reached_leaves_an_offline_run(launcher):
    finished = launcher.python(
        FIT,
        WANDB_MODE=None,
        WANDB_SILENT=None,
        WANDB_API_KEY="0" * 40,
        WANDB_BASE_URL="http://127.0.0.1:9",
        WANDB_INIT_TIMEOUT="1",
    )
    assert "Opening the W&B run failed" in finished.stderr
    assert "Upload it later with: wandb login && wandb sync" in finished.stderr
    (directory,) = pathlib.Path("wandb").glob("offline-run-*")
    assert len(history(directory)) == 3


def test_a_folder_that_cannot_be_written_leaves_training_alone(launcher):
    pathlib.Path("wandb").write_text("a file where the client wants a folder")
    finished = launcher.python(FIT + "\nprint(model.optimizer.iterations.numpy())", WANDB_DIR=os.getcwd())
    assert finished.stdout.splitlines()[-1] == "3"


def test_rows_that_cannot_be_written_are_reported_once_and_counted_at_the_end(caplog):
    tracker = open_tracker(Settings.resolve())

    def write(row):
        if row["a"] > 1:
            raise ValueError("not this one")

    tracker.run.log = write
    with caplog.at_level(logging.WARNING, logger="tf_hfwb"):
        for number in range(4):
            tracker.submit(tracker.log, {"a": number})
            tracker.submit(tracker.summarize, {"b": number})
            tracker.submit(lambda: {}["c"])
            tracker.flush()
        tracker.finish()
    first, second, *counted = [record.message for record in caplog.records if record.name == "tf_hfwb"]
    assert first.startswith("Writing to the W&B run failed (KeyError: 'c')")
    assert second.startswith("Writing to the W&B run failed (ValueError: not this one)")
    assert counted == [
        "4 other entries could not be written to the W&B run.",
        "2 rows could not be written to the W&B run.",
    ]


def test_a_run_that_is_finished_in_the_middle_of_a_training_is_told_once(caplog):
    keras = pytest.importorskip("keras")

    class Finish(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                logger.tracker.flush()
                wandb.finish()

    model, logger, (x, y) = classifier("keras"), WandbMetricsLogger("batch"), samples(12)
    with caplog.at_level(logging.WARNING, logger="tf_hfwb"):
        model.fit(x, y, batch_size=4, epochs=3, verbose=0, callbacks=[logger, Finish()])
    messages = [record.message for record in caplog.records if record.name == "tf_hfwb"]
    assert len(messages) == 1
    assert f"The W&B run {logger.tracker.run.id} was finished before the training ended." in messages[0]
    assert len(logger.tracker.history) == 9
    assert int(model.optimizer.iterations.numpy()) == 9


def test_an_exception_leaves_a_failed_run_with_all_rows_before_it(launcher):
    crash = FIT.replace('"batch",', "1,").replace("callbacks=[logger]", "callbacks=[logger, Crash()]")
    crash = crash.replace("model = ", CRASH.format("raise RuntimeError('crash')") + "model = ")
    finished = launcher.python(crash, check=False)
    assert finished.returncode == 1
    assert "RuntimeError: crash" in finished.stderr
    assert exit_code(only_run()) == 1
    assert [row["train/global_step"] for row in history(only_run())] == [1, 2]


def test_an_interrupt_leaves_a_killed_run(launcher):
    interrupt = "import os, signal; os.kill(os.getpid(), signal.SIGINT)"
    killed = FIT.replace("callbacks=[logger]", "callbacks=[logger, Crash()]")
    killed = killed.replace("model = ", CRASH.format(interrupt) + "model = ")
    assert launcher.python(killed, check=False).returncode != 0
    assert exit_code(only_run()) == 255


CRASH = """
import keras
class Crash(keras.callbacks.Callback):
    def on_train_batch_begin(self, batch, logs=None):
        if batch == 2:
            {}
"""


def test_finish_ends_only_runs_that_we_opened():
    with wandb.init():
        open_tracker(Settings.resolve()).finish(1)
        assert wandb.run is not None
    tracker = open_tracker(Settings.resolve())
    tracker.finish(1)
    assert wandb.run is None
    tracker.finish(1)


def test_without_a_run_everything_does_nothing():
    tracker = Tracker()
    tracker.submit(pytest.fail)
    tracker.update_config({"a": 1})
    tracker.flush()
    tracker.finish()
    assert (tracker.active, tracker.directory) == (False, None)
    assert not open_tracker(Settings.resolve(), chief=False).active


def test_secrets_are_masked():
    key = "0123456789abcdef" * 2 + "01234567"
    config = {
        "hub_token": "hf_x",
        "nested": {"api_key": "k", "plain": f"{key}"},
        "list": ["hf_" + "a" * 34, "word"],
        "bos_token": "<s>",
        "bos_token_id": 1,
        "push_to_hub_token": None,
        "wandb_password": "p",
        "tokenizer": "bert",
    }
    assert mask(config) == {
        "hub_token": "<HUB_TOKEN>",
        "nested": {"api_key": "<API_KEY>", "plain": "<PLAIN>"},
        "list": ["<LIST>", "word"],
        "bos_token": "<s>",
        "bos_token_id": 1,
        "push_to_hub_token": None,
        "wandb_password": "<WANDB_PASSWORD>",
        "tokenizer": "bert",
    }
    open_tracker(Settings.resolve(), config=config)
    assert key not in str(records(finish()))


def test_each_run_has_one_worker_thread_and_ends_it():
    import threading

    def workers() -> int:
        return sum(thread.name == "tf_hfwb-tracking" for thread in threading.enumerate())

    others = workers()
    for _ in range(3):
        tracker = open_tracker(Settings.resolve())
        tracker.submit(tracker.log, {"a": 1})
        tracker.flush()
        wandb.finish()
    assert workers() <= others + 1
    tracker = open_tracker(Settings.resolve())
    tracker.submit(tracker.log, {"a": 1})
    tracker.finish()
    assert workers() == 0
