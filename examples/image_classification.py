"""Fine-tune a ViT to classify pictures: ``python examples/image_classification.py``.

    python examples/image_classification.py --model_name_or_path google/vit-base-patch16-224-in21k \
        --data_dir my_pictures --num_train_epochs 3 --learning_rate 5e-5

A directory has a folder for each label (my_pictures/cat/1.jpg); ``--dataset_name`` takes a dataset of the hub that has
an image and a label. A fifth of the pictures is held out.

Without flags it needs neither a network nor an account, and takes about a minute and a half on two cores: a small ViT
learns from scratch to read the 1,797 handwritten digits that scikit-learn ships (``pip install scikit-learn``, BSD
licence; the digits are the test set of UCI's "Optical Recognition of Handwritten Digits", CC BY 4.0). It reaches an
accuracy of about 0.95 on 360 held-out digits.

What to look at: which digits were taken for which, printed at the end; in the W&B run (in ./wandb) the table
sample_predictions, which has the pictures: W&B's page, or ``tf-hfwb table RUN``, shows how the same digits are read
after 5, 10, 15 and 20 epochs.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

from text_classification import compute_metrics, guesses_of, quiet_import, where_the_run_is
from text_data import SPLIT_SEED
from told_errors import tell_errors
from transformers import HfArgumentParser

from tf_hfwb import TFTrainer, TFTrainingArguments, WandbEvalTable, from_pretrained
from tf_hfwb.errors import DataError, SettingError

SCRIPT_DEFAULTS = {
    "output_dir": "image_classification",
    "eval_strategy": "epoch",
    "logging_steps": 10,
    "learning_rate": 1e-3,
    "num_train_epochs": 20,
    "per_device_train_batch_size": 32,
    "warmup_ratio": 0.1,
    "weight_decay": 0.01,
}
SMALL_SIZE = 32  # Pixels of a side, for a new model.


@dataclass
class ImageArguments:
    """Which pictures, and which model."""

    data_dir: str | None = field(default=None, metadata={"help": "A directory with a folder of pictures per label."})
    dataset_name: str | None = field(default=None, metadata={"help": "A dataset of the Hugging Face hub."})
    model_name_or_path: str | None = field(
        default=None, metadata={"help": "A model of the hub, or a directory; without one, a small new ViT."}
    )
    table_freq: int = field(default=5, metadata={"help": "Show the pictures in the table every so many epochs."})
    max_samples: int | None = field(default=None, metadata={"help": "Use so many pictures, drawn at random."})


def run(image_args: ImageArguments, args: TFTrainingArguments) -> None:
    """Load the pictures, train, and show what was mistaken."""
    splits = load_pictures(image_args)
    labels = splits["train"].features["label"].names
    print(f"train: {len(splits['train'])} pictures, held out: {len(splits['test'])}; labels: {', '.join(labels)}")

    model, processor = load_model(image_args, labels, args.seed)
    prepared = {name: prepare(pictures, processor) for name, pictures in splits.items()}
    trainer = TFTrainer(
        model,
        args,
        train_dataset=prepared["train"],
        eval_dataset=prepared["test"],
        processing_class=processor,
        compute_metrics=compute_metrics,
        callbacks=[
            WandbEvalTable(splits["test"], processing_class=processor, num_samples=40, freq=image_args.table_freq)
        ],
    )
    trainer.train(resume_from_checkpoint=args.resume_from_checkpoint)
    predicted = trainer.predict(prepared["test"])
    print(f"The model and its image processor are in {trainer.save_model()}")
    print(*mistakes(guesses_of(predicted), predicted.label_ids, labels), sep="\n")
    print(*where_the_run_is(trainer.run_directory), sep="\n")


def load_pictures(args: ImageArguments) -> Any:
    """The splits ``train`` and ``test``, with the columns ``image`` and ``label``.

    Raises:
        DataError: There are no such pictures.
    """
    from datasets import DatasetDict, disable_progress_bars, load_dataset
    from datasets.exceptions import DatasetsError

    disable_progress_bars()
    if args.dataset_name and args.data_dir:
        raise SettingError("dataset_name", args.dataset_name, expected="no --data_dir beside it")
    try:
        if args.data_dir:
            pictures = load_dataset("imagefolder", data_dir=args.data_dir, split="train")
        elif args.dataset_name:
            pictures = load_dataset(args.dataset_name, split="train")
        else:
            pictures = digits()
    except (OSError, ValueError, DatasetsError) as error:
        raise DataError(
            f"The pictures cannot be loaded: {error} Expected a directory with a folder for each label, or a dataset "
            "of the hub. Check --data_dir and --dataset_name."
        ) from error
    pictures = pictures.rename_columns({"img": "image"} if "img" in pictures.column_names else {})
    if not {"image", "label"} <= set(pictures.column_names):
        raise DataError(
            f"The pictures have the columns {', '.join(pictures.column_names)}. Expected an image and a label. Put the "
            "pictures into a folder for each label, or rename the columns."
        )
    pictures = pictures.shuffle(seed=SPLIT_SEED)
    pictures = pictures.select(range(min(args.max_samples or len(pictures), len(pictures))))
    return DatasetDict(pictures.train_test_split(test_size=0.2, seed=SPLIT_SEED))


def digits() -> Any:
    """The digits of scikit-learn, 8 x 8 pixels, as pictures that a person can see."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise DataError(
            f"There is nothing to learn from: no pictures were passed, and the digits are not installed ({error}). "
            "Expected one of them. Pass --data_dir, or run `pip install scikit-learn`."
        ) from error
    import numpy as np
    from datasets import ClassLabel, Dataset, Features, Image
    from PIL import Image as Picture

    found = load_digits()
    pixels = (found.images * (255 / 16)).astype(np.uint8)
    pictures = [Picture.fromarray(each).resize((SMALL_SIZE, SMALL_SIZE)).convert("RGB") for each in pixels]
    columns = Features({"image": Image(), "label": ClassLabel(names=[str(number) for number in range(10)])})
    return Dataset.from_dict({"image": pictures, "label": found.target.tolist()}, features=columns)


