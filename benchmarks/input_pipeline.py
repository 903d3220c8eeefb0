"""Iterating over epochs: our pipelines, transformers' ``prepare_tf_dataset``, ``to_tf_dataset``, a ``DataLoader``.

    python benchmarks/input_pipeline.py                                 # about ten minutes on two quiet cores
    python benchmarks/input_pipeline.py --torch-python venv/bin/python  # with PyTorch, of an environment that has it

Every run is a process of its own, and the pipelines take turns. All pad with the same collator of transformers, but for
the first two, which do it without one. ``DataLoader`` gets its rows from a list in memory, as an
environment with PyTorch need not have ``datasets``; the others get them from a dataset on disk. Columns, each a median
over the runs with its standard error:

* ``samples/s``: samples a second after the first batch, over as many epochs as take two seconds, in one stream as a
  training reads them: with ``repeat`` for ``tf.data``, which takes 20 ms to begin an iteration; ``ratio``: that of
  ``prepare_tf_dataset`` is 1, by the runs of the same turn;
* ``first``: milliseconds from the dataset, which is loaded, to the first batch;
* ``memory``: MiB by which the peak of the process's memory has risen since the dataset was loaded.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")

BATCH_SIZE = 32
SECONDS = 2.0
OURS = ("training_batches", "training_batches, from files", "training_batches, collator")
THEIRS = ("prepare_tf_dataset", "to_tf_dataset")
TORCH = "DataLoader"
TEXTS = {"short texts": (20_000, 5, 60), "long texts": (2_000, 400, 512)}  # Their number, and how many tokens.
IMAGES, PIXELS = 1_000, (3, 64, 64)


def make_data(directory: pathlib.Path) -> list[str]:
    """Write the datasets, and the rows of each for PyTorch; returns their names."""
    import datasets
    import numpy as np

    random = np.random.default_rng(0)
    for kind, (number, least, most) in TEXTS.items():
        lengths = random.integers(least, most + 1, number)
        rows = {
            "input_ids": [random.integers(5, 1000, length).tolist() for length in lengths],
            "attention_mask": [[1] * int(length) for length in lengths],
            "label": random.integers(0, 3, number).tolist(),
        }
        datasets.Dataset.from_dict(rows).save_to_disk(directory / kind)
        (directory / f"{kind}.json").write_text(json.dumps(rows))
    images = random.normal(size=(IMAGES, *PIXELS)).astype("float32")
    features = datasets.Features(
        {"pixel_values": datasets.Array3D(PIXELS, "float32"), "label": datasets.Value("int64")}
    )
    labels = random.integers(0, 3, IMAGES).tolist()
    datasets.Dataset.from_dict({"pixel_values": images, "label": labels}, features).save_to_disk(directory / "images")
    np.save(directory / "images.npy", images)
    return [*TEXTS, "images"]


def tokenizer():
    import tokenizers
    import transformers

    vocabulary = {"[PAD]": 0, "[UNK]": 1, **{f"w{n}": n for n in range(2, 1000)}}
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="[UNK]"))
    return transformers.PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]")


def collator(kind: str, tensors: str):
    import transformers

    if kind == "images":
        return transformers.DefaultDataCollator(return_tensors=tensors)
    return transformers.DataCollatorWithPadding(tokenizer(), return_tensors=tensors)


def model(kind: str):
    import transformers

    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    if kind == "images":
        return transformers.TFViTForImageClassification(transformers.ViTConfig(image_size=PIXELS[-1], **sizes))
    return transformers.TFBertForSequenceClassification(transformers.BertConfig(vocab_size=1000, num_labels=3, **sizes))


def of_tensorflow(pipeline: str, kind: str, path: pathlib.Path):
    """A function that makes the batches of endless epochs."""
    import datasets

    from tf_hfwb import training_batches

    data, collate = datasets.load_from_disk(path), collator(kind, "np")
    if kind == "images":
        data = data.with_format("numpy")  # Else the collators get lists of lists.
    if pipeline in OURS:
        options = {
            OURS[0]: {"keep_in_memory": True, "processing_class": tokenizer()},
            OURS[1]: {"keep_in_memory": False, "processing_class": tokenizer()},
            OURS[2]: {"data_collator": lambda rows: collate(rows)},  # So that it is not replaced.
        }[pipeline]
        return lambda: training_batches(data, BATCH_SIZE, **options).dataset
    if pipeline == "prepare_tf_dataset":
        given = model(kind)
        return lambda: given.prepare_tf_dataset(
            data, batch_size=BATCH_SIZE, shuffle=True, tokenizer=tokenizer(), collate_fn=collate, drop_remainder=False
        ).repeat()
    inputs = [name for name in data.column_names if name != "label"]
    return lambda: data.to_tf_dataset(
        BATCH_SIZE, columns=inputs, label_cols=["labels"], shuffle=True, collate_fn=collate, prefetch=True
    ).repeat()


def of_torch(kind: str, path: pathlib.Path):
    from torch.utils.data import DataLoader

    if kind == "images":
        import numpy as np

        columns = {"pixel_values": np.load(f"{path}.npy")}
        columns["label"] = [0] * len(columns["pixel_values"])
    else:
        columns = json.loads(pathlib.Path(f"{path}.json").read_text())
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    loader = DataLoader(rows, BATCH_SIZE, shuffle=True, collate_fn=collator(kind, "pt"))
    return lambda: itertools.chain.from_iterable(itertools.repeat(loader))


def memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(pipeline: str, kind: str, path: pathlib.Path) -> None:
    """Print one run's numbers, in a process of its own."""
    make = of_torch(kind, path) if pipeline == TORCH else of_tensorflow(pipeline, kind, path)
    before, began = memory(), time.perf_counter()
    batches = iter(make())
    next(batches)
    first, number = time.perf_counter(), 0
    while time.perf_counter() - first < SECONDS:
        next(batches)
        number += 1
    rate = number * BATCH_SIZE / (time.perf_counter() - first)
    print(json.dumps({"rate": rate, "first": 1e3 * (first - began), "memory": memory() - before}))


