"""What the PyTorch ``Trainer`` does: python pytorch_trainer.py CASES.json prints its results as JSON.

It runs in the environment whose Python ``TF_HFWB_TORCH_PYTHON`` names.
"""

import json
import pathlib
import sys
import tempfile

import numpy as np
import torch
import transformers
from trainer_events import Recorder, accuracy, acting, course_of


class Linear(torch.nn.Module):
    """A classifier of one layer."""

    def __init__(self, kernel, bias):
        super().__init__()
        self.layer = torch.nn.Linear(4, 3)
        self.layer.weight.data = torch.tensor(kernel).T.contiguous()
        self.layer.bias.data = torch.tensor(bias)

    def forward(self, x, labels):
        logits = self.layer(x)
        return {"loss": torch.nn.functional.cross_entropy(logits, labels), "logits": logits}


class InOrder(torch.utils.data.Sampler):
    """The samples of each epoch as they are given."""

    def __init__(self, order):
        self.order = order
        self.epoch = -1

    def __len__(self):
        return len(self.order[0])

    def __iter__(self):
        self.epoch += 1  # Now, as an epoch may be cut short.
        yield from self.order[self.epoch]


class Trainer(transformers.Trainer):
    order = None

    def _get_train_sampler(self, *given):
        return InOrder(self.order)


def trained(case: dict, asked: dict, number: int) -> dict:
    recorder = Recorder(acting(case["wishes"]))
    if case["model"] is None:
        model = Linear(np.array(asked["kernel"], "f4"), np.array(asked["bias"], "f4"))
    else:
        folder = pathlib.Path(asked["folder"], str(number))
        name = json.loads((folder / "config.json").read_text())["architectures"][0].removeprefix("TF")
        model = getattr(transformers, name).from_pretrained(folder)
        # In transformers 5 the others take num_items_in_batch, too, and make nothing of it: their losses are not means.
        model.accepts_loss_kwargs = case["model"] == "gpt2"
    with tempfile.TemporaryDirectory() as folder:
        args = transformers.TrainingArguments(folder, report_to="none", disable_tqdm=True, use_cpu=True, **case["args"])
        trainer = Trainer(
            model,
            args,
            train_dataset=rows_of(case["columns"]),
            eval_dataset=rows_of(case["columns"]),
            callbacks=[recorder],
            compute_metrics=accuracy if case["model"] is None else None,
        )
        trainer.order = case["order"]
        trainer.pop_callback(transformers.PrinterCallback)
        output = trainer.train()
        course = course_of(trainer, recorder, output, folder)
    weights = {name: value.numpy() for name, value in trainer.model.state_dict().items()}
    np.savez(pathlib.Path(asked["folder"], f"{number}.npz"), **weights)
    return course


def rows_of(columns: dict) -> list[dict]:
    values = zip(*columns.values(), strict=True)
    return [{name: torch.tensor(value) for name, value in zip(columns, row, strict=True)} for row in values]


if __name__ == "__main__":
    asked = json.loads(pathlib.Path(sys.argv[1]).read_text())
    answers = [trained(case, asked, number) for number, case in enumerate(asked["cases"])]
    print(json.dumps(answers))  # noqa: T201
