"""Write the table of all arguments of ``TFTrainingArguments`` from the code.

python docs/generate_arguments.py > docs/arguments.md
"""

from __future__ import annotations

import dataclasses

from tf_hfwb import TFTrainingArguments
from tf_hfwb.trainer.arguments.argument_support import FOR_SCRIPTS, REFUSED, WITHOUT_EFFECT, default_of
from tf_hfwb.trainer.arguments.former_spellings import FORMER

INTRODUCTION = """\
# Arguments of a training

All arguments of transformers' `TrainingArguments`, `Seq2SeqTrainingArguments` and `TFTrainingArguments`, and the few of
our own. This page is generated from the code by `docs/generate_arguments.py`. An argument

* **does what it says**,
* is **for scripts**: the trainer does not read it, nor does the one of transformers,
* is a **former** spelling, which is taken with a warning,
* has **no effect**, because nothing is lost without it, which is said once when it is set,
* or is **refused** when it is set, with what to use instead.

| argument | default | meaning |
|---|---|---|
"""


def support_of(name: str) -> str:
    """A few words on what becomes of an argument; empty when it does what it says."""
    if name in REFUSED:
        refusal = REFUSED[name]
        return f"**Refused**: {refusal.reason}. {refusal.instead}"
    if name in WITHOUT_EFFECT:
        return f"**No effect**: {WITHOUT_EFFECT[name]}."
    return "**Former.**" if name in FORMER else "**For scripts.**" if name in FOR_SCRIPTS else ""


def table() -> str:
    """The page."""
    rows = []
    for field in dataclasses.fields(TFTrainingArguments):
        meaning = field.metadata["help"].removeprefix("For scripts: ")
        meaning = f"{meaning[0].upper()}{meaning[1:]}" if field.name in FOR_SCRIPTS else meaning
        text = f"{meaning} {support_of(field.name)}".strip()
        rows.append(f"| `{field.name}` | `{default_of(field)!r}` | {text} |\n")
    return INTRODUCTION + "".join(rows)


if __name__ == "__main__":
    print(table(), end="")