def run(python: str, pipeline: str, kind: str, directory: pathlib.Path) -> dict[str, float]:
    command = [python, __file__, "--one", pipeline, kind, str(directory / kind)]
    printed = subprocess.run(command, capture_output=True, text=True, check=False)
    if printed.returncode:
        raise SystemExit(f"{pipeline}, {kind}:\n{printed.stderr[-2000:]}")
    return json.loads(printed.stdout.splitlines()[-1])


def median(values: list[float]) -> tuple[float, float]:
    """The median and its standard error."""
    error = 1.25 * statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else float("nan")
    return statistics.median(values), error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="runs of each pipeline on each data set")
    parser.add_argument("--torch-python", help="the Python of an environment with torch and transformers")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        pipeline, kind, path = arguments.one
        return measure(pipeline, kind, pathlib.Path(path))
    directory = pathlib.Path(tempfile.mkdtemp())
    pythons = dict.fromkeys((*THEIRS[:1], *OURS, *THEIRS[1:]), sys.executable)
    if arguments.torch_python:
        pythons[TORCH] = arguments.torch_python
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, batches of {BATCH_SIZE}")
    for kind in make_data(directory):
        found: dict[str, list[dict[str, float]]] = {pipeline: [] for pipeline in pythons}
        for _ in range(arguments.repeats):
            for pipeline, python in pythons.items():
                found[pipeline].append(run(python, pipeline, kind, directory))
        print(f"\n{kind:30}{'samples/s':>18}{'ratio':>15}{'first':>16}{'memory':>16}")
        for pipeline, runs in found.items():
            rate, first, used = (median([one[name] for one in runs]) for name in ("rate", "first", "memory"))
            turns = zip(runs, found["prepare_tf_dataset"], strict=True)
            ratio = median([one["rate"] / other["rate"] for one, other in turns])
            print(
                f"{pipeline:30}{rate[0]:10,.0f} ±{rate[1]:6,.0f}{ratio[0]:9.2f} ±{ratio[1]:4.2f}"
                f"{first[0]:8.0f} ±{first[1]:4.0f} ms{used[0]:8.0f} ±{used[1]:3.0f} MiB"
            )
    return None


if __name__ == "__main__":
    main()
