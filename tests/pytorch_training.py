"""The same training in PyTorch, in the environment whose Python ``TF_HFWB_TORCH_PYTHON`` names."""

from __future__ import annotations

import json
import os
import subprocess

import numpy as np
import pytest

from tf_hfwb import TFTrainer, TFTrainingArguments
from tf_hfwb.models.pytorch_format import pytorch_tensors, save_pytorch_format

# The groups, the schedule and the step of the Trainer.
SCRIPT = """
import json, re, sys
import numpy as np, torch, transformers
directory, source, target, options = sys.argv[1], sys.argv[2], sys.argv[3], json.loads(sys.argv[4])
model = transformers.AutoModelForSequenceClassification.from_pretrained(directory).eval()
skipped = re.compile(r"bias|layernorm|rmsnorm|(?:^|\\\\.)norm(?:$|\\\\.)|_norm(?:$|\\\\.)")
exempt = {id(p) for m in model.modules() if isinstance(m, torch.nn.LayerNorm) for p in m.parameters()}
exempt |= {id(p) for name, p in model.named_parameters() if skipped.search(name.lower())}
optimizer = torch.optim.AdamW(
    [
        {"params": [p for p in model.parameters() if id(p) not in exempt], "weight_decay": options["weight_decay"]},
        {"params": [p for p in model.parameters() if id(p) in exempt], "weight_decay": 0.0},
    ],
    lr=options["learning_rate"],
    eps=options["adam_epsilon"],
)
arrays = dict(np.load(source))
steps = len(arrays["labels"])
schedule = transformers.get_linear_schedule_with_warmup(optimizer, options["warmup_steps"], steps)
for step in range(steps):
    model(**{name: torch.tensor(array[step]) for name, array in arrays.items()}).loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), options["max_grad_norm"])
    optimizer.step()
    schedule.step()
    model.zero_grad()
np.savez(target, **{name: value.numpy() for name, value in model.state_dict().items()})
"""


def run_pytorch(script: str, *arguments: str, **variables: str) -> str:
    """Run a script there, with variables of the environment; skip the test where there is no such Python."""
    interpreter = os.environ.get("TF_HFWB_TORCH_PYTHON")
    if not interpreter:
        pytest.skip("TF_HFWB_TORCH_PYTHON names no Python with PyTorch and transformers 5")
    command = [interpreter, "-c", script, *map(str, arguments)]
    ended = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **variables})
    assert ended.returncode == 0, ended.stderr[-3000:]
    return ended.stdout


def difference_from_pytorch(model, batches: dict[str, np.ndarray], folder, **options) -> dict[str, float]:
    """Train a classifier here and there, and compare by how much it has changed.

    Args:
        model: A TF model of transformers.
        batches: Inputs and labels, with an axis of steps and one of samples.
        folder: A directory for files.
        options: Arguments of the training.

    Returns:
        The norm of the difference as a share of the norm of the change, of each weight, and of all as ``"all"``.
    """
    import tensorflow as tf

    save_pytorch_format(model, folder / "model")
    np.savez(folder / "batches.npz", **batches)
    before = pytorch_tensors(model)
    steps = len(batches["labels"])
    defaults = {
        "learning_rate": 1e-3,
        "weight_decay": 0.1,
        "adam_epsilon": 1e-8,
        "warmup_steps": 3,
        "max_grad_norm": 1.0,
    }
    options = {**defaults, **options}
    run_pytorch(SCRIPT, folder / "model", folder / "batches.npz", folder / "trained.npz", json.dumps(options))
    there = dict(np.load(folder / "trained.npz"))
    dataset = tf.data.Dataset.from_tensor_slices(batches)
    args = TFTrainingArguments(
        folder / "out", max_steps=steps, report_to="none", save_strategy="no", disable_tqdm=True, **options
    )
    TFTrainer(model, args, train_dataset=dataset).train()
    here = pytorch_tensors(model)
    differences = {name: here[name] - there[name] for name in here}
    changes = {name: there[name] - before[name] for name in here}
    shares = {name: norm([differences[name]]) / max(norm([changes[name]]), 1e-12) for name in here}
    return {**shares, "all": norm(differences.values()) / norm(changes.values())}


def norm(arrays) -> float:
    return float(np.sqrt(sum(np.sum(np.square(array, dtype="float64")) for array in arrays)))
