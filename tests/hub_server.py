"""A stand-in of the Hugging Face Hub on this machine, for the requests with which its client pushes.

It keeps repositories in memory and answers as the Hub does: small texts are committed in the request itself, large and
binary files are uploaded before by the protocol of Git LFS, and a commit names them by their SHA-256. What the client
asks and the server does not know is noted in ``unknown``. The real Hub was not tried.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

OWNER = "tester"
TOKEN = "hf_" + "t" * 30


@dataclass
class Commit:
    """One commit: its message, and all files after it."""

    message: str
    files: dict[str, bytes]


@dataclass
class Repository:
    """A repository: its branches, each a list of commits."""

    private: bool
    branches: dict[str, list[Commit]] = field(default_factory=lambda: {"main": [Commit("initial commit", {})]})


class HubServer:
    """Answers on a port of its own while it is entered.

    Attributes:
        repositories: By their names.
        objects: The contents of large files, by their SHA-256.
        requests: Method and path of each request, in order.
        unknown: Those that were not understood.
        bodies: What was sent, in order.
        failing: The status with which commits are answered; 0 to take them.
        gate: Commits wait until it is set.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.objects: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.unknown: list[str] = []
        self.bodies: list[bytes] = []
        self.failing = 0
        self.gate = threading.Event()
        self.gate.set()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> HubServer:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.gate.set()
        self._server.shutdown()
        self._server.server_close()

    def commits(self, name: str = f"{OWNER}/out", branch: str = "main") -> list[Commit]:
        """The commits of a branch but the first one."""
        return self.repositories[name].branches[branch][1:]

    def messages(self, name: str = f"{OWNER}/out", branch: str = "main") -> list[str]:
        return [commit.message for commit in self.commits(name, branch)]

    # -- answers -----------------------------------------------------------------------------------------------------

    def answer(self, method: str, path: str, body: bytes, token: str) -> tuple[int, object]:
        """The status and the JSON of an answer."""
        routes = {
            r"POST /api/repos/create": self._create,
            r"POST /api/validate-yaml": self._validate,
            r"POST /api/models/(?P<name>[^/]+/[^/]+)/branch/(?P<branch>.+)": self._branch,
            r"POST /api/models/(?P<name>[^/]+/[^/]+)/preupload/(?P<branch>.+)": self._preupload,
            r"POST /api/models/(?P<name>[^/]+/[^/]+)/commit/(?P<branch>.+)": self._commit,
            r"GET /api/models/(?P<name>[^/]+/[^/]+)(?:/revision/(?P<branch>.+))?": self._info,
            r"POST /(?P<name>[^/]+/[^/]+)\.git/info/lfs/objects/batch": self._batch,
            r"PUT /objects/(?P<digest>[0-9a-f]{64})": self._upload,
        }
        if token != TOKEN and not path.startswith("/objects/"):
            return 401, {"error": "Invalid username or password."}
        for route, serve in routes.items():
            match = re.fullmatch(route, f"{method} {path}")
            if match:
                return serve(body, **match.groupdict())
        self.unknown.append(f"{method} {path}")
        return 404, {"error": "unknown"}

    def _create(self, body: bytes) -> tuple[int, object]:
        asked = json.loads(body)
        owner = asked.get("organization") or OWNER
        if owner == "others":
            return 403, {"error": 'You don\'t have the rights to create a model under the namespace "others"'}
        name = f"{owner}/{asked['name']}"
        if name in self.repositories:
            return 409, {"error": "You already created this model repo", "url": f"{self.url}/{name}"}
        self.repositories[name] = Repository(bool(asked.get("private")))
        return 200, {"url": f"{self.url}/{name}", "name": name, "id": "1"}

    def _validate(self, body: bytes) -> tuple[int, object]:
        asked = json.loads(body)
        is_good = asked["repoType"] == "model" and asked["content"].startswith("---\n")
        return (200, {"errors": [], "warnings": []}) if is_good else (400, {"errors": [{"message": "no metadata"}]})

    def _branch(self, body: bytes, name: str, branch: str) -> tuple[int, object]:
        branches = self.repositories[name].branches
        if branch in branches:
            return 409, {"error": "Reference already exists"}
        branches[branch] = branches["main"][:1]
        return 200, {}

    def _preupload(self, body: bytes, name: str, branch: str) -> tuple[int, object]:
        if name not in self.repositories or branch not in self.repositories[name].branches:
            return 404, {"error": "not found"}
        modes = []
        for file in json.loads(body)["files"]:
            is_large = b"\0" in base64.b64decode(file["sample"]) or file["size"] > 100_000
            is_large = is_large or file["path"].endswith((".safetensors", ".keras", ".h5"))
            modes.append({"path": file["path"], "uploadMode": "lfs" if is_large else "regular", "shouldIgnore": False})
        return 200, {"files": modes}

    def _batch(self, body: bytes, name: str) -> tuple[int, object]:
        asked = json.loads(body)
        objects = []
        for one in asked["objects"]:
            answer = {"oid": one["oid"], "size": one["size"]}
            if one["oid"] not in self.objects:
                answer["actions"] = {"upload": {"href": f"{self.url}/objects/{one['oid']}", "header": {}}}
            objects.append(answer)
        return 200, {"transfer": "basic", "objects": objects}

    def _upload(self, body: bytes, digest: str) -> tuple[int, object]:
        if hashlib.sha256(body).hexdigest() != digest:
            return 400, {"error": "other content"}
        self.objects[digest] = body
        return 200, {}

    def _commit(self, body: bytes, name: str, branch: str) -> tuple[int, object]:
        self.gate.wait(60)
        if self.failing:
            return self.failing, {"error": "out of order"}
        if branch not in self.repositories[name].branches:
            return 404, {"error": "no such branch"}
        lines = [json.loads(line) for line in body.splitlines()]
        commits = self.repositories[name].branches[branch]
        files = dict(commits[-1].files)
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.objects[value["oid"]]
            else:
                return 400, {"error": f"unknown operation {line['key']}"}
        commits.append(Commit(lines[0]["value"]["summary"], files))
        number = f"{len(commits):040x}"
        return 200, {"commitOid": number, "commitUrl": f"{self.url}/{name}/commit/{number}", "success": True}

    def _info(self, body: bytes, name: str, branch: str | None) -> tuple[int, object]:
        if name not in self.repositories:
            return 404, {"error": "not found"}
        number = len(self.repositories[name].branches[branch or "main"])
        return 200, {"id": name, "modelId": name, "sha": f"{number:040x}", "siblings": [], "tags": []}


def _handler(server: HubServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = self.path.partition("?")[0]
            server.requests.append(f"{self.command} {path}")
            server.bodies.append(body)
            token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
            try:
                status, answer = server.answer(self.command, path, body, token)
            except Exception as error:
                server.unknown.append(f"{self.command} {path}: {error!r}")
                status, answer = 500, {"error": repr(error)}
            text = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_PUT = _serve  # noqa: N815 - names of the base class

        def log_message(self, *_: object) -> None:
            """Not to standard error."""

    return Handler
