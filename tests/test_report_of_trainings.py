"""The page of real trainings: what W&B's client wrote of them is all there."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
from helpers import classifier, finish, samples
from test_report_page import data_in, trace

from tf_hfwb import (
    TFTrainer,
    TFTrainingArguments,
    WandbEvalTable,
    WandbMetricsLogger,
    WandbModelCheckpoint,
    WandbWatch,
)
from tf_hfwb.cli import main


def train_bert(steps: int, *, resume: bool) -> None:
    arguments = TFTrainingArguments(
        output_dir="out",
        run_name="<b>tiny</b>",
        max_steps=steps,
        logging_steps=2,
        eval_strategy="steps",
        eval_steps=4,
        save_steps=4,
        report_to="wandb",
        per_device_train_batch_size=4,
    )
    data = tiny.classified(11)
    trainer = TFTrainer(
        tiny.bert(),
        arguments,
        train_dataset=tiny.classified(32),
        eval_dataset=data,
        processing_class=tiny.tokenizer(),
        compute_metrics=lambda found: {"accuracy": float(np.mean(found.predictions.argmax(-1) == found.label_ids))},
        callbacks=[
            WandbEvalTable(data, processing_class=tiny.tokenizer(), num_samples=5),
            WandbWatch("all", log_freq=2),
        ],
    )
    trainer.train(resume_from_checkpoint=resume)
    finish()


@pytest.mark.nightly
def test_a_resumed_training_is_one_run_with_its_table_its_layers_and_its_checkpoints():
    train_bert(8, resume=False)
    train_bert(12, resume=True)
    assert main(["report", "wandb"]) == 0
    data = data_in("report.html")
    (run,) = data["runs"]
    assert (run["name"], run["folders"], run["last_step"], run["state"]) == ("<b>tiny</b>", 2, 12, "finished")
    assert trace(data, "train/loss")["x"] == [2, 4, 6, 8, 10, 12]
    assert trace(data, "eval/accuracy")["x"] == [4, 8, 12]
    assert [one["step"] for one in data["checkpoints"]] == [4, 8, 12]
    assert data["checkpoints"][0]["metrics"].keys() >= {"eval/loss", "eval/accuracy", "train/loss"}
    assert data["checkpoints"][0]["place"] == "out/checkpoint-4"
    assert data["checkpoints"][0]["size"] > 10_000

    (table,) = data["tables"]
    assert [row[0] for row in table["rows"]] == [4] * 5 + [8] * 5 + [12] * 5
    assert table["rows"][0][table["columns"].index("text")] == "the cat sees a dog"

    kinds = {(one["kind"], data["layers"]["names"][one["name"]]) for one in data["layers"]["grids"]}
    assert len(kinds) == len(data["layers"]["grids"]) > 20
    assert {kind for kind, _ in kinds} == {"gradients", "weights"}
    assert {tuple(one["steps"]) for one in data["layers"]["grids"]} == {(2, 4, 6, 8, 10, 12)}
    assert {tuple(one["x"]) for one in data["layers"]["norms"]} == {(2, 4, 6, 8, 10, 12)}
    assert {"learning_rate", "grad_norm"} <= {
        chart["subject"] for chart in data["charts"] if chart["section"] == "speed"
    }
    assert ["hidden_size", "16"] in data["config"]["equal"]


@pytest.mark.nightly
def test_a_plain_fit_with_pictures_finds_its_checkpoints_beside_its_run():
    pixels = np.random.default_rng(0).integers(0, 255, size=(6, 8, 8, 3)).astype(np.uint8)
    keras_model = classifier("keras", learning_rate=0.1)
    x, y = samples(32)
    log = WandbMetricsLogger(log_freq=1)
    keras_model.fit(x, y, batch_size=8, epochs=2, verbose=0, callbacks=[log, WandbModelCheckpoint("saved")])
    import wandb

    cells = [[at, wandb.Image(picture)] for at, picture in enumerate(pixels)]
    wandb.log({"pictures": wandb.Table(columns=["number", "picture"], data=cells)})
    finish()
    main(["report", "wandb/latest-run", "-o", "page.html"])
    data = data_in("page.html")
    assert trace(data, "train/loss")["x"] == list(range(1, 9))
    assert [(one["step"], one["place"]) for one in data["checkpoints"]] == [
        (4, "saved/checkpoint-4"),
        (8, "saved/checkpoint-8"),
    ]
    (table,) = data["tables"]
    assert [row[1] for row in table["rows"]] == [{"p": at} for at in range(6)]
    assert len(data["pictures"]) == 6
    assert data["pictures_left_out"] == 0
