"""Seeded damage to real checkpoints: bytes, values of JSON, headers, whole files; the manifest as it is or to match."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import io
import json
import os
import pathlib
import random
import shutil
import signal
import struct
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator

from tf_hfwb.errors import TFHFWBError

SECONDS = 5.0
SECRET = b"a secret outside of every checkpoint, 0123456789abcdef0123456789"


class TooLongError(BaseException):
    """Nobody catches it on the way."""


class Deep:
    """Stands in JSON for lists within lists, deeper than Python's parser goes."""


TEXTS = ["", "x", "NaN", "../../outside/secret", "/etc/passwd", "a/../../x", "\ud800", "[/b]", "\x1b[2J", "None", "F32"]
VALUES = [None, True, False, 0, 1, -1, 2, 1.5, -0.0, 2**31, 2**63, 2**64, 10**400, 1e308, float("nan"), float("inf")]
VALUES += [[], {}, [[]], [0], {"x": 1}, [1] * 70, Deep()]


def _picked(dice: random.Random) -> object:
    return dice.choice([*VALUES, *TEXTS])


def _places(value: object) -> Iterator[tuple[object, object]]:
    """Each place in a value, as its container and the key in it."""
    for key in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from _places(value[key])


def dumped(value: object) -> bytes:
    text = json.dumps(value, default=lambda one: "@deep@")
    return text.replace('"@deep@"', "[" * 100_000 + "]" * 100_000).encode()


def damaged_json(data: bytes, dice: random.Random) -> bytes:
    """The same JSON with one or a few values, keys or types changed."""
    try:
        value = json.loads(data)
    except ValueError:
        return damaged_bytes(data, dice)
    places = list(_places(value))
    if not places or dice.random() < 0.05:
        return dumped(_picked(dice))
    for container, key in dice.sample(places, min(len(places), dice.choice([1, 1, 1, 2, 5]))):
        with contextlib.suppress(KeyError, IndexError):
            kind = dice.randrange(6)
            if kind == 0:
                del container[key]
            elif kind == 1 and isinstance(container, dict):
                container[f"{key}"[:-1] + chr(ord(f"{key}x"[-1]) ^ 1)] = container.pop(key)
            elif kind == 2 and isinstance(container[key], (int, float)):
                container[key] = dice.choice(
                    [-container[key], container[key] + 1, container[key] * 10, str(container[key])]
                )
            elif kind == 3:
                container[key] = [container[key]]
            else:
                container[key] = _picked(dice)
    text = dumped(value)
    if dice.random() < 0.05 and text.startswith(b"{"):
        text = b'{"format": 1, "format": 1, ' + text[1:]
    return text


def damaged_bytes(data: bytes, dice: random.Random) -> bytes:
    damaged = bytearray(data)
    for _ in range(dice.choice([1, 1, 1, 3, 20])):
        at = dice.randrange(len(damaged) + 1)
        # Headers are where it hurts.
        at = min(at, dice.randrange(4096)) if dice.random() < 0.5 else at
        kind = dice.randrange(7)
        if kind == 0 and at < len(damaged):
            damaged[at] ^= 1 << dice.randrange(8)
        elif kind == 1 and at < len(damaged):
            damaged[at] = dice.choice([0, 1, 127, 128, 255, dice.randrange(256)])
        elif kind == 2:
            del damaged[at:]
        elif kind == 3:
            del damaged[at : at + dice.randrange(1, 64)]
        elif kind == 4:
            damaged[at:at] = dice.randbytes(dice.randrange(1, 64))
        elif kind == 5:
            damaged[at : at + 8] = dice.choice([b"\xff" * 8, bytes(8), struct.pack("<Q", 2 ** dice.randrange(64))])
        else:
            damaged[at:] = damaged[at:] + damaged[at:]
    return bytes(damaged[: 10 << 20])


def damaged_tensors(data: bytes, dice: random.Random) -> bytes:
    """A safetensors file with another header, or other bytes."""
    if dice.random() < 0.5:
        return damaged_bytes(data, dice)
    length = struct.unpack("<Q", data[:8])[0]
    header = damaged_json(data[8 : 8 + length], dice)
    return struct.pack("<Q", len(header)) + header + data[8 + length :]


def damaged_archive(data: bytes, dice: random.Random) -> bytes:
    """A ``.keras`` file with other entries, whose CRCs agree, or other bytes."""
    if dice.random() < 0.4:
        return damaged_bytes(data, dice)
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w") as new:
        names = old.namelist()
        hurt = dice.choice(names)
        for name in names:
            content = old.read(name)
            if name == hurt:
                if dice.random() < 0.1:
                    continue
                content = (damaged_json if name.endswith(".json") else damaged_bytes)(content, dice)
            new.writestr(name, content)
        if dice.random() < 0.1:
            new.writestr(dice.choice(["../outside", "/outside", "a\\..\\b"]), b"x")
    return buffer.getvalue()


DAMAGE: dict[str, Callable[[bytes, random.Random], bytes]] = {
    ".json": damaged_json,
    ".safetensors": damaged_tensors,
    ".keras": damaged_archive,
}


