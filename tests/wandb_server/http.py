"""Transport and faults: one HTTP server that answers the client, counts what it says, and fails on command."""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import re
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

from . import (  # noqa: F401  They enter their operations into the table.
    artifact_operations,
    run_operations,
    sweep_operations,
)
from .graphql import Operations, UnknownOperationError, operation_name
from .run_operations import stream
from .state import Collection, RefusedError, Run, Store, Sweep

API_KEY = "0123456789abcdef" * 2 + "01234567"

# Fast retries that do not give up, so that a test of an outage lasts as long as the outage. The client counts in whole
# seconds: it takes anything below one for zero, and zero for its default of two.
RETRIES = {
    f"WANDB_X_{channel}_RETRY_{name}": value
    for channel in ("GRAPHQL", "FILE_STREAM", "FILE_TRANSFER")
    for name, value in (("WAIT_MIN_SECONDS", "1"), ("WAIT_MAX_SECONDS", "1"), ("MAX", "10000"))
}


@dataclass
class Request:
    """One request as counted.

    ``kind`` is "graphql", "file_stream", "upload", "download" or "telemetry". ``operation`` says it closer: the name
    of the GraphQL operation; for uploads and downloads "artifact_file", "manifest" or "run_file", after the kind and
    an underscore; else the kind again. ``status`` is None while there is no answer, and if there never was one.
    """

    kind: str
    operation: str
    path: str
    variables: dict[str, Any] = field(default_factory=dict)
    received: int = 0
    sent: int = 0
    status: int | None = None
    time: float = field(default_factory=time.monotonic)


@dataclass(eq=False)
class Fault:
    """What to do with matching requests: answer with a status, or (None) not at all until recovery."""

    status: int | None
    operations: frozenset[str] | None
    times: float

    def concerns(self, request: Request) -> bool:
        return self.operations is None or bool({request.kind, request.operation} & self.operations)


@dataclass(eq=False)
class Hook:
    """A function to call at the next requests of a kind or operation."""

    operation: str
    callback: Callable[[Request], object]
    after: bool
    times: float


