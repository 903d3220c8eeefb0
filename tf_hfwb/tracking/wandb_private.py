"""The private names of the W&B client that this package uses: all of them, each with its purpose.

No other file knows a private name. A version of the client may lack any of them. Where there is a public way to the
same end, it is taken then, and is only slower. Where there is none, one warning says what is missing, which version is
installed and which one was tested, and training continues without it.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib
import json
import logging
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

TESTED_VERSION = "0.31"

_logger = logging.getLogger("tf_hfwb")


@dataclass(frozen=True)
class PrivateName:
    """A name that the client does not promise to keep.

    Attributes:
        path: Where it is: attributes of an object, or ``module:attribute``.
        purpose: What this package needs it for.
        loss: What is lost without it; empty where the public way does the same.
    """

    path: str
    purpose: str
    loss: str = ""


TEARDOWN_HOOKS = PrivateName(
    "_teardown_hooks",
    "to write what is waiting before somebody else ends the run",
    "Rows that are waiting when wandb.finish() is called may be lost.",
)
TEARDOWN_HOOK = PrivateName("wandb.sdk.wandb_run:TeardownHook", TEARDOWN_HOOKS.purpose, TEARDOWN_HOOKS.loss)
TEARDOWN_STAGE = PrivateName("wandb.sdk.wandb_run:TeardownStage", TEARDOWN_HOOKS.purpose, TEARDOWN_HOOKS.loss)
EXIT_HOOKS = PrivateName(
    "_hooks",
    "to mark the run of a failed training as failed when somebody else ends it",
    "W&B shows the run of a training that failed as finished.",
)
LOG = PrivateName(
    "_log",
    "to give rows of your own the step that training has reached",
    "Rows that you log yourself have the step of the row before them.",
)
INTERFACE = PrivateName("_interface", "to send many rows at once, and to ask whether the client's service answers")
PUBLISH = PrivateName("_publish", "to gather the records of many rows")
ASSIGN = PrivateName("_assign", "to give a gathered record its run")
CLIENT = PrivateName("_client", "to send gathered records")
WRITER = PrivateName("_writer", "to see that the service has closed its socket: asyncio prints a line for each write")
ASYNCER = PrivateName("_asyncer", "to send gathered records on the client's own thread")
SERVER_REQUEST = PrivateName("wandb.proto.wandb_server_pb2:ServerRequest", "to send gathered records")
RECORD = PrivateName(
    "wandb.proto.wandb_internal_pb2:Record",
    "to see whether a run's log reaches the run's end, and to read its last rows without all of it",
)
ASK_SUMMARY = PrivateName("deliver_get_summary", "to ask whether the client's service answers")
ABANDONED = PrivateName("wandb.sdk.mailbox:HandleAbandonedError", "to tell that the client's service is gone")
CLOSED = PrivateName("wandb.sdk.mailbox:MailboxClosedError", "to tell that the client's service is gone")
JOINED = PrivateName("wandb.sdk.lib.asyncio_manager:AlreadyJoinedError", "to tell that the client was torn down")
CONSOLE_STOP = PrivateName("_console_stop", "to send no more lines of the console to a service that has failed")
CONNECTION = PrivateName(
    "_connection",
    "to end the client's service when it hangs",
    "The end of a run waits for a service that hangs, however long that takes.",
)
PROCESS_OWNER = PrivateName("_proc", CONNECTION.purpose, CONNECTION.loss)
PROCESS = PrivateName("_process", CONNECTION.purpose, CONNECTION.loss)
LAST_RUN = PrivateName("most_recent_active_run", "to leave a service alone that another run needs")
UNSET_GLOBALS = PrivateName("wandb.sdk.lib.module:unset_globals", "to have no run open after its service was ended")
CORE_PATH = PrivateName("wandb.util:get_core_path", "to read a run's log without starting a Python for it")
INCREMENT_NUMBER = PrivateName(
    "_increment_num",
    "to continue the numbers of a table's increments",
    "After a resume, a table that grows shows only the rows since then.",
)
INCREMENT_PATHS = PrivateName("_previous_increments_paths", INCREMENT_NUMBER.purpose, INCREMENT_NUMBER.loss)
INCREMENT_URL = PrivateName("_get_artifact_entry_ref_url", INCREMENT_NUMBER.purpose, INCREMENT_NUMBER.loss)


_MISSING = object()
_NUMBER = re.compile(rb"\x08[\x80-\xff]*[\x00-\x7f]")  # Of a record, which stands at its beginning.


def _find(name: PrivateName, owner: Any = None) -> Any:
    """What has the name in this version of the client; ``_MISSING``, with a warning if something is lost."""
    module, _, attribute = name.path.rpartition(":")
    try:
        return getattr(importlib.import_module(module) if module else owner, attribute)
    except (AttributeError, ImportError):
        if name.loss:
            _warn(name)
        return _MISSING


@functools.cache  # Once in a process.
def _warn(name: PrivateName) -> None:
    import wandb

    _logger.warning(
        "wandb %s lacks %s, which is needed %s. Expected a version that has it, such as the tested wandb %s. %s "
        "Install that version to have it back: pip install 'wandb~=%s.0'",
        wandb.__version__,
        name.path,
        name.purpose,
        TESTED_VERSION,
        name.loss,
        TESTED_VERSION,
    )


# -- the end of a run -------------------------------------------------------------------------------------------------


def call_around_end(run: Any, before: Callable[[], None], after: Callable[[], None]) -> None:
    """Have functions called before and after a run ends, whoever ends it."""
    hooks, hook, stage = _find(TEARDOWN_HOOKS, run), _find(TEARDOWN_HOOK), _find(TEARDOWN_STAGE)
    if _MISSING not in (hook, stage) and isinstance(hooks, list):
        hooks.insert(0, hook(before, stage.EARLY))
        hooks.append(hook(after, stage.LATE))


def set_exit_code(run: Any, exit_code: int) -> None:
    """Say with which code a run ends that somebody else ends without saying one."""
    hooks = _find(EXIT_HOOKS, run)
    if hooks is not _MISSING and hooks is not None:
        hooks.exit_code = exit_code


# -- rows -------------------------------------------------------------------------------------------------------------


def complete_rows(run: Any, complete: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> None:
    """Pass every row that anybody logs to the run through a function."""
    log = _find(LOG, run)
    if log is _MISSING:
        return

    def log_completed(data: Any, *args: Any, **options: Any) -> None:
        log(complete(data) if isinstance(data, Mapping) else data, *args, **options)

    run._log = log_completed


class RecordStream:
    """The way on which one run's records go to the client's service.

    Args:
        run: The W&B run. Without one, or where a version of the client has another way, nothing is gathered: each row
            is sent by ``run.log``.
    """

    def __init__(self, run: Any) -> None:
        interface = None if run is None else _find(INTERFACE, run)
        names = (PUBLISH, ASSIGN, CLIENT, ASYNCER)
        is_known = interface is not None and all(_find(name, interface) is not _MISSING for name in names)
        self._interface: Any = interface if is_known and _find(SERVER_REQUEST) is not _MISSING else None

    def gather(self, record_to: Callable[[Any], None]) -> None:
        """Hand each record that this thread publishes to a function. Other threads publish as ever."""
        interface = self._interface
        if interface is None:
            return
        thread, publish = threading.get_ident(), interface._publish

        def publish_or_gather(record: Any, *, nowait: bool = False) -> None:
            if threading.get_ident() == thread:
                record_to(record)
            else:
                publish(record, nowait=nowait)

        interface._publish = publish_or_gather

    def stop_gathering(self) -> None:
        """Publish records as ever."""
        if self._interface is not None:
            vars(self._interface).pop("_publish", None)  # The method of the class is there again.

    def send(self, records: Sequence[Any], timeout: float | None) -> None:
        """Send gathered records in order, with one switch to the client's thread.

        Args:
            records: The records.
            timeout: Seconds to wait at most for a service that takes nothing.

        Raises:
            Exception: The client could not send them.
        """
        interface, server_request = self._interface, _find(SERVER_REQUEST)
        requests = []
        for record in records:
            interface._assign(record)
            requests.append(server_request(record_publish=record))
        writer = _find(WRITER, interface._client)

        async def send_all() -> None:
            for request in requests:
                if writer is not _MISSING and writer.is_closing():
                    raise ConnectionResetError("its service has ended")
                await interface._client.publish(request)

        interface._asyncer.run(lambda: asyncio.wait_for(send_all(), timeout))


class RecordForm:
    """The form of the records in a run's log.

    Attributes:
        is_known: Whether records can be read in this version of the client; else they are of no kind.
    """

    def __init__(self) -> None:
        found = _find(RECORD)
        self.is_known = found is not _MISSING
        self._record = found
        fields = found.DESCRIPTOR.oneofs_by_name["record_type"].fields if self.is_known else ()
        self._kinds = {bytes([field.number << 3 | 2]): field.name for field in fields if field.number < 16}

    def kind_of(self, record: bytes) -> str:
        """What a record is: ``history``, ``summary``, ``stats``, ...; empty where that cannot be told."""
        # Most need not be parsed for it: the byte behind the record's number tells.
        number = _NUMBER.match(record)
        kind = None if number is None else self._kinds.get(record[number.end() : number.end() + 1])
        return kind or self._parse(record)[0]

    def row_in(self, record: bytes) -> dict[str, str] | None:
        """The row that a record is, each value as JSON; None for any other record.

        What is nested has a point between the names, as in ``wandb leet inspect``.
        """
        kind, content = self._parse(record)
        return _texts(content.item) if kind == "history" else None

    def item_in(self, record: bytes) -> dict[str, Any]:
        """What a record holds, as ``wandb leet inspect --json`` prints it under the record's kind."""
        from google.protobuf.json_format import MessageToDict  # type: ignore[import-untyped]

        kind, content = self._parse(record)
        if kind == "stats":
            values = {name: json.loads(text) for name, text in _texts(content.item).items()}
            return {"timestamp": content.timestamp.ToJsonString(), "item": values}
        return dict(MessageToDict(content, preserving_proto_field_name=True)) if kind else {}

    def _parse(self, record: bytes) -> tuple[str, Any]:
        """The kind and the content."""
        from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

        try:
            parsed = self._record.FromString(record) if self.is_known else None
        except DecodeError:
            parsed = None
        kind = None if parsed is None else parsed.WhichOneof("record_type")
        return (kind, getattr(parsed, kind)) if kind else ("", None)


