"""The private names of the client: in one file, and what happens in a version that lacks them."""

from __future__ import annotations

import ast
import pathlib

import pytest
import wandb
from helpers import finish, history, records

import tf_hfwb.tracking
from tf_hfwb.settings import Settings
from tf_hfwb.tracking import open_tracker, wandb_private
from tf_hfwb.tracking.log_inspection import inspect_commands
from tf_hfwb.tracking.run_history import is_whole, rows_in
from tf_hfwb.tracking.run_tables import GrowingTable
from tf_hfwb.tracking.user_runs import attach

pytestmark = pytest.mark.core

FOLDER = pathlib.Path(tf_hfwb.tracking.__file__).parent
INTERNAL_MODULES = ("wandb.sdk", "wandb.proto", "wandb.util", "wandb.apis")
NAMES = {name: value for name, value in vars(wandb_private).items() if isinstance(value, wandb_private.PrivateName)}


def private_uses(tree: ast.AST) -> list[str]:
    """Private attributes of anything but the class's own object, and imports of the client's internals."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            of_own = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls", "sys")
            if node.attr.startswith("_") and not node.attr.startswith("__") and not of_own:
                found.append(ast.unparse(node))
            if ast.unparse(node).startswith(INTERNAL_MODULES):
                found.append(ast.unparse(node))
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.startswith(INTERNAL_MODULES)]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(INTERNAL_MODULES):
            found.append(node.module)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "hasattr", "setattr"):
            name = node.args[1]
            if isinstance(name, ast.Constant) and str(name.value).startswith("_"):
                found.append(ast.unparse(node))
    return found


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_private_names_are_in_one_file(path):
    if path.name != "wandb_private.py":
        assert private_uses(ast.parse(path.read_text())) == []


@pytest.mark.parametrize("code", ["run._hooks", "from wandb.sdk import x", "getattr(run, '_log')", "wandb.util.f()"])
def test_a_private_name_is_found(code):
    assert private_uses(ast.parse(code))


def said(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "tf_hfwb"]


@pytest.fixture
def without(monkeypatch):
    """Take names away, as from a version of the client that lacks them."""
    find = wandb_private._find
    wandb_private._warn.cache_clear()

    def take_away(*names: str) -> None:
        missing = {NAMES[name] for name in names}

        def find_or_miss(name, owner=None):
            return find(
                wandb_private.PrivateName("_not_there", name.purpose, name.loss) if name in missing else name, owner
            )

        monkeypatch.setattr(wandb_private, "_find", find_or_miss)

    yield take_away
    wandb_private._warn.cache_clear()


def test_this_version_has_every_name(caplog):
    """So that a name that a new version lacks is seen here, not by a user."""
    run = wandb.init()
    table = wandb.Table(columns=["a"], log_mode="INCREMENTAL")
    interface, connection = run._interface, wandb.setup()._connection
    owners = {
        "PUBLISH": interface,
        "ASSIGN": interface,
        "CLIENT": interface,
        "ASYNCER": interface,
        "ASK_SUMMARY": interface,
        "WRITER": interface._client,
        "CONNECTION": wandb.setup(),
        "LAST_RUN": wandb.setup(),
        "PROCESS_OWNER": connection,
        "PROCESS": connection._proc,
        "INCREMENT_NUMBER": table,
        "INCREMENT_PATHS": table,
        "INCREMENT_URL": table,
    }
    assert [
        name
        for name, value in NAMES.items()
        if wandb_private._find(value, owners.get(name, run)) is wandb_private._MISSING
    ] == []
    assert said(caplog) == []


@pytest.mark.parametrize("names", [("PUBLISH",), ("INTERFACE",), ("SERVER_REQUEST",)])
def test_without_a_way_to_send_many_rows_they_are_sent_one_by_one(without, names, caplog):
    without(*names)
    tracker = open_tracker(Settings.resolve())
    for step in range(5):
        tracker.submit(tracker.log, {"a": step})
    tracker.flush_rows()
    assert [row["a"] for row in history(finish())] == list(range(5))
    assert said(caplog) == []


def test_without_the_clients_program_logs_are_read_by_its_command(without, caplog):
    with wandb.init() as run:
        run.log({"a": 1, "train/global_step": 1})
    directory = str(pathlib.Path("wandb/latest-run").resolve())
    wandb.teardown()
    expected = rows_in(directory)
    without("CORE_PATH")
    assert len(list(inspect_commands(directory))) == 1
    assert rows_in(directory) == expected != []
    assert said(caplog) == []


def test_without_the_form_of_records_a_log_counts_as_unfinished(without):
    wandb.init()
    directory = finish()
    assert is_whole(directory)
    without("RECORD")
    assert not is_whole(directory, timeout=0)


@pytest.mark.parametrize("name", ["TEARDOWN_HOOKS", "TEARDOWN_HOOK", "LOG"])
def test_what_is_lost_is_said_once_with_both_versions(without, name, caplog):
    without(name)
    for _ in range(2):
        tracker = open_tracker(Settings.resolve())
        attach(tracker)
        tracker.submit(tracker.log, {"a": 1})
        tracker.finish()
    (message,) = said(caplog)
    assert f"wandb {wandb.__version__} lacks _not_there" in message
    assert f"the tested wandb {wandb_private.TESTED_VERSION}" in message
    assert NAMES[name].loss in message


def test_without_the_exit_hooks_the_run_ends_all_the_same(without, caplog):
    without("EXIT_HOOKS")
    tracker = open_tracker(Settings.resolve())
    attach(tracker)
    tracker.has_died = lambda: True
    (exit_record,) = [record for record in records(finish()) if record["type"] == "exit"]
    assert exit_record["exit"].get("exit_code", 0) == 0
    assert "shows the run of a training that failed as finished" in caplog.text


def test_without_the_numbers_of_increments_a_table_is_logged_and_the_loss_is_said(without, caplog):
    without("INCREMENT_NUMBER")
    tracker = open_tracker(Settings.resolve())
    table = GrowingTable(tracker, "predictions", 1_000_000)
    for step in (1, 2):
        table.submit(lambda: [{"text": "a"}], step, 1.0)
    tracker.flush()
    rows = [row for row in history(finish()) if "predictions" in row]
    assert [row["train/global_step"] for row in rows] == [1, 2]
    assert "a table that grows shows only the rows since then" in caplog.text


def test_without_a_way_to_ask_the_service_it_counts_as_answering(without):
    run = wandb.init()
    without("ASK_SUMMARY")
    assert wandb_private.service_answers(run, 1.0)


def test_without_its_process_the_service_is_left_alone(without, caplog):
    run = wandb.init()
    without("PROCESS")
    wandb_private.kill_service(run)
    assert wandb_private.service_answers(run, 5.0)
    assert "waits for a service that hangs" in caplog.text


def test_without_the_clients_own_way_no_run_is_open_after_its_service_was_ended(without):
    run = wandb.init()
    without("UNSET_GLOBALS")
    wandb_private.kill_service(run)
    wandb_private.forget_run(run)
    assert wandb.run is None


def test_without_its_own_errors_a_service_that_is_gone_is_told_by_pythons(without):
    without("ABANDONED", "CLOSED", "JOINED")
    assert wandb_private.is_service_failure(ConnectionResetError())
    assert not wandb_private.is_service_failure(ValueError())
