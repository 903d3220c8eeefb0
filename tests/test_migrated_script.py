"""A script for PyTorch's ``Trainer``, shaped as transformers' examples are, after the replacements of the documents."""

from __future__ import annotations

import json
import re
from pathlib import Path

import tiny

from tf_hfwb.models.pytorch_format import save_pytorch_format

MIGRATING = (Path(__file__).parent.parent / "docs" / "migrating.md").read_text()

# What the table of the documents says, as patterns.
REPLACEMENTS = [
    (r"from transformers import Trainer, TrainingArguments\n", "from tf_hfwb import TFTrainer, TFTrainingArguments\n"),
    (r"(?<!TF)\bTrainer\b", "TFTrainer"),
    (r"(?<!TF)\bTrainingArguments\b", "TFTrainingArguments"),
    (r"\bAutoModelFor(\w+)\.from_pretrained\(", r"from_pretrained(TFAutoModelFor\1, "),
    (r"(?<!TF)\bAutoModelFor", "TFAutoModelFor"),
    (r"DataCollatorWithPadding\(tokenizer", 'DataCollatorWithPadding(tokenizer, return_tensors="np"'),
    (r"argmax\(dim=-1\)", "argmax(axis=-1)"),
    (r"model\.get_input_embeddings\(\)\.weight\.shape\[0\]", "model.config.vocab_size"),
    (r"import torch\n", "from tf_hfwb import from_pretrained\n"),
]

SCRIPT = """
import logging
import os
import sys
from dataclasses import dataclass, field

import numpy as np
import torch
from datasets import load_dataset
from transformers import AutoModelForSequenceClassification
from transformers import AutoTokenizer, DataCollatorWithPadding, EarlyStoppingCallback, HfArgumentParser, set_seed
from transformers import Trainer, TrainingArguments


@dataclass
class DataArguments:
    train_file: str = field(metadata={"help": "A CSV file."})
    validation_file: str = field(metadata={"help": "A CSV file."})
    model_name_or_path: str = field(metadata={"help": "A model."})


def main():
    data_args, training_args = HfArgumentParser((DataArguments, TrainingArguments)).parse_args_into_dataclasses()
    logging.basicConfig(handlers=[logging.StreamHandler(sys.stdout)])
    logging.getLogger("script").setLevel(training_args.get_process_log_level())
    print(
        f"Process {training_args.local_process_index}, device {training_args.device}, {training_args.n_gpu} GPUs, "
        f"distributed {training_args.parallel_mode.value == 'distributed'}, 16 bits {training_args.fp16}"
    )
    set_seed(training_args.seed)
    files = {"train": data_args.train_file, "validation": data_args.validation_file}
    data = load_dataset("csv", data_files=files)
    tokenizer = AutoTokenizer.from_pretrained(data_args.model_name_or_path)
    model = AutoModelForSequenceClassification.from_pretrained(
        data_args.model_name_or_path, from_tf=False, num_labels=3
    )
    assert model.get_input_embeddings().weight.shape[0] >= len(tokenizer)
    with training_args.main_process_first(desc="tokenizing"):
        data = data.map(lambda rows: tokenizer(rows["text"], truncation=True), batched=True)

    def compute_metrics(prediction):
        assert training_args.eval_do_concat_batches
        return {"accuracy": float(np.mean(prediction.predictions == prediction.label_ids))}

    trainer = Trainer(
        model=model,
        args=training_args,
        train_dataset=data["train"] if training_args.do_train else None,
        eval_dataset=data["validation"] if training_args.do_eval else None,
        compute_metrics=compute_metrics,
        tokenizer=tokenizer,
        data_collator=DataCollatorWithPadding(tokenizer),
        preprocess_logits_for_metrics=lambda logits, labels: logits.argmax(dim=-1),
        callbacks=[EarlyStoppingCallback(early_stopping_patience=5)],
    )
    if training_args.do_train:
        result = trainer.train(resume_from_checkpoint=training_args.resume_from_checkpoint)
        metrics = result.metrics
        metrics["train_samples"] = len(data["train"])
        trainer.save_model()
        trainer.log_metrics("train", metrics)
        trainer.save_metrics("train", metrics)
        trainer.save_state()
    if training_args.do_eval:
        metrics = trainer.evaluate()
        trainer.log_metrics("eval", metrics)
        trainer.save_metrics("eval", metrics)
    output = trainer.predict(data["validation"].remove_columns("label"), metric_key_prefix="predict")
    if trainer.is_world_process_zero():
        with open(os.path.join(training_args.output_dir, "predictions.txt"), "w") as file:
            file.writelines(f"{label}\\n" for label in output.predictions)
    trainer.create_model_card(finetuned_from=data_args.model_name_or_path, tasks="text-classification")


if __name__ == "__main__":
    main()
"""

