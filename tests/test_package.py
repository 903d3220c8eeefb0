"""What importing costs, and which file may import which."""

from __future__ import annotations

import ast
import importlib
import json
import pathlib

import pytest
from helpers import python

import tf_hfwb

PACKAGE = pathlib.Path(tf_hfwb.__file__).parent
HEAVY = ("tensorflow", "keras", "tf_keras", "transformers", "wandb", "datasets", "numpy", "jax", "torch")

# From the bottom up: a file imports only from rooms above its own in this list, and from its own.
ROOMS = [
    "secrets",
    "errors",
    "relative_names",
    "named_files",
    "messages",
    "plain_json",
    "json_checks",
    "arguments",
    "places",
    "settings",
    "policies",
    "background",
    "checkpoint",
    "training_args",
    "keras_compat",
    "data",
    "pretrained",
    "pytorch_format",
    "generation",
    "predictions",
    "computed_metrics",
    "resumption",
    "trainer_state",
    "training_state",
    "tracking",
    "optimization",
    "samples",
    "callbacks",
    "resume",
    "listing",
    "serving",
    "saving",
    "building",
    "overridden",
    "unused",
    "training_length",
    "trainer",
    "cli",
]


@pytest.mark.parametrize("code", ["import tf_hfwb", "from tf_hfwb.cli import main; main(['--help'])"])
def test_importing_and_help_load_nothing_heavy(code):
    report = "import json, sys; print('\\n' + json.dumps(sorted(sys.modules)))"
    wrapped = f"try:\n    exec({code!r})\nexcept SystemExit:\n    pass\n{report}"
    modules = json.loads(python("-c", wrapped).stdout.splitlines()[-1])
    assert not {name.partition(".")[0] for name in modules} & set(HEAVY)


@pytest.mark.parametrize("name", tf_hfwb.__all__)
def test_importing_a_name_loads_neither_tensorflow_nor_keras(name):
    code = f"import sys; from tf_hfwb import {name}; print({{'tensorflow', 'keras', 'tf_keras'}} & set(sys.modules))"
    assert python("-c", code).stdout.strip() == "set()"


def test_unknown_names_are_answered_with_the_known_ones():
    assert set(tf_hfwb.__all__) <= set(dir(tf_hfwb))
    with pytest.raises(AttributeError, match=r"WandbMetricsLoger.*its names are .*WandbMetricsLogger"):
        importlib.import_module("tf_hfwb").WandbMetricsLoger  # noqa: B018


def room(module: str) -> str:
    return module.split(".")[1]


def imports(path: pathlib.Path) -> set[str]:
    """The modules of this package that a file imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("tf_hfwb."):
            found.add(node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("tf_hfwb.")}
    return found


def test_imports_go_one_way():
    for path in sorted(PACKAGE.rglob("*.py")):
        own = path.relative_to(PACKAGE).with_suffix("").parts[0]
        if own == "__init__":
            continue
        for module in imports(path):
            assert ROOMS.index(room(module)) <= ROOMS.index(own), f"{path.name} imports {module}"


@pytest.mark.parametrize(
    ("package", "allowed"), [("wandb", {"tracking"}), ("tf_keras", {"keras_compat"}), ("keras", {"keras_compat"})]
)
def test_each_seam_has_one_room(package, allowed):
    for path in sorted(PACKAGE.rglob("*.py")):
        own = path.relative_to(PACKAGE).with_suffix("").parts[0]
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if own not in allowed:
                assert not [name for name in names if name.partition(".")[0] == package], path
