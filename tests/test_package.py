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

DOCS = pathlib.Path(__file__).parent.parent / "docs"
ARCHITECTURE = (DOCS / "architecture.md").read_text()

# From the ground up, as the picture in the documentation has it.
FLOORS = [
    re.findall(r"[a-z_]+", floor) for floor in re.findall(r'subgraph f\d+ \[" "\]\n(.*?)end\n', ARCHITECTURE, re.S)
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


def test_the_picture_has_every_folder_once_and_its_arrows_in_order():
    assert sorted(FLOOR_OF) == sorted({room(path) for path in FILES})
    assert sum(map(len, FLOORS)) == len(FLOOR_OF)
    assert " --> ".join(f"f{number}" for number in range(1, len(FLOORS) + 1)) in ARCHITECTURE


def test_files_that_the_architecture_names_are_there():
    names = re.findall(r"`([a-z0-9_/]+(?:\.py|/))`", ARCHITECTURE)
    assert len(names) > 40
    for name in names:
        at_root, by_name = (PACKAGE / name).exists(), [path for path in FILES if path.name == name]
        assert at_root or by_name, name


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


def trees() -> dict[str, ast.Module]:
    return {str(path.relative_to(PACKAGE)): ast.parse(path.read_text()) for path in FILES}


def methods(cls: ast.ClassDef) -> list[ast.FunctionDef]:
    return [node for node in cls.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def names_in_the_body(cls: ast.ClassDef) -> set[str]:
    """What a class declares outside its methods: fields, and properties, which may be set."""
    targets = [target for node in cls.body if isinstance(node, ast.Assign) for target in node.targets]
    targets += [node.target for node in cls.body if isinstance(node, ast.AnnAssign)]
    names = {name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)}
    slots = [
        node.value for node in cls.body if isinstance(node, ast.Assign) and ast.unparse(node).startswith("__slots")
    ]
    return (
        names | {method.name for method in methods(cls)} | {text for node in slots for text in ast.literal_eval(node)}
    )


def attributes_set(method: ast.FunctionDef) -> set[str]:
    """The attributes of its own object that a method sets; what classes within it set is theirs."""
    if not method.args.args:
        return set()
    own, found = method.args.args[0].arg, set()
    nodes = list(method.body)
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and ast.unparse(node.value) == own:
            found.add(node.attr)
        if not isinstance(node, ast.ClassDef):
            nodes += ast.iter_child_nodes(node)
    return found


def test_attributes_are_declared_in_the_class_or_its_constructor():
    """Those of an object of Keras or the like, which another class declares, count as well."""
    classes = [(file, node) for file, tree in trees().items() for node in ast.walk(tree)]
    classes = [(file, node) for file, node in classes if isinstance(node, ast.ClassDef)]
    named: dict[str, list[ast.ClassDef]] = {}
    for _, cls in classes:
        named.setdefault(cls.name, []).append(cls)

    def declared(cls: ast.ClassDef) -> set[str]:
        names = names_in_the_body(cls)
        for method in methods(cls):
            if method.name in ("__init__", "__new__", "__post_init__"):
                names |= attributes_set(method)
        bases = [base.value if isinstance(base, ast.Subscript) else base for base in cls.bases]
        for name in (ast.unparse(base).rpartition(".")[2] for base in bases):
            for base in named.get(name, []):
                names |= declared(base) if base is not cls else set()
        return names

    offenders = []
    for file, cls in classes:
        born_later = set().union(*(attributes_set(method) for method in methods(cls))) - declared(cls)
        if born_later:
            offenders.append(f"{file} {cls.name}: {', '.join(sorted(born_later))}")
    assert not offenders, "\n".join(offenders)


def lines_of_code(function: ast.FunctionDef, lines: list[str]) -> int:
    """Those between its ``def`` and its end that are neither blank, nor comments, nor its docstring."""
    docstring = function.body[0] if ast.get_docstring(function) is not None else None
    skipped = range(docstring.lineno, docstring.end_lineno + 1) if docstring else ()
    numbers = [number for number in range(function.lineno, function.end_lineno + 1) if number not in skipped]
    return sum(bool(lines[number - 1].partition("#")[0].strip()) for number in numbers)


def test_files_and_functions_are_short():
    offenders = []
    for file, tree in trees().items():
        lines = (PACKAGE / file).read_text().splitlines()
        if len(lines) > 400:
            offenders.append(f"{file} has {len(lines)} lines")
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and lines_of_code(node, lines) > 50:
                offenders.append(f"{file}:{node.lineno} {node.name} has {lines_of_code(node, lines)} lines of code")
    assert not offenders, "\n".join(offenders)


# Names that classes of ours share with what else is compared: Keras's and W&B's own classes, and words of file formats.
NAMES_OF_OTHERS = {
    "callbacks/callback_checks.py": {"WandbMetricsLogger"},
    "data/column_roles.py": {"Column"},  # A word of an error.
    "fit/keras_callback_states.py": {"EarlyStopping"},
    "serving/detokenizer.py": {"ByteLevel", "Unigram"},
    "serving/served_outputs.py": {"Classification"},
    "serving/tokenizers/texts_in_graph.py": {"ByteLevel", "Unigram", "WordPiece"},
    "trainer/evaluation_methods.py": {"Evaluation"},  # What helpers of transformers call a pass over a data set.
}


def texts_said(tree: ast.AST) -> set[int]:
    """The identities of texts in errors, docstrings, lists of public names and types."""
    found: set[int] = set()
    for node in ast.walk(tree):
        is_export = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
        is_type = isinstance(node, ast.Call) and ast.unparse(node.func) == "TypeVar"
        if isinstance(node, ast.Raise | ast.Expr) or is_export or is_type:
            found |= {id(within) for within in ast.walk(node)}
    return found


def test_no_class_is_known_by_its_name():
    names = {node.name for tree in trees().values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    offenders = []
    for file, tree in trees().items():
        if file == "resume/checkpoint_participants.py":  # The names of parts of a checkpoint are those of its format.
            continue
        said = texts_said(tree)
        for node in ast.walk(tree):
            is_name = isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in names
            if is_name and id(node) not in said and node.value not in NAMES_OF_OTHERS.get(file, set()):
                offenders.append(f"{file}:{node.lineno} {node.value}")
    assert not offenders, "\n".join(offenders)