def _texts(items: Any) -> dict[str, str]:
    # Copied into a list, they are read in half of the time.
    return {item.key or ".".join(item.nested_key[:]): item.value_json for item in items[:]}


def core_program() -> str | None:
    """The program of the client that reads logs; None where only ``python -m wandb`` is known."""
    import wandb

    find = _find(CORE_PATH)
    try:
        return None if find is _MISSING else str(find())
    except wandb.Error:
        return None


# -- tables that grow -------------------------------------------------------------------------------------------------


def continue_table(table: Any, number: int, earlier_paths: Sequence[str]) -> None:
    """Make a table the increment of that number, after those at these paths."""
    if _find(INCREMENT_NUMBER, table) is not _MISSING and _find(INCREMENT_PATHS, table) is not _MISSING:
        table._increment_num, table._previous_increments_paths = number, list(earlier_paths)


def describe_increment(table: Any) -> dict[str, Any] | None:
    """What a run's history says of an increment that was logged; None where that cannot be told."""
    number, paths, url = (_find(name, table) for name in (INCREMENT_NUMBER, INCREMENT_PATHS, INCREMENT_URL))
    if _MISSING in (number, url) or paths is _MISSING:
        return None
    return {"increment_num": number, "previous_increments_paths": paths, "artifact_path": url()}