def _replace(path: pathlib.Path, data: bytes) -> None:
    path.unlink()  # It may be a link to the original.
    path.write_bytes(data)


def hurt(directory: pathlib.Path, outside: pathlib.Path, dice: random.Random) -> None:
    """Damage a checkpoint in place."""
    files = sorted(path for path in directory.iterdir() if path.is_file() and not path.is_symlink())
    # The small ones are looked at by everybody.
    path = dice.choice([*files, *(one for one in files if one.suffix == ".json")])
    kind = dice.random()
    if kind < 0.8:
        damage = DAMAGE.get(path.suffix, damaged_bytes) if dice.random() < 0.75 else damaged_bytes
        try:
            data = damage(path.read_bytes(), dice)
        except (ValueError, RecursionError, struct.error, zipfile.BadZipFile):  # It has been damaged before.
            data = damaged_bytes(path.read_bytes(), dice)
        _replace(path, data)
    elif kind < 0.85:
        path.unlink()
    elif kind < 0.9:
        other = dice.choice(files)
        first, second = path.read_bytes(), other.read_bytes()
        _replace(path, second)
        _replace(other, first)
    else:
        path.unlink()
        dice.choice(
            [
                lambda: os.mkfifo(path),
                lambda: path.mkdir(),
                lambda: path.symlink_to(outside / "secret"),
                lambda: path.symlink_to(path.name),
                lambda: path.symlink_to("/dev/null"),
                lambda: path.symlink_to("."),
                lambda: path.symlink_to("nothing"),
            ]
        )()


def rewrite_manifest(directory: pathlib.Path) -> None:
    """Let the manifest say of the files what they are, as somebody does who means harm."""
    path = directory / "manifest.json"
    if path.is_symlink() or not path.is_file():
        return
    try:
        manifest = json.loads(path.read_bytes())
        names = list(manifest["files"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return
    for name in filter(lambda name: isinstance(name, str), names):
        with contextlib.suppress(OSError, ValueError, TypeError):
            if (directory / name).is_file() and not (directory / name).is_symlink():
                data = (directory / name).read_bytes()
                manifest["files"][name] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    kept = {key: manifest[key] for key in ("format", "version", "sequence", "files") if key in manifest}
    _replace(path, dumped(kept))


def copied(source: pathlib.Path, target: pathlib.Path) -> None:
    """An output directory, by links: only what is damaged is written."""
    shutil.copytree(source, target, copy_function=os.link, symlinks=True)


class Watch:
    """What a case touches, by Python's audit events; and that it ends in time, with an error of ours or without one."""

    def __init__(self, outside: pathlib.Path) -> None:
        self._outside = outside
        (outside / "secret").write_bytes(SECRET)
        self._inside: str | None = None
        self._others: set[int | None] = set()  # threads that have nothing to do with the case, as the W&B client's
        self.touched: list[str] = []
        sys.addaudithook(self._hear)  # Stays until the process ends, and is deaf between cases.

    def _hear(self, event: str, arguments: tuple[object, ...]) -> None:
        if self._inside is None or threading.get_ident() in self._others:
            return
        if event == "open" and isinstance(arguments[0], (str, bytes)):
            path = os.path.abspath(os.fsdecode(arguments[0]))
            flags = arguments[2] if isinstance(arguments[2], int) else 0
            writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if path.startswith(str(self._outside)) or (writes and not path.startswith((self._inside, "/dev/"))):
                self.touched.append(f"{event} {path}")
        elif event in ("subprocess.Popen", "os.system", "os.exec", "socket.connect", "pickle.find_class"):
            self.touched.append(f"{event} {arguments}")
        elif event in ("os.remove", "os.rename", "os.link", "os.symlink", "os.mkdir", "shutil.rmtree"):
            # A relative one is that of a directory that is open.
            places = [os.fsdecode(one) for one in arguments if isinstance(one, (str, bytes))]
            if not all(place.startswith(self._inside) for place in places if os.path.isabs(place)):
                self.touched.append(f"{event} {arguments}")

    def run(self, inside: pathlib.Path, call: Callable[[], object]) -> TFHFWBError | None:
        """Call it; what it raises that is no error of ours goes on."""

        def too_long(number: int, frame: object) -> None:
            raise TooLongError(f"still running after {3 * SECONDS:.0f} s")

        gc.disable()  # What tests before have left to it, directories of the client, would be removed within this case.
        before, began = signal.signal(signal.SIGALRM, too_long), time.process_time()
        signal.setitimer(signal.ITIMER_REAL, 3 * SECONDS, 1)  # The machine may be busy.
        self._others = {thread.ident for thread in threading.enumerate()} - {threading.get_ident()}
        self._inside, self.touched, tempfile.tempdir = str(inside), [], str(inside)
        try:
            call()
            return None
        except TFHFWBError as error:
            return error
        finally:
            self._inside = tempfile.tempdir = None
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
            gc.enable()
            assert not self.touched, self.touched
            assert time.process_time() - began < SECONDS
            assert (self._outside / "secret").read_bytes() == SECRET
            assert [path.name for path in self._outside.iterdir()] == ["secret"]
