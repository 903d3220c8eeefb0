"""What importing costs, and which file may import which."""

from __future__ import annotations

import ast
import importlib
import json
import pathlib
import re

import pytest
from helpers import python

import tf_hfwb

PACKAGE = pathlib.Path(tf_hfwb.__file__).parent
HEAVY = ("tensorflow", "keras", "tf_keras", "transformers", "wandb", "datasets", "numpy", "jax", "torch")

# From the ground up: a file imports from the floors below its own, and from its own folder.
FLOORS = [
    ["masking"],
    ["errors", "step_policies"],
    ["json_text", "messages", "background_worker"],
    ["settings", "validation"],
    ["checkpoint"],
    ["keras_compat"],
    ["data", "models", "tracking"],
    ["evaluation", "resume"],
    ["fit"],
    ["callbacks"],
    ["serving", "trainer"],
    ["cli"],
]
FLOOR_OF = {room: number for number, floor in enumerate(FLOORS) for room in floor}


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


def room(path: pathlib.Path) -> str:
    """The folder of a file, or the file itself at the root."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "__init__.py"]


def imports(path: pathlib.Path) -> set[str]:
    """The modules of this package that a file imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "tf_hfwb":
            found |= {f"tf_hfwb.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("tf_hfwb."):
            found.add(node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("tf_hfwb.")}
    return found - {"tf_hfwb.__version__"}


def test_imports_go_one_way():
    for path in FILES:
        for module in imports(path):
            imported = module.split(".")[1]
            assert imported == room(path) or FLOOR_OF[imported] < FLOOR_OF[room(path)], f"{path} imports {module}"


def test_a_base_name_stands_once():
    names = [path.stem for path in FILES if path.name != "__init__.py"]
    assert sorted(set(names)) == sorted(names)


@pytest.mark.parametrize("folder", sorted({path.parent for path in FILES} - {PACKAGE}), ids=lambda path: path.name)
def test_a_folder_says_what_lives_in_each_of_its_files(folder):
    text = ast.get_docstring(ast.parse((folder / "__init__.py").read_text()))
    within = {path.name for path in folder.glob("*.py")} - {"__init__.py"}
    within |= {f"{path.parent.name}/" for path in folder.glob("*/__init__.py")}
    assert {name for name in within if f"``{name}``" not in text} == set()
    assert set(re.findall(r"``([a-z0-9_]+(?:\.py|/))``", text)) == within


@pytest.mark.parametrize(
    ("package", "allowed"), [("wandb", {"tracking"}), ("tf_keras", {"keras_compat"}), ("keras", {"keras_compat"})]
)
def test_each_seam_has_one_room(package, allowed):
    for path in FILES:
        own = room(path)
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if own not in allowed:
                assert not [name for name in names if name.partition(".")[0] == package], path
