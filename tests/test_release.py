"""The distributions: what is in them, that an index takes them, and that what is installed from them works."""

from __future__ import annotations

import email
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile

import pytest

import tf_hfwb

ROOT = pathlib.Path(__file__).resolve().parents[1]


def run(*command: object, cwd: pathlib.Path) -> str:
    done = subprocess.run([str(word) for word in command], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> pathlib.Path:
    """The files of the repository alone, in which building may leave what it makes."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a clone of the repository")
    directory = tmp_path_factory.mktemp("source")
    for name in run("git", "ls-files", cwd=ROOT).splitlines():
        if (ROOT / name).is_file():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, directory / name)
    return directory


def description_of(metadata: str) -> tuple[email.message.Message, str]:
    """The fields, and the description without its code."""
    fields = email.message_from_string(metadata)
    return fields, re.sub(r"^```.*?^```$", "", fields.get_payload(), flags=re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def distributions(source, tmp_path_factory) -> dict[str, pathlib.Path]:
    directory = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", directory, cwd=source)
    return {path.name.rpartition(".")[2]: path for path in directory.iterdir()}


def test_an_index_takes_them(distributions, tmp_path):
    paths = [str(path) for path in distributions.values()]
    assert [path.rpartition("/")[2] for path in sorted(paths)] == [
        f"tf_hfwb-{tf_hfwb.__version__}-py3-none-any.whl",
        f"tf_hfwb-{tf_hfwb.__version__}.tar.gz",
    ]
    checked = run(sys.executable, "-m", "twine", "check", "--strict", *paths, cwd=tmp_path)
    assert checked.count("PASSED") == 2


def test_the_source_distribution_holds_what_its_tests_need(source, distributions):
    with tarfile.open(distributions["gz"]) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    folders = ("tf_hfwb", "tests", "examples", "docs", "benchmarks", ".ci")
    needed = {
        path.relative_to(source).as_posix() for name in folders for path in (source / name).rglob("*") if path.is_file()
    }
    needed |= {path.name for path in source.glob("*.md")} | {"pyproject.toml", "setup.cfg", "LICENSE", "CITATION.cff"}
    made = {name for name in needed if "__pycache__" in name}
    assert needed - made - held == set()


def test_the_wheel_holds_the_package_alone_and_all_of_it(source, distributions):
    with zipfile.ZipFile(distributions["whl"]) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
        (metadata,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        fields = email.message_from_bytes(archive.read(metadata))
    package = {path.relative_to(source).as_posix() for path in (source / "tf_hfwb").rglob("*") if path.is_file()}
    assert held == {name for name in package if "__pycache__" not in name}
    assert fields["Version"] == tf_hfwb.__version__
    assert fields["Author"]
    assert fields["License-Expression"] == "Apache-2.0 AND MIT"


def test_the_description_on_an_index_has_no_dead_links(source, distributions, tmp_path):
    with zipfile.ZipFile(distributions["whl"]) as archive:
        fields, text = description_of(archive.read(f"tf_hfwb-{tf_hfwb.__version__}.dist-info/METADATA").decode())
    with tarfile.open(distributions["gz"]) as archive:
        packed = archive.extractfile(f"tf_hfwb-{tf_hfwb.__version__}/PKG-INFO").read().decode()
    assert description_of(packed)[1] == text
    assert "| Start | from `pip install`" in text
    assert not re.findall(r"\]\((?!https?://)|!\[", text)
    assert fields.get_all("Project-URL") is None

    address = "https://example.org/somebody/tf_hfwb"
    shutil.copytree(source, tmp_path / "clone", ignore=shutil.ignore_patterns("tests", "*.egg-info"))
    settings = tmp_path / "clone" / "setup.cfg"
    settings.write_text(settings.read_text().replace("\nrepository =\n", f"\nrepository = {address}/\n"))
    (tmp_path / "clone" / "made").mkdir()
    build = "from setuptools import build_meta; build_meta.prepare_metadata_for_build_wheel('made')"
    run(sys.executable, "-c", build, cwd=tmp_path / "clone")
    (made,) = (tmp_path / "clone" / "made").glob("*/METADATA")
    fields, text = description_of(made.read_text())
    assert not re.findall(r"\]\((?!https?://)", text)
    assert f"[Start]({address}/blob/v{tf_hfwb.__version__}/docs/start.md)" in text
    assert f"({address}/raw/v{tf_hfwb.__version__}/docs/images/" in text
    assert f"Source, {address}" in fields.get_all("Project-URL")


def test_it_runs_where_the_wheel_alone_is_installed(distributions, tmp_path):
    """With the dependencies of the environment of the tests, and without its clone."""
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    (site,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    (packages,) = [path for path in sys.path if path.endswith("site-packages")]
    run(python, "-m", "pip", "install", "--no-deps", "--no-index", distributions["whl"], cwd=tmp_path)
    (site / "dependencies.pth").write_text(packages)
    printed = run(
        python, "-c", "import tf_hfwb; print(tf_hfwb.__version__, tf_hfwb.TFTrainer, tf_hfwb.__file__)", cwd=tmp_path
    )
    assert printed.startswith(tf_hfwb.__version__)
    assert str(site) in printed
    assert run(python.with_name("tf-hfwb"), "--version", cwd=tmp_path).split() == ["tf-hfwb", tf_hfwb.__version__]


def test_the_version_is_the_same_where_it_is_repeated():
    assert f"\nversion: {tf_hfwb.__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"## {tf_hfwb.__version__} (" in (ROOT / "CHANGELOG.md").read_text()
