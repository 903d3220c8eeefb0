"""Prints the events that the PyTorch ``Trainer`` calls: python pytorch_events.py '[[ARGUMENTS, ASKING], ...]'."""

import json
import sys
import tempfile

import torch
import transformers
from trainer_events import Recorder, asking


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 3)

    def forward(self, x, labels):
        logits = self.layer(x)
        return {"loss": torch.nn.functional.cross_entropy(logits, labels), "logits": logits}


def events(settings: dict, ask: dict | None) -> list:
    data = [{"x": torch.ones(4) * n, "labels": n % 3} for n in range(11)]
    recorder = Recorder(None if ask is None else asking(**ask))
    with tempfile.TemporaryDirectory() as folder:
        args = transformers.TrainingArguments(
            folder,
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
            per_device_train_batch_size=4,
            per_device_eval_batch_size=4,
            **settings,
        )
        trainer = transformers.Trainer(
            Model(), args, train_dataset=data, eval_dataset=data, callbacks=[recorder], compute_metrics=accuracy
        )
        trainer.pop_callback(transformers.PrinterCallback)
        trainer.train()
    return recorder.heard


def accuracy(prediction):
    return {"accuracy": float((prediction.predictions.argmax(-1) == prediction.label_ids).mean())}


print(json.dumps([events(*one) for one in json.loads(sys.argv[1])]))  # noqa: T201
