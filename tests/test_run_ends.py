"""How a run ends: whatever ends the process, its state is right and no row is lost, within a limit."""

from __future__ import annotations

import json
import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys
import time

import pytest
import wandb
from helpers import classifier, finish, history, needs, nightly, python, samples
from test_resumed_runs import train

from tf_hfwb import WandbMetricsLogger, WandbModelCheckpoint
from tf_hfwb.cli import main
from tf_hfwb.settings import Settings
from tf_hfwb.tracking import open_tracker
from tf_hfwb.tracking.run_history import is_whole, run_folders

pytestmark = [pytest.mark.core, pytest.mark.keras3]

STEP = "train/global_step"
MAIN = "import sys; from tf_hfwb.cli import main; sys.exit(main(sys.argv[1:]))"

# Twelve steps in four epochs, and a way out after the second.
FIT = """
import os, signal, sys, time
import keras, wandb
from helpers import classifier, samples
from tf_hfwb import WandbMetricsLogger

way, owner = sys.argv[1:]
if owner == "users":
    wandb.init(project="trials")

class Out(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        if epoch != 1:
            return
        if way == "raise":
            raise ArithmeticError("crash")
        if way == "exit":
            sys.exit(3)
        if way == "SystemExit":
            raise SystemExit(4)
        if way == "interrupt":
            signal.raise_signal(signal.SIGINT)
        logger.tracker.flush_rows()
        time.sleep(0.5)  # The log is written every tenth of a second.
        if way in ("SIGTERM", "SIGKILL"):
            os.kill(os.getpid(), getattr(signal, way))
        if way == "service":
            wandb.setup()._connection._proc._process.kill()
            time.sleep(0.5)

model, (x, y) = classifier("keras"), samples(12)
logger = WandbMetricsLogger(1)
try:
    model.fit(x, y, batch_size=4, epochs=4, verbose=0, callbacks=[logger, Out()])
except KeyboardInterrupt:
    if way == "interrupt":
        raise
except ArithmeticError:
    if owner != "caught":
        raise
print("a line that goes to the run's console")
"""

# The statuses that the process may end with, the run's exit code, and the rows.
WAYS = {
    "return": ([0], 0, 12),
    "raise": ([1], 1, 6),
    "exit": ([3], 3, 6),
    "SystemExit": ([4], 1, 6),  # Of which only the process's own exit status tells more.
    "interrupt": ([-signal.SIGINT, 1], 255, 6),  # By the signal, unless code that runs at the end hides it from Python.
    "SIGTERM": ([128 + signal.SIGTERM], 128 + signal.SIGTERM, 6),
    "SIGKILL": ([-signal.SIGKILL], 1, 6),
    "service": ([0], 0, 12),
}


def folder_of(run_id: str) -> str:
    return run_folders(run_id, "wandb")[-1]


def steps(rows: list[dict]) -> list[int]:
    return [row[STEP] for row in rows if "train/loss" in row]


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize(
    ("owner", "mode"), [("ours", "online"), nightly("users", "online"), nightly("ours", "offline")]
)
def test_every_way_out(server, launcher, owner, mode):
    ways = {way: facts for way, facts in WAYS.items() if way != "SystemExit" or owner == "ours"}
    interval = {"WANDB_X_TRANSACTION_LOG_FLUSH_INTERVAL": "0.1"}  # Of a run of the user's too.
    started = {
        way: launcher.start(FIT, way, owner, WANDB_RUN_ID=way, WANDB_MODE=mode, WANDB_SILENT=None, **interval)
        for way in ways
    }
    ended = {way: script.wait() for way, script in started.items()}
    for way, (statuses, _, _) in ways.items():
        assert ended[way].returncode in statuses, (way, ended[way].stderr)
        failures = [line for line in ended[way].stderr.splitlines() if "W&B's client has failed" in line]
        assert len(failures) == (2 if way == "service" else 0), ended[way].stderr
        assert "socket.send" not in ended[way].stderr
        if way == "service":
            assert "Traceback" not in ended[way].stderr
            assert "lacks 6 of 12 rows" in failures[-1]
            command = shlex.split(failures[-1].rpartition("with: ")[2])
            assert command == ["tf-hfwb", "sync", os.path.abspath(folder_of(way))]
    for way in ways if mode == "offline" else ("SIGTERM", "SIGKILL", "service"):
        python("-c", MAIN, "sync", folder_of(way), WANDB_SILENT=None)
    for way, (_, exit_code, rows) in ways.items():
        run = server.runs[way]
        state = "preempted" if way == "SIGTERM" else "failed" if exit_code else "finished"
        assert (run.state, run.exit_code) == (state, exit_code), way
        assert steps(run.history) == list(range(1, rows + 1)), way