FLAGS = (
    *("--do_train", "--do_eval", "--overwrite_output_dir", "--output_dir", "out", "--report_to", "wandb"),
    *("--num_train_epochs", "2", "--per_device_train_batch_size", "2", "--gradient_accumulation_steps", "2"),
    *("--learning_rate", "1e-2", "--optim", "adamw_torch", "--lr_scheduler_type", "cosine", "--warmup_ratio", "0.1"),
    *("--eval_strategy", "epoch", "--save_strategy", "epoch", "--load_best_model_at_end", "--fp16"),
    *("--metric_for_best_model", "accuracy", "--dataloader_num_workers", "2", "--logging_steps", "1"),
)


def migrated(script: str) -> str:
    for pattern, replacement in REPLACEMENTS:
        script, count = re.subn(pattern, replacement, script)
        assert count or "Trainer" in pattern, pattern
    return script


def test_the_documents_have_these_replacements():
    for text in ("TFTrainer", "TFTrainingArguments", "from_pretrained(TFAutoModelForX, name", "argmax(axis=-1)"):
        assert text in MIGRATING, text
    for text in ('DataCollatorWithPadding(tokenizer, return_tensors="np")', "model.config.vocab_size", "import torch"):
        assert text in MIGRATING, text


def test_a_script_for_pytorch_trains_evaluates_predicts_and_resumes(tmp_path, monkeypatch, launcher):
    monkeypatch.chdir(tmp_path)
    rows = ["text,label", *(f"{text},{index % 3}" for index, text in enumerate(tiny.TEXTS * 3))]
    for name in ("train", "dev"):
        (tmp_path / f"{name}.csv").write_text("\n".join(rows) + "\n")
    save_pytorch_format(tiny.bert(), tmp_path / "model", processing_class=tiny.tokenizer())
    (tmp_path / "script.py").write_text(migrated(SCRIPT))
    files = ("--train_file", "train.csv", "--validation_file", "dev.csv", "--model_name_or_path", "model")
    first = launcher.python("script.py", *files, *FLAGS)
    assert "***** train metrics *****" in first.stdout
    assert "***** eval metrics *****" in first.stdout
    out = tmp_path / "out"
    names = {"all_results.json", "train_results.json", "eval_results.json", "trainer_state.json", "README.md"}
    assert names | {"predictions.txt", "model.safetensors", "config.json"} <= {path.name for path in out.iterdir()}
    results = json.loads((out / "all_results.json").read_text())
    assert (results["epoch"], results["train_samples"]) == (2.0, len(rows) - 1)
    assert len((out / "predictions.txt").read_text().splitlines()) == len(rows) - 1
    (checkpoint, last) = sorted(out.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    again = launcher.python("script.py", *files, *FLAGS, "--resume_from_checkpoint", str(checkpoint))
    assert "***** train metrics *****" in again.stdout
    state = json.loads((out / "trainer_state.json").read_text())
    assert f"checkpoint-{state['global_step']}" == last.name
