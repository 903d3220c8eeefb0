"""The code blocks of the README and the pages, and how they are run.

A block is run as it is printed, or has a comment in front of it that names what it needs and the tests have not:
``<!-- needs: a W&B account -->``. The blocks of a page are run in their order in one process, as a reader does who
tries them one after the other. Each block of the README stands alone.
"""

from __future__ import annotations

import json
import os
import pathlib
import re
import sys
import textwrap
from dataclasses import asdict, dataclass

ROOT = pathlib.Path(__file__).parents[1]
FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)")
NEEDS = re.compile(r"^ *<!-- needs: (?P<what>.+) -->$")
# The process of a page: each block is a file, so that what looks for its source finds it.
DRIVER = """
import json, pathlib, subprocess, sys
import keras, numpy as np
noise = np.random.default_rng(0).integers(0, 256, (400, 28, 28), np.uint8)
# Downloaded otherwise.
keras.datasets.mnist.load_data = lambda: ((noise, noise[:, 0, 0] % 10), (noise[:100], noise[:100, 0, 0] % 10))
names = {"__name__": "__main__"}
for block in json.loads(pathlib.Path(sys.argv[1]).read_text()):
    print("running", block["page"], block["line"], flush=True)
    if block["language"] == "bash":
        subprocess.run(["bash", "-euo", "pipefail", "-c", block["code"]], check=True)
        continue
    if block["page"].startswith("README"):
        names = {"__name__": "__main__"}
    file = pathlib.Path(sys.argv[1]).with_name(block["page"].replace("/", "_") + f"_{block['line']}.py")
    file.write_text("\\n" * block["line"] + block["code"])
    exec(compile(file.read_text(), str(file), "exec"), names)
print("all was run")
"""


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        page: Its file, from the root of the repository.
        line: Where it begins.
        language: The word behind the fence.
        code: What is in it.
        needs: What its comment says it needs; None without one.
    """

    page: str
    line: int
    language: str
    code: str
    needs: str | None


def pages() -> list[str]:
    """All files of Markdown that a user reads, from the root of the repository."""
    found = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")]
    return sorted(str(path.relative_to(ROOT)) for path in found if path.name != "CHANGELOG.md")


def blocks_of(page: str) -> list[Block]:
    """The fenced blocks of a page, in their order."""
    found, needs, inside = [], None, None
    begin = 0
    for number, line in enumerate((ROOT / page).read_text().splitlines(), 1):
        fence = FENCE.match(line)
        if inside is None and fence:
            inside, begin, language = [], number, fence["language"]
        elif inside is not None and fence:
            code = textwrap.dedent("\n".join(inside)) + "\n"
            found.append(Block(page, begin, language, code, needs))
            inside = needs = None
        elif inside is not None:
            inside.append(line)
        elif line.strip():
            marker = NEEDS.match(line)
            needs = marker["what"] if marker else None
    assert inside is None, f"{page}:{begin} has no end"
    return found


def run_page(launcher, page: str, timeout: float = 540.0) -> None:
    """Run the blocks of a page in a process of its own, in the current directory."""
    work = pathlib.Path.cwd()
    (work / "examples").symlink_to(ROOT / "examples")
    programs = work.parent / "programs"
    programs.mkdir()
    tool = programs / "tf-hfwb"
    tool.write_text(f"#!{sys.executable}\nimport sys\nfrom tf_hfwb.cli import main\nsys.exit(main())\n")
    tool.chmod(0o755)
    (programs / "python").symlink_to(sys.executable)
    runnable = [block for block in blocks_of(page) if block.language in ("python", "bash") and block.needs is None]
    listing = programs / "blocks.json"
    listing.write_text(json.dumps([asdict(block) for block in runnable]))
    script = programs / "page.py"
    script.write_text(DRIVER)
    path = os.pathsep.join([str(programs), os.environ["PATH"]])
    packages = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    ended = launcher.start(str(script), str(listing), PATH=path, PYTHONPATH=packages).wait(timeout)
    assert ended.returncode == 0, f"{page}\n{ended.stdout[-3000:]}\n{ended.stderr[-6000:]}"
    assert ended.stdout.endswith("all was run\n"), ended.stdout