class WandbServer:
    """A W&B server on 127.0.0.1, running in threads of this process while the context is open.

    Args:
        entity: The user that the API key belongs to.

    Attributes:
        delay: Seconds to wait before each answer.
        requests: What was asked so far, in order; see ``Request``.
        unknown: Names of operations that this server does not know. They were answered with status 400.
        errors: Messages of requests that a handler failed on, answered with 400 too (the client would retry a 500).
        uploaded_bytes: Bytes of artifact files received, without manifests and the files of runs.
        heard: Every request, with its headers and its body; kept only by who puts a list here.
    """

    def __init__(self, entity: str = "tester"):
        self.entity = entity
        self.delay = 0.0
        self.requests: list[Request] = []
        self.unknown: list[str] = []
        self.errors: list[str] = []
        self.uploaded_bytes = 0
        self.heard: list[bytes] | None = None
        self.store = Store()
        self.lock = threading.RLock()
        self._faults: list[Fault] = []
        self._recovered = threading.Condition()
        self._cut_after: int | None = None
        self._hooks: list[Hook] = []
        self._listener: _Listener | None = None
        self._switch = threading.Lock()
        self._port = 0

    def __enter__(self) -> WandbServer:
        self.come_up()
        return self

    def __exit__(self, *_: object) -> None:
        self.recover()
        self.go_down()

    # What a client needs

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def environment(self) -> dict[str, str]:
        """The variables with which a process talks to this server, and tries again soon when that fails."""
        account = {"WANDB_BASE_URL": self.url, "WANDB_API_KEY": API_KEY, "WANDB_MODE": "online"}
        return {**account, **RETRIES, "WANDB_X_FILE_STREAM_TRANSMIT_INTERVAL": "1"}

    # What a test reads

    @property
    def runs(self) -> dict[str, Run]:
        """All runs by id."""
        with self.lock:
            return {run.id: run for run in self.store.runs()}

    def sweep(self, name: str) -> Sweep:
        return self.store.sweeps[name]

    def collection(self, name: str) -> Collection:
        """The one artifact collection of that name in any project; ``project/name`` where there are several."""
        with self.lock:
            found = [c for c in self.store.collections() if name in (c.name, f"{c.project.name}/{c.name}")]
            if len(found) != 1:
                known = sorted(f"{c.project.name}/{c.name}" for c in self.store.collections())
                raise KeyError(f"{len(found)} collections are called {name!r}; there are {known}")
            return found[0]

    def reset_counts(self) -> None:
        with self.lock:
            self.requests, self.uploaded_bytes = [], 0

    # Misbehaviour

    def fail(self, status: int, operations: Iterable[str] | None = None, times: float = float("inf")) -> None:
        """Answer matching requests with a status, so many times or until ``recover``.

        Args:
            operations: Names as in ``Request.kind`` and ``Request.operation``. None: all.
        """
        self._add_fault(Fault(status, None if operations is None else frozenset(operations), times))

    def stall(self, operations: Iterable[str] | None = None) -> None:
        """Accept matching requests and leave them unanswered until ``recover``."""
        self._add_fault(Fault(None, None if operations is None else frozenset(operations), float("inf")))

    def recover(self) -> None:
        """End all faults, also the delay; what was stalled is answered now."""
        with self._recovered:
            self._faults.clear()
            self._cut_after, self.delay = None, 0.0
            self._recovered.notify_all()

    def cut_upload(self, after: int) -> None:
        """Break the connection of the next artifact file's upload after so many bytes."""
        self._cut_after = after

    def go_down(self) -> None:
        """Refuse connections and cut the open ones. What is stored stays."""
        with self._switch:
            listener, self._listener = self._listener, None
            if listener is not None:
                listener.stop()
        with self._recovered:
            self._recovered.notify_all()

    def come_up(self) -> None:
        """Listen, on the same port as before. Nothing happens if the server is up."""
        with self._switch:
            if self._listener is None:
                self._listener = _Listener(self, self._port)
                self._port = self._listener.server_port
                threading.Thread(target=self._listener.serve_forever, args=(0.01,), daemon=True).start()

    def on(
        self, operation: str, callback: Callable[[Request], object], *, after: bool = False, times: float = 1
    ) -> None:
        """Call a function at the next requests of a kind or operation.

        Args:
            after: Call it when the request has taken effect and is not answered yet, instead of before.
        """
        self._hooks.append(Hook(operation, callback, after, times))

    def _add_fault(self, fault: Fault) -> None:
        with self._recovered:
            self._faults.append(fault)

    # What a handler asks

    def is_listening(self, listener: _Listener) -> bool:
        return self._listener is listener

    def call_hooks(self, request: Request, *, after: bool) -> None:
        due = []
        with self.lock:
            for hook in self._hooks:
                if hook.times > 0 and hook.after == after and hook.operation in (request.kind, request.operation):
                    hook.times -= 1
                    due.append(hook)
        for hook in due:
            hook.callback(request)

    def fault_status(self, request: Request, listener: _Listener) -> int | None:
        """The status to fail this request with; waits while it is stalled."""
        with self._recovered:
            while self.is_listening(listener):
                fault = next((f for f in self._faults if f.times > 0 and f.concerns(request)), None)
                if fault is None:
                    return None
                if fault.status is not None:
                    fault.times -= 1
                    return fault.status
                self._recovered.wait()
        return None

    def take_cut(self, request: Request) -> int | None:
        """The number of bytes after which to break off this upload."""
        if request.operation != "upload_artifact_file":
            return None
        after, self._cut_after = self._cut_after, None
        return after


class _Listener(ThreadingHTTPServer):
    """One stretch of being up; knows the open connections so that they can be cut."""

    request_queue_size = 128

    def __init__(self, owner: WandbServer, port: int):
        self.owner = owner
        self.connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), _Handler)

    def stop(self) -> None:
        self.shutdown()
        self.server_close()
        for connection in list(self.connections):
            _cut(connection)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Connections break here on purpose. Anything else, such as a hook that raises, is a mistake to report."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            self.owner.errors.append(repr(error))