def test_a_training_that_failed_and_was_caught_is_a_failed_run(launcher):
    finished = launcher.python(FIT, "raise", "caught", WANDB_RUN_ID="caught")
    assert "Traceback" not in finished.stderr
    assert "a line that goes" in finished.stdout
    facts = json.loads(python("-c", MAIN, "show", "--json", folder_of("caught")).stdout)
    assert facts["exit_code"] == 1


@pytest.mark.parametrize("again", [False, True])
def test_after_a_failed_training_the_users_finish_says_so_unless_another_went_well(again):
    keras = pytest.importorskip("keras")

    class Failing(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise ArithmeticError

    model, (x, y) = classifier("keras"), samples(8)
    with pytest.raises(ArithmeticError):
        model.fit(x, y, verbose=0, callbacks=[WandbMetricsLogger(), Failing()])
    if again:
        model.fit(x, y, verbose=0, callbacks=[WandbMetricsLogger()])
    directory = finish()
    facts = json.loads(python("-c", MAIN, "show", "--json", directory).stdout)
    assert facts["exit_code"] == (0 if again else 1)


def test_a_run_that_is_finished_in_the_middle_of_a_training_has_not_failed():
    keras = pytest.importorskip("keras")

    class Finishing(keras.callbacks.Callback):
        def on_train_end(self, logs=None):
            self.directory = finish()

    finishing, model, (x, y) = Finishing(), classifier("keras"), samples(8)
    model.fit(x, y, verbose=0, callbacks=[finishing, WandbMetricsLogger()])
    facts = json.loads(python("-c", MAIN, "show", "--json", finishing.directory).stdout)
    assert facts["exit_code"] == 0


# Without TensorFlow: a run, rows, and trouble.
TROUBLE = """
import os, resource, signal, sys, time
trouble, limit = sys.argv[1], resource.getrlimit(resource.RLIMIT_FSIZE)
if trouble == "full":
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, limit[1]))  # For the client's service, which inherits it.
import wandb
from tf_hfwb.settings import Settings
from tf_hfwb.tracking import open_tracker
from tf_hfwb.tracking.artifact_logging import log_directory
from tf_hfwb.tracking.user_runs import attach

tracker = open_tracker(Settings.resolve())
attach(tracker)
resource.setrlimit(resource.RLIMIT_FSIZE, limit)

def log(first, last):
    for step in range(first, last + 1):
        tracker.submit(tracker.log, {"train/loss": step / 10, "train/global_step": step})
    tracker.flush_rows()

log(1, 100)
if trouble == "frozen":
    time.sleep(0.3)
    wandb.setup()._connection._proc._process.send_signal(signal.SIGSTOP)
if trouble == "outage":
    print("ready", flush=True)
    sys.stdin.readline()
    os.mkdir("model")
    open("model/weights", "w").close()
    log_directory(tracker, "model", name="model")
    tracker.flush()  # As at the end of a fit.
log(101, 150)
if trouble == "fork":
    began, child = time.monotonic(), os.fork()
    if child == 0:
        tracker.flush()
        sys.exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert time.monotonic() - began < 20
    log(151, 160)
os.write(1, f"{time.monotonic()}\\n".encode())
"""


def trouble(kind: str, **environment: str | None) -> tuple[float, str, subprocess.CompletedProcess]:
    """How many seconds the end took, the run's folder, and the process."""
    ended = python("-c", TROUBLE, kind, WANDB_RUN_ID=kind, WANDB_SILENT=None, **environment)
    return time.monotonic() - float(ended.stdout.splitlines()[-1]), folder_of(kind), ended


def test_a_full_disk_is_told_and_what_it_took_is_synced(server):
    _, folder, ended = trouble("full", WANDB_MODE="offline")
    [line] = [line for line in ended.stderr.splitlines() if "W&B's client has failed" in line]
    lost, total = map(int, re.search(r"lacks (\d+) of (\d+) rows", line).groups())
    held = len(history(folder))
    assert 0 < held < 150
    assert (lost, total) == (150 - held, 150)
    assert not is_whole(folder, timeout=0)
    python("-c", MAIN, *shlex.split(line.rpartition("with: tf-hfwb ")[2]))
    assert steps(server.runs["full"].history) == list(range(1, 151))


@pytest.mark.nightly
@pytest.mark.slow
def test_a_frozen_service_is_not_waited_for(server):
    seconds, folder, ended = trouble("frozen", WANDB_FINISH_TIMEOUT="4", WANDB_MODE="online")
    assert seconds < 12
    [line] = [line for line in ended.stderr.splitlines() if "W&B's client has failed" in line]
    assert "does not answer" in line
    for words in (" rows", " 0 rows"):  # The second time there is nothing to do.
        assert words in python("-c", MAIN, "sync", folder).stdout
    assert steps(server.runs["frozen"].history) == list(range(1, 151))
    assert server.runs["frozen"].state == "finished"


@pytest.mark.nightly
@pytest.mark.slow
def test_the_end_keeps_its_limit_in_an_outage(server):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "WANDB_RUN_ID": "outage"}
    environment |= {"WANDB_FINISH_TIMEOUT": "6"}
    environment.pop("WANDB_SILENT")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", TROUBLE, "outage"], env=environment, **pipes) as process:
        assert process.stdout.readline() == "ready\n"
        server.go_down()
        began = time.monotonic()
        _, said = process.communicate("go\n", timeout=120)
    assert process.returncode == 0, said
    assert 6 <= time.monotonic() - began < 6 + 9
    assert said.count("Upload what there is with: tf-hfwb sync") == 1
    assert os.path.abspath("model") in said
    assert "Traceback" not in said
    server.come_up()
    python("-c", MAIN, "sync", folder_of("outage"))
    assert steps(server.runs["outage"].history) == list(range(1, 151))
    assert server.runs["outage"].state == "finished"