def load_model(args: ImageArguments, labels: list[str], seed: int) -> tuple[Any, Any]:
    """The pretrained model with a new head, or a small new ViT, and its image processor."""
    with quiet_import():
        from transformers import (
            AutoImageProcessor,
            TFAutoModelForImageClassification,
            TFViTForImageClassification,
            ViTConfig,
            ViTImageProcessor,
            set_seed,
        )
    set_seed(seed)
    names = {"id2label": dict(enumerate(labels)), "label2id": {label: i for i, label in enumerate(labels)}}
    if args.model_name_or_path:
        processor = AutoImageProcessor.from_pretrained(args.model_name_or_path)
        return from_pretrained(TFAutoModelForImageClassification, args.model_name_or_path, **names), processor
    config = ViTConfig(
        image_size=SMALL_SIZE,
        patch_size=8,
        hidden_size=64,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=128,
        **names,
    )
    return TFViTForImageClassification(config), ViTImageProcessor(size={"height": SMALL_SIZE, "width": SMALL_SIZE})


def prepare(pictures: Any, processor: Any) -> Any:
    """A dataset of pixel values and labels."""

    def pixels(rows: dict[str, list[Any]]) -> dict[str, Any]:
        return {
            "pixel_values": processor([one.convert("RGB") for one in rows["image"]], return_tensors="np").pixel_values
        }

    return pictures.map(pixels, batched=True, batch_size=64, remove_columns=["image"])


def mistakes(guesses: Any, right: Any, labels: list[str], most: int = 5) -> list[str]:
    """How many are right, and what is most often taken for what."""
    wrong = Counter(
        (labels[label], labels[guess]) for guess, label in zip(guesses, right, strict=True) if guess != label
    )
    lines = [f"  {label} was taken for {guess} ({count})" for (label, guess), count in wrong.most_common(most)]
    accuracy, commonest = (guesses == right).mean(), max(Counter(right.tolist()).values()) / len(right)
    return [
        "",
        f"Accuracy {accuracy:.3f} on {len(right)} held-out pictures; one label always: {commonest:.3f}.",
        *lines,
    ]


def main(argv: Sequence[str] | None = None) -> None:
    """Do what the command line says; what the user can put right is told in a line, with exit status 2."""
    parser = HfArgumentParser(
        (ImageArguments, TFTrainingArguments), description="Fine-tune a ViT to classify pictures."
    )
    parser.set_defaults(**SCRIPT_DEFAULTS)
    with tell_errors():
        run(*parser.parse_args_into_dataclasses(argv, look_for_args_file=False))


if __name__ == "__main__":
    main()
