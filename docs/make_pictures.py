"""Make the pictures of the documentation, from two real trainings: ``python docs/make_pictures.py``.

It takes some minutes, and needs Chromium, tmux and the extra ``dev``. What a terminal shows is what tmux has captured.
"""

from __future__ import annotations

import contextlib
import io
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import tempfile
import time

import rich.console
import rich.text
from PIL import Image
from playwright.sync_api import Browser, sync_playwright

ROOT = pathlib.Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
RATES = ("1e-3", "3e-3")
TABLE = "tf-hfwb table wandb/latest-run sample_predictions --where 'correct == false' --sort -loss --limit 12"
COLUMNS, LINES = 118, 32


def main() -> None:
    """Train, look at the runs in each way, and keep what is seen."""
    IMAGES.mkdir(exist_ok=True)
    environment = {**os.environ, "WANDB_MODE": "offline", "WANDB_SILENT": "true", "WANDB_WATCH": "all"}
    environment["PATH"] = f"{pathlib.Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        directory = pathlib.Path(name)
        for rate in RATES:
            train(rate, directory, environment)
        subprocess.run(["tf-hfwb", "report", "wandb", "-o", "report.html"], cwd=directory, env=environment, check=True)
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for scheme in ("light", "dark"):
            photograph_report(browser, directory / "report.html", scheme)
        photograph_terminal(browser, "terminal-table", TABLE, directory, environment, seconds=15)
        photograph_terminal(browser, "terminal-dashboard", "tf-hfwb show", directory, environment, seconds=20)
        browser.close()


def train(rate: str, directory: pathlib.Path, environment: dict[str, str]) -> None:
    """Run the first example with this learning rate."""
    options = {"output_dir": f"out-{rate}", "run_name": f"bert-{rate}", "learning_rate": rate, "num_train_epochs": "8"}
    options |= {"logging_steps": "2", "save_strategy": "epoch", "save_total_limit": "3"}
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    script = str(ROOT / "examples" / "text_classification.py")
    subprocess.run([sys.executable, script, *words], cwd=directory, env=environment, check=True)


def photograph_report(browser: Browser, path: pathlib.Path, scheme: str) -> None:
    """The beginning of the page, in light or dark colours."""
    page = browser.new_page(viewport={"width": 1280, "height": 1180}, color_scheme=scheme)
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-drawn]", state="attached")
    keep(page.screenshot(), f"report-{scheme}")
    page.close()


def photograph_terminal(
    browser: Browser,
    name: str,
    command: str,
    directory: pathlib.Path,
    environment: dict[str, str],
    seconds: float,
) -> None:
    """What a command shows after so many seconds."""
    tmux = ["tmux", "-L", f"pictures-{os.getpid()}"]
    size = ["-x", str(COLUMNS), "-y", str(LINES)]
    line = f"echo '$ '{shlex.quote(command)}; {command}; sleep 60"
    subprocess.run([*tmux, "new-session", "-d", *size, line], cwd=directory, env=environment, check=True)
    try:
        time.sleep(seconds)
        seen = subprocess.run([*tmux, "capture-pane", "-e", "-p"], capture_output=True, text=True, check=True).stdout
    finally:
        with contextlib.suppress(subprocess.CalledProcessError):
            subprocess.run([*tmux, "kill-server"], check=True)
    console = rich.console.Console(record=True, width=COLUMNS, file=io.StringIO())
    console.print(rich.text.Text.from_ansi(seen.rstrip()), soft_wrap=True)
    page = browser.new_page(viewport={"width": 1280, "height": 1180})
    page.set_content(f"<body style='margin:0'>{console.export_svg(title='tf-hfwb')}</body>")
    keep(page.locator("svg").first.screenshot(omit_background=True), name)
    page.close()


def keep(picture: bytes, name: str) -> None:
    """Write it with few colours, which text and lines do with."""
    path = IMAGES / f"{name}.png"
    path.write_bytes(picture)
    image = Image.open(path).convert("RGB")
    image.quantize(128, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    main()