def test_a_forked_child_ends_by_itself_and_leaves_the_run_alone():
    _, folder, ended = trouble("fork")
    assert steps(history(folder)) == list(range(1, 161))
    assert "tf_hfwb" not in ended.stderr


# Several folders


@pytest.mark.nightly
@pytest.mark.slow
def test_a_resumed_offline_run_is_one_run(server, monkeypatch, capfd):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", os.path.abspath("a place"))
    os.mkdir("a place")
    run_id, _ = train(1, 12, end="kill0.5")
    for begin in (8, 11):
        train(begin, begin + 9, run_id)
    folders = run_folders(run_id, "a place/wandb")
    assert len(folders) == 3
    tracker = open_tracker(Settings.resolve(), run_id=run_id)
    assert tracker.folders[:3] == [os.path.abspath(folder) for folder in folders]
    assert shlex.split(tracker.end.advice().partition("with: ")[2])[2:5] == tracker.folders[:3]
    finish()
    wandb.teardown()

    assert main(["show", "--json", folders[0]]) == 0
    facts = json.loads(capfd.readouterr().out)
    assert (facts["run_id"], facts["summary"][STEP], facts["exit_code"]) == (run_id, 20, 0)
    assert facts["folders"][:3] == [os.path.realpath(folder) for folder in folders]
    assert main(["show", folders[0]]) == 0
    assert folders[1] in capfd.readouterr().out

    assert main(["sync", folders[-1]]) == 1
    said = capfd.readouterr().err
    assert "Expected a key" in said
    assert shlex.quote(os.path.realpath(folders[0])) in said

    monkeypatch.setenv("WANDB_MODE", "online")
    for expected in (24, 0):  # Five evaluations too; the second time there is nothing to do.
        printed = python("-c", MAIN, "sync", folders[0]).stdout
        assert f"{expected} rows" in printed
    (run,) = server.runs.values()
    assert steps(run.history) == list(range(1, 21))
    assert [row["_step"] for row in run.history] == list(range(len(run.history)))


