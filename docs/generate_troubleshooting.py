"""Write the page of all messages from the code, with what to do.

python docs/generate_troubleshooting.py > docs/troubleshooting.md
"""

from __future__ import annotations

import ast
import pathlib
import re
from collections.abc import Iterator
from dataclasses import dataclass

import yaml

BESIDE = yaml.safe_load(pathlib.Path(__file__).with_name("messages.yml").read_text())
ADVICE: dict[str, str] = BESIDE["advice"]
GROUPS = {title: tuple(places) for title, places in BESIDE["groups"].items()}
PACKAGE = pathlib.Path(__file__).parents[1] / "tf_hfwb"
GAP = "…"
_LOGGED = {"_logger.warning", "inform", "warnings.warn"}
_PLACEHOLDER = re.compile(r"%[-+.0-9]*[sdrefg]")


@dataclass(frozen=True)
class Message:
    """A text that users can read.

    Attributes:
        place: The file, from the package's folder.
        kind: ``warning``, ``news`` or the name of the error.
        text: What it says, with ``…`` for what is only known when it is said.
    """

    place: str
    kind: str
    text: str

    @property
    def begin(self) -> str:
        """Its beginning, by which it is found: the first sentence, or as much of it as a heading holds."""
        first = _first_clause(self.text.lstrip(f"{GAP} =:'"))
        if first in ("cannot be used", "is not recognised"):  # Its setting is known only when it is said.
            expected = _first_clause(self.text.partition(f"{first}. ")[2])
            first = first if expected == f"Expected {GAP}" else expected
        words = first.split()
        while len(" ".join(words)) > 90:
            words.pop()
        return " ".join(words)


def messages() -> list[Message]:
    """Every warning, piece of news and error of the package, in the order of its files."""
    found: dict[Message, None] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        place = path.relative_to(PACKAGE).as_posix()
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            for message in _of_node(node, place):
                if len(re.sub(rf"[{GAP}\W]", "", message.text)) > 8:
                    found[message] = None
    return list(found)


def _of_node(node: ast.AST, place: str) -> Iterator[Message]:
    if not isinstance(node, ast.Call) or not (node.args or node.keywords):
        return
    name = ast.unparse(node.func)
    error = name.rpartition(".")[2]
    if name in _LOGGED:
        yield Message(place, "news" if name == "inform" else "warning", _text(node.args[0]))
    elif error in ("SettingError", "UnknownArgumentError", "ObjectiveError"):
        named = {keyword.arg: keyword.value for keyword in node.keywords}
        setting, expected, advice = _text(node.args[0]), named.get("expected"), named.get("advice")
        verdict = "cannot be used" if expected is not None else "is not recognised"
        wanted = _text(expected) if expected is not None else "one of the words that the message lists"
        yield Message(
            place, error, f"{setting}={GAP} {verdict}. Expected {wanted}. {_text(advice) if advice else ''}".strip()
        )
    elif error.endswith("Error") and error[0].isupper() and error not in ("OSError", "AttributeError", "KeyError"):
        texts = [text for text in map(_text, node.args) if " " in text]
        if texts and "Expected" in max(texts, key=len):
            yield Message(place, error, max(texts, key=len))


def _text(node: ast.expr) -> str:
    """The text that an expression makes, with gaps."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return _PLACEHOLDER.sub(GAP, node.value).replace("%%", "%").replace("\n", " ")
    if isinstance(node, ast.JoinedStr):
        text = "".join(part.value if isinstance(part, ast.Constant) else GAP for part in node.values)
        return re.sub(rf"{GAP}+", GAP, text).replace("\n", " ")
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return re.sub(rf"{GAP}+", GAP, _text(node.left) + _text(node.right))
    return GAP


def _first_clause(text: str) -> str:
    """A text up to the first full stop, colon or semicolon that is not within brackets."""
    depth = 0
    for at, character in enumerate(text):
        depth += (character in "([") - (character in ")]")
        if character in ".:;" and depth <= 0 and text[at + 1 : at + 2] in ("", " "):
            return text[:at]
    return text


def without_advice(message: Message) -> bool:
    """Whether a message does not say itself what to do."""
    return message.kind in ("warning", "news") and "Expected" not in message.text


def page() -> str:
    """The page."""
    parts = [BESIDE["introduction"]]
    grouped: dict[str, list[Message]] = {title: [] for title in GROUPS}
    for message in messages():
        grouped[next(title for title, places in GROUPS.items() if message.place.startswith(places))].append(message)
    for title, of_group in grouped.items():
        if of_group:
            parts.append(f"## {title}\n")
        for heading, kinds in (("warnings and news", ("warning", "news")), ("errors", None)):
            chosen = [m for m in of_group if (m.kind in ("warning", "news")) == (kinds is not None)]
            if chosen:
                parts.append(f"### {title}: {heading}\n")
                parts.extend(_entries(chosen))
    return "\n".join(parts).rstrip() + "\n"


def _entries(chosen: list[Message]) -> Iterator[str]:
    by_begin: dict[str, list[Message]] = {}
    for message in chosen:
        by_begin.setdefault(message.begin, []).append(message)
    for begin, same in sorted(by_begin.items(), key=lambda entry: entry[0].lower()):
        lines = [f"#### {heading(same[0])}\n"]
        for kind, text in dict.fromkeys((message.kind, message.text) for message in same):
            shown = f"*{kind}*" if kind in ("warning", "news") else f"`{kind}`"
            lines.append(f"{shown}: {escaped(text)}\n")
        if begin in ADVICE:
            lines.append(f"**What to do:** {ADVICE[begin]}\n")
        yield "\n".join(lines)


def heading(message: Message) -> str:
    """The heading over a message; in front of one that begins in the middle of a sentence there is a gap."""
    gap = message.text.startswith(GAP) and not message.begin.startswith("Expected")
    return escaped(f"{GAP} {message.begin}" if gap else message.begin)


def escaped(text: str) -> str:
    """A text as Markdown shows it: nothing in it is markup."""
    return re.sub(r"([\\`*_{}\[\]<>#|~])", r"\\\1", text)


if __name__ == "__main__":
    print(page(), end="")