def _cut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # The client was first.
        connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    """One connection. Requests on it are read, counted, possibly failed, and answered in that order."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Listener

    def setup(self) -> None:
        super().setup()
        self.server.connections.add(self.connection)

    def finish(self) -> None:
        self.server.connections.discard(self.connection)
        super().finish()

    def log_message(self, *_: Any) -> None:
        """The requests are kept in ``WandbServer.requests`` instead."""

    def do_POST(self) -> None:
        owner = self.server.owner
        self.parts = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
        request = Request(*self._kind(), self.path)
        with owner.lock:
            owner.requests.append(request)
        body = self._read(request)
        if body is None:
            return self._break_off()
        query: dict[str, Any] = {}
        if request.kind == "graphql":
            query = json.loads(body)
            request.operation = operation_name(query)
            request.variables = query.get("variables") or {}
        owner.call_hooks(request, after=False)
        status = owner.fault_status(request, self.server)
        time.sleep(owner.delay)
        if not owner.is_listening(self.server):
            return self._break_off()
        if status is None:
            status, content, headers = self._effect(request, body)
            owner.call_hooks(request, after=True)
        else:
            content, headers = b"the server fails on command", {}
        return self._send(request, status, content, headers)

    do_GET = do_PUT = do_POST  # noqa: N815

    def _kind(self) -> tuple[str, str]:
        """Kind and operation, as far as the address tells."""
        first, direction = self.parts[0], "upload" if self.command == "PUT" else "download"
        if first == "graphql":
            return "graphql", ""
        if self.parts[-1] == "file_stream":
            return "file_stream", "file_stream"
        if first == "sdk":
            return "telemetry", "telemetry"
        things = {"artifact-files": "artifact_file", "blobs": "artifact_file", "artifactsV2": "artifact_file"}
        thing = {**things, "manifests": "manifest", "run-files": "run_file"}.get(first, first)
        return direction, f"{direction}_{thing}"

    def _read(self, request: Request) -> bytes | None:
        """The body; None if the connection broke, or is to break, before its end."""
        length = int(self.headers.get("Content-Length") or 0)
        cut = self.server.owner.take_cut(request)
        body = self.rfile.read(length if cut is None else min(cut, length))
        request.received = len(body)
        if cut is not None or len(body) < length:
            return None
        body = gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
        if self.server.owner.heard is not None:
            self.server.owner.heard.append(f"{self.requestline}\n{self.headers}".encode() + body)
        return body

    def _break_off(self) -> None:
        self.close_connection = True
        _cut(self.connection)

    def _effect(self, request: Request, body: bytes) -> tuple[int, bytes, dict[str, str]]:
        """Do what is asked. A mistake of this server is a 400, for the client would repeat a 500 for minutes."""
        owner = self.server.owner
        try:
            with owner.lock:
                if request.kind in ("graphql", "file_stream") and not self._is_authorized():
                    return 401, b"wrong API key", {}
                if request.kind == "graphql":
                    return self._graphql(request)
                if request.kind == "file_stream":
                    run = owner.store.project(*self.parts[1:3]).runs[self.parts[3]]
                    return 200, json.dumps(stream(run, json.loads(body))).encode(), {}
                if request.kind == "upload":
                    return self._upload(request, body)
                if request.kind == "download":
                    return self._download()
                return 200, b"{}", {}
        except Exception as error:
            owner.errors.append(f"{request.operation}: {error!r}")
            return 400, f"{request.operation}: {error!r}".encode(), {}

    def _is_authorized(self) -> bool:
        expected = base64.b64encode(f"api:{API_KEY}".encode()).decode()
        return self.headers.get("Authorization") == f"Basic {expected}"

    def _graphql(self, request: Request) -> tuple[int, bytes, dict[str, str]]:
        owner = self.server.owner
        try:
            operations = Operations(owner.store, owner.url, owner.entity)
            answer = {"data": operations.answer(request.operation, request.variables)}
        except RefusedError as refusal:
            answer = {"data": None, "errors": [{"message": str(refusal)}]}
        except UnknownOperationError:
            owner.unknown.append(request.operation)
            return 400, f"unknown operation {request.operation!r}".encode(), {}
        return 200, json.dumps(answer, allow_nan=False).encode(), {"Content-Type": "application/json"}

    def _upload(self, request: Request, body: bytes) -> tuple[int, bytes, dict[str, str]]:
        store, (place, *names) = self.server.owner.store, self.parts
        if place == "artifact-files":
            artifact_id, digest = names
            store.put_blob(store.artifact(artifact_id), digest, body)
            self.server.owner.uploaded_bytes += len(body)
        elif place == "manifests":
            store.artifact(names[0]).manifest = body
        else:
            store.project(*names[:2]).runs[names[2]].files[names[3]] = body
        return 200, b"", {}

    def _download(self) -> tuple[int, bytes, dict[str, str]]:
        content = self._stored()
        if content is None:
            return 404, b"no such file", {}
        first, last = 0, len(content) - 1
        wanted = self.headers.get("Range")
        if not wanted:
            return 200, content, {}
        start, _, end = wanted.removeprefix("bytes=").partition("-")
        first, last = int(start), min(int(end or last), last)
        return 206, content[first : last + 1], {"Content-Range": f"bytes {first}-{last}/{len(content)}"}

    def _stored(self) -> bytes | None:
        store, (place, *names) = self.server.owner.store, self.parts
        if place == "manifests":
            return store.artifact(names[0]).manifest
        if place == "run-files":
            return store.project(*names[:2]).runs[names[2]].files.get(names[3])
        if place == "blobs":
            return store.blobs.get(names[0])
        digest = next(name for name in names if re.fullmatch("[0-9a-f]{32}", name))
        return store.blobs.get(base64.b64encode(bytes.fromhex(digest)).decode())

    def _send(self, request: Request, status: int, content: bytes, headers: dict[str, str]) -> None:
        request.status, request.sent = status, len(content)
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)