def test_folders_of_two_runs_are_refused(capfd):
    folders = []
    for _ in range(2):
        wandb.init()
        folders.append(finish())
    assert main(["sync", *folders]) == 1
    assert "Expected the folders of one run" in capfd.readouterr().err
    assert main(["sync", "nowhere"]) == 1
    assert "nowhere" in capfd.readouterr().err


# One output directory


REFUSED = """
import sys
from helpers import classifier, samples
from tf_hfwb import TFTrainer, TFTrainingArguments, WandbMetricsLogger, WandbModelCheckpoint
from tf_hfwb.errors import DirectoryInUseError

model, data = classifier("keras"), samples(8)
try:
    if sys.argv[1] == "fit":
        model.fit(*data, verbose=0, callbacks=[WandbMetricsLogger(1), WandbModelCheckpoint("out")])
    else:
        TFTrainer(model, TFTrainingArguments("out", report_to="wandb", num_train_epochs=1), train_dataset=data).train()
except DirectoryInUseError:
    print("refused")
"""


@pytest.mark.parametrize(
    ("mode", "how"),
    [
        ("online", "fit"),
        nightly("offline", "fit"),
        pytest.param("online", "trainer", marks=[pytest.mark.nightly, needs("transformers")]),
        pytest.param("offline", "trainer", marks=needs("transformers")),
    ],
)
def test_a_job_that_is_refused_its_directory_has_not_touched_the_run(server, launcher, monkeypatch, how, mode):
    monkeypatch.setenv("WANDB_MODE", mode)
    monkeypatch.setenv("WANDB_RUN_ID", "healthy")
    keras = pytest.importorskip("keras")
    refused = []

    class Second(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 0:
                refused.append(launcher.python(REFUSED, how))

    model, data = classifier("keras"), samples(8)
    callbacks = [WandbMetricsLogger(1), WandbModelCheckpoint("out"), Second()]
    model.fit(*data, batch_size=4, epochs=2, verbose=0, callbacks=callbacks)
    assert refused[0].stdout == "refused\n", refused[0].stderr
    folder = finish()
    assert len(list(pathlib.Path("wandb").glob("*run-*-*"))) == 1
    if mode == "offline":
        assert steps(history(folder)) == [1, 2, 3, 4]
    else:
        run = server.runs["healthy"]
        assert steps(run.history) == [1, 2, 3, 4]
        assert (run.state, run.exit_code) == ("finished", 0)
        assert len([one for one in server.requests if one.operation == "RunResumeStatus"]) <= 1


# Rows of the user's own


@pytest.mark.parametrize(
    ("log_freq", "first", "kind"),
    [
        ("batch", False, "keras"),
        (3, True, "keras"),
        ("batch", True, "tf_keras"),
        *(nightly("batch", True, "keras"), nightly(3, False, "keras"), nightly("batch", False, "tf_keras")),
        *(nightly(3, False, "tf_keras"), nightly(3, True, "tf_keras")),
    ],
)
def test_a_row_of_the_users_gets_the_step_of_its_moment(kind, first, log_freq):
    import importlib

    class Own(importlib.import_module(kind).callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            wandb.log({"mine": epoch})
            wandb.log({"given": epoch, STEP: 100 + epoch})

    logger = WandbMetricsLogger(log_freq)
    model, data = classifier(kind), samples(16)
    model.fit(*data, batch_size=4, epochs=4, verbose=0, callbacks=[Own(), logger] if first else [logger, Own()])
    rows = history(finish())
    assert [(row["mine"], row[STEP]) for row in rows if "mine" in row] == [
        (0, 4),
        (1, 8),
        (2, 12),
        (3, 16),
    ]
    assert [row[STEP] for row in rows if "given" in row] == [100, 101, 102, 103]