# -- the client's service ---------------------------------------------------------------------------------------------


def is_service_failure(error: BaseException) -> bool:
    """Whether an exception says that the service is gone or does not answer, rather than that a value is wrong."""
    own = [kind for kind in (_find(ABANDONED), _find(CLOSED), _find(JOINED)) if kind is not _MISSING]
    return isinstance(error, (OSError, TimeoutError, asyncio.TimeoutError, *own))


def says_that_run_is_finished(error: BaseException) -> bool:
    """Whether an exception says that the run takes nothing more, because somebody has finished it."""
    return isinstance(error, sys.modules["wandb"].errors.UsageError) and "is finished" in str(error)


def service_answers(run: Any, timeout: float) -> bool:
    """Whether the service answers a question for which it needs no server; True when it cannot be asked."""
    interface = _find(INTERFACE, run)
    ask = _find(ASK_SUMMARY, interface)
    if ask is _MISSING:
        return True
    try:
        ask().wait_or(timeout=timeout)
    except Exception as error:
        return not is_service_failure(error)
    return True


def stop_console(run: Any) -> None:
    """Send no more of what is printed to a service that has failed: each line would be answered by a complaint."""
    stop = _find(CONSOLE_STOP, run)
    if stop is not _MISSING:
        with contextlib.suppress(Exception):
            stop()


def kill_service(run: Any) -> None:
    """End a run's service, so that whoever waits for it gets an error; left alone while another run needs it."""
    setup = sys.modules["wandb"].setup()
    if not _is_served(setup, run):
        return
    found: Any = setup
    for name in (CONNECTION, PROCESS_OWNER, PROCESS):
        found = _find(name, found)
        if found is None or found is _MISSING:
            return  # Where it is None, there is no service, or it belongs to another process.
    process = found
    if isinstance(process, subprocess.Popen) and _is_last_run(setup, run):
        process.kill()


def forget_run(run: Any) -> None:
    """After :func:`kill_service`: no run is open, and the client's hook at the end neither waits nor raises."""
    wandb: Any = sys.modules["wandb"]
    unset_globals = _find(UNSET_GLOBALS)
    if wandb.run is run and unset_globals is _MISSING:
        wandb.run = None
    elif wandb.run is run:
        unset_globals()
    setup = wandb.setup()
    if _is_served(setup, run) and _is_last_run(setup, run):
        with contextlib.suppress(Exception, SystemExit):  # It exits with the status of the service.
            wandb.teardown()


def _is_served(setup: Any, run: Any) -> bool:
    """Whether the process's service is the one that the run was opened with: after a teardown it is another one."""
    clients = [_find(CLIENT, _find(CONNECTION, setup)), _find(CLIENT, _find(INTERFACE, run))]
    return _MISSING in clients or clients[0] is clients[1]


def _is_last_run(setup: Any, run: Any) -> bool:
    """Whether no other run is open."""
    last = _find(LAST_RUN, setup)
    return (sys.modules["wandb"].run if last is _MISSING else last) in (None, run)
