"""The model card of a training: its metadata, its tables, and where the run is."""

from __future__ import annotations

import importlib.metadata
import pathlib

import numpy as np
import pytest
import tiny
import transformers
from helpers import finish, nightly
from huggingface_hub import ModelCard
from test_trainer import named, trainer_of

CARD = pathlib.Path("out/README.md")


def accuracy(prediction):
    return {"accuracy": float(np.mean(prediction.predictions.argmax(-1) == prediction.label_ids))}


def bert_trainer(model=None, **options):
    options = {"output_dir": "out", "compute_metrics": accuracy, "max_steps": 4, "save_strategy": "no", **options}
    return trainer_of(model or tiny.bert(), tiny.classified(), **options)


def test_the_card_of_a_script_for_glue():
    trainer = bert_trainer(eval_strategy="steps", eval_steps=2, warmup_ratio=0.5, learning_rate=3e-5)
    trainer.train()
    trainer.create_model_card(
        finetuned_from="org/tiny-bert",
        tasks="text-classification",
        language="en",
        license="mit",
        dataset_tags="glue",
        dataset_args="mrpc",
        dataset="GLUE MRPC",
    )
    card = ModelCard.load(CARD)
    data = card.data
    assert (data.language, data.license, data.base_model) == (["en"], "mit", "org/tiny-bert")
    assert (data.library_name, data.datasets, data.metrics) == ("transformers", ["glue"], ["accuracy"])
    assert data.tags == ["generated_from_trainer"]
    (result,) = data.eval_results
    assert (result.task_type, result.dataset_type, result.dataset_args) == ("text-classification", "glue", "mrpc")
    found = [row["eval_accuracy"] for row in trainer.state.log_history if "eval_accuracy" in row]
    assert (result.metric_type, result.metric_value) == ("accuracy", found[-1])
    text = CARD.read_text()
    assert "# out" in text
    assert "[org/tiny-bert](https://huggingface.co/org/tiny-bert) on the GLUE MRPC dataset" in text
    said = ["- learning_rate: 3e-05", "- train_batch_size: 4", "- eval_batch_size: 4", "- seed: 42"]
    said += [
        "- optimizer: adamw",
        " with betas=(0.9, 0.999), epsilon=1e-08",
        "- lr_scheduler_type: linear",
        "- lr_scheduler_warmup_ratio: 0.5",
    ]
    said += ["- training_steps: 4", "| Training Loss", "Validation Loss", "Accuracy"]
    for package, name in {"transformers": "Transformers", "tensorflow": "TensorFlow", "tf-keras": "tf_keras"}.items():
        said.append(f"- {name} {importlib.metadata.version(package)}")
    said += ["- Datasets ", "- Tokenizers ", "- tf_hfwb "]
    assert [words for words in said if words not in text] == []
    assert text.count("\n| ") == 3  # A line of names, and one for each evaluation.
    assert "Pytorch" not in text
    assert "Tracking" not in text


@pytest.mark.parametrize("kind", ["tf_keras", nightly("keras")])
def test_a_plain_model_before_any_training(kind):
    keras = __import__(kind)
    trainer = trainer_of(
        tiny.functional(kind), named(), output_dir="out", optimizers=(keras.optimizers.SGD(0.5, momentum=0.75), None)
    )
    trainer.create_model_card()
    card = ModelCard.load(CARD)
    assert card.data.library_name == kind.replace("_", "-")
    assert "trained from scratch on an unknown dataset" in card.content
    trainer.train()
    trainer.evaluate()
    trainer.create_model_card(model_name="mine", tags="mine")
    text = CARD.read_text()
    assert "# mine" in text
    assert "- optimizer: SGD with momentum=0.75" in text
    assert "learning_rate" not in text
    assert "lr_scheduler" not in text
    assert "- num_epochs: 3.0" in text
    assert "It achieves the following results on the evaluation set" in text
    assert (
        f"- {'tf_keras' if kind == 'tf_keras' else 'Keras'} {importlib.metadata.version(kind.replace('_', '-'))}"
        in text
    )


