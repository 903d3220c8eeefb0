"""Write the table of all arguments of ``TFTrainingArguments`` from the code.

python docs/generate_arguments.py > docs/arguments.md
"""

from __future__ import annotations

import dataclasses

from tf_hfwb import TFTrainingArguments
from tf_hfwb.trainer.arguments.argument_support import FOR_SCRIPTS, REFUSED, WITHOUT_EFFECT, default_of
from tf_hfwb.trainer.arguments.former_spellings import FORMER

INTRODUCTION = """\
# TFTrainer arguments

`TFTrainer` takes a `TFTrainingArguments`, whose arguments have the names and defaults of transformers'
`TrainingArguments`. `HfArgumentParser` makes command-line flags of them:

```python
import keras
import numpy as np
from transformers import HfArgumentParser
from tf_hfwb import TFTrainer, TFTrainingArguments

flags = "--output_dir out --num_train_epochs 2 --learning_rate 1e-3 --logging_steps 4 --report_to wandb"
(args,) = HfArgumentParser(TFTrainingArguments).parse_args_into_dataclasses(flags.split())

x = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
trainer = TFTrainer(model, args, train_dataset=(x, (x[:, 0] > 0).astype("int64")))
print(trainer.train().metrics)
```

A model of transformers brings its own loss; a plain Keras model must be compiled with one. The optimizer is the
trainer's, and its updates are those of PyTorch's. Datasets may be a `datasets.Dataset` with tokenised columns, a
batched `tf.data.Dataset`, or arrays; see [Data](data.md).

The table lists all arguments of transformers' `TrainingArguments`, `Seq2SeqTrainingArguments` and
`TFTrainingArguments`, and the few of our own. It is generated from the code by `docs/generate_arguments.py`. An
argument

* **does what it says**,
* is **for scripts**: neither this trainer nor the one of transformers reads it,
* is a **former** spelling, which is accepted with a warning,
* has **no effect**, because nothing is lost without it, which is said once when you set it,
* or is **refused** when you set it, with what to use instead.

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