class OwnBert(transformers.TFBertForSequenceClassification):
    """Of the user's."""


@pytest.mark.parametrize(
    ("make", "task"),
    [
        (tiny.bert, "text-classification"),
        (lambda: tiny.of_bert(OwnBert), "text-classification"),
        nightly(tiny.gpt2, "text-generation"),
        nightly(tiny.t5, "text2text-generation"),
        nightly(tiny.vit, "image-classification"),
        nightly(tiny.distilbert, "token-classification"),
    ],
)
def test_the_task_is_that_of_the_models_class(make, task):
    trainer = trainer_of(make(), None, output_dir="out")
    trainer.state.log_history = [{"train_runtime": 1.0}, {"eval_loss": 0.5, "eval_accuracy": 1.0, "step": 1}]
    trainer.create_model_card(dataset="mine", dataset_tags="mine")
    assert ModelCard.load(CARD).data.eval_results[0].task_type == task


def test_tags_of_a_card_that_is_there():
    trainer = bert_trainer()
    CARD.parent.mkdir()
    CARD.write_text("---\ntags:\n- before\n- first\n---\n# mine\n")
    trainer.create_model_card(tags=["first", "second"])
    assert ModelCard.load(CARD).data.tags == ["first", "second", "before", "generated_from_trainer"]
    trainer.create_model_card()
    assert ModelCard.load(CARD).data.tags == ["generated_from_trainer"]


@pytest.mark.parametrize("broken", ["---\n{[\n---\n", "---\n- one\n---\n", "", "no metadata"])
def test_a_card_that_cannot_be_read(broken, caplog):
    trainer = bert_trainer()
    CARD.parent.mkdir()
    CARD.write_text(broken)
    trainer.create_model_card(tags="mine")
    assert ModelCard.load(CARD).data.tags == ["mine", "generated_from_trainer"]
    assert ("cannot be read" in caplog.text) == broken.startswith("---")


def test_evaluations_with_other_metrics_each_time():
    numbers = iter(range(9))

    def changing(prediction):
        return {f"only_{next(numbers)}": 1.0}

    options = {"compute_metrics": changing, "eval_strategy": "steps", "eval_steps": 2, "save_strategy": "no"}
    trainer = trainer_of(tiny.functional("keras"), named(), output_dir="out", max_steps=4, **options)
    trainer.train()
    trainer.create_model_card()
    assert "Only 0" in CARD.read_text()
    assert "Only 1" in CARD.read_text()


def test_a_run_that_is_offline():
    trainer = bert_trainer(report_to="wandb", run_name="first")
    trainer.train()
    trainer.create_model_card()
    text = CARD.read_text()
    directory = finish()
    assert "of the project `huggingface` of Weights & Biases" in text
    assert f"`wandb sync wandb/{pathlib.Path(directory).name}`" in text
    assert str(pathlib.Path.cwd()) not in text
    CARD.unlink()
    trainer.create_model_card()  # The run has ended.
    assert "wandb sync" in CARD.read_text()


def test_a_run_on_a_server(server, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "online")
    trainer = trainer_of(tiny.functional("keras"), named(), output_dir="out", report_to="wandb", run_name="first")
    trainer.train()
    trainer.create_model_card()
    text = CARD.read_text()
    import wandb

    assert f"The training is the run [first]({wandb.run.url}) in Weights & Biases." in text


def test_two_datasets_and_a_metric_that_is_no_number():
    def confusion(prediction):
        return {"confusion": np.eye(3)}

    data = {"a": named(4), "b": named(5)}
    options = {"eval_strategy": "steps", "eval_steps": 2, "compute_metrics": confusion, "save_strategy": "no"}
    trainer = trainer_of(tiny.functional("tf_keras"), [named(), data], output_dir="out", max_steps=4, **options)
    trainer.train()
    trainer.create_model_card()
    assert "### Framework versions" in CARD.read_text()
