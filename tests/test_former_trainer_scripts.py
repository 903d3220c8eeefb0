"""Scripts of the ``TFTrainer`` that transformers 4.2 to 4.8 had run by changing the import."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import tensorflow as tf
import tiny
import transformers
from helpers import classifier, nightly, samples

from tf_hfwb import TFTrainer, TFTrainingArguments
from tf_hfwb.checkpoint.store import Store
from tf_hfwb.errors import DataError, SettingError

NUMBER = 11


def features(number: int = NUMBER, length: int = 12):
    """Single samples of texts, all padded to one length, as the scripts made them: lengths are not in the shapes."""
    encoded = tiny.tokenizer()(
        [tiny.TEXTS[n % len(tiny.TEXTS)] for n in range(number)],
        padding="max_length",
        max_length=length,
        truncation=True,
    )
    names = ("input_ids", "attention_mask", "token_type_ids")

    def generate():
        for n in range(number):
            yield {name: encoded[name][n] for name in names}, n % 3

    dataset = tf.data.Dataset.from_generator(
        generate,
        (dict.fromkeys(names, tf.int32), tf.int64),
        (dict.fromkeys(names, tf.TensorShape([None])), tf.TensorShape([])),
    )
    return dataset.apply(tf.data.experimental.assert_cardinality(number))


def arrays(number: int = NUMBER, length: int = 12):
    """The same samples."""
    return next(features(number, length).batch(number).as_numpy_iterator())


def arguments(**options) -> TFTrainingArguments:
    defaults = {"report_to": "none", "disable_tqdm": True, "save_strategy": "no", "num_train_epochs": 2}
    defaults |= {"per_device_train_batch_size": 4, "per_device_eval_batch_size": 4, "learning_rate": 1e-2}
    return TFTrainingArguments(**{**defaults, **options})


def trained(dataset, model, **options):
    trainer = TFTrainer(model=model, args=arguments(**options), train_dataset=dataset, eval_dataset=dataset)
    output = trainer.train()
    weights = np.concatenate([np.ravel(np.asarray(weight)) for weight in model.get_weights()])
    return trainer, output, weights


# -- single samples ----------------------------------------------------------------------------------------------------


@pytest.mark.nightly
def test_single_samples_are_batched_shuffled_and_repeated():
    """As the same samples in arrays are; so every sample comes once an epoch, in another order each time."""
    trainer, output, weights = trained(features(), tiny.bert())
    assert output.global_step == 6
    _, _, expected = trained(arrays(), tiny.bert())
    np.testing.assert_array_equal(weights, expected)
    seen = [batch["input_ids"] for batch, _ in zip(trainer.get_train_dataloader(), range(3), strict=False)]
    assert [len(ids) for ids in seen] == [4, 4, 3]
    assert sorted(np.concatenate(seen).tolist()) == sorted(arrays()[0]["input_ids"].tolist())
    assert np.concatenate(seen).tolist() != arrays()[0]["input_ids"].tolist()
    metrics = trainer.evaluate()
    assert metrics["eval_samples_per_second"] > 0
    output = trainer.predict(features(7))
    assert output.predictions.shape == (7, 3)
    np.testing.assert_array_equal(output.label_ids, np.arange(7) % 3)


@pytest.mark.nightly
def test_the_last_batch_may_be_dropped_and_the_training_resumed(tmp_path):
    options = {"dataloader_drop_last": True, "save_strategy": "steps", "save_steps": 3, "full_determinism": True}
    _, output, weights = trained(features(), tiny.bert(), output_dir=str(tmp_path), **options)
    assert output.global_step == 4
    assert [checkpoint.step for checkpoint in Store(str(tmp_path)).checkpoints()] == [3, 4]
    model = tiny.bert()
    trainer = TFTrainer(model, arguments(output_dir=str(tmp_path / "again"), **options), train_dataset=features())
    trainer.train(str(tmp_path / "checkpoint-3"))
    resumed = np.concatenate([np.ravel(np.asarray(weight)) for weight in model.get_weights()])
    np.testing.assert_array_equal(resumed, weights)


def words(number=NUMBER):
    """Labels of words have as many axes as the inputs: nothing has none."""
    (inputs, _), length = arrays(number), 12
    labels = np.tile(np.arange(length) % 4, (number, 1))
    return tf.data.Dataset.from_tensor_slices(({"input_ids": inputs["input_ids"]}, labels))


def pictures(number=NUMBER):
    pixels = tiny.pictures(number)["pixel_values"][:]
    return tf.data.Dataset.from_tensor_slices(({"pixel_values": pixels}, np.arange(number) % 3))


def spans(number=NUMBER):
    (inputs, _) = arrays(number)
    labels = {"start_positions": np.ones(number, np.int64), "end_positions": np.full(number, 2, np.int64)}
    return tf.data.Dataset.from_tensor_slices((inputs, labels))


SAMPLES = {
    "words": (tiny.distilbert, words),
    "pictures": (tiny.vit, pictures),
    "spans": (lambda: tiny.of_bert(transformers.TFBertForQuestionAnswering), spans),
    "tf_keras": (
        lambda: tiny.functional("tf_keras"),
        lambda: tf.data.Dataset.from_tensor_slices(tiny.named(samples(11))),
    ),
    "keras": (lambda: tiny.functional("keras"), lambda: tf.data.Dataset.from_tensor_slices(tiny.named(samples(11)))),
}


@pytest.mark.nightly
@pytest.mark.parametrize("kind", ["keras", *map(nightly, ["words", "spans", "pictures", "tf_keras"])])
def test_single_samples_of_other_kinds(kind):
    make, data = SAMPLES[kind]
    trainer, output, _ = trained(data(), make(), num_train_epochs=1)
    assert output.global_step == 3
    assert np.isfinite(trainer.evaluate()["eval_loss"])
    batched, output, _ = trained(data().batch(4), make(), num_train_epochs=1)  # And batches stay batches.
    assert output.global_step == 3
    assert batched.evaluate()["eval_loss"] > 0


@pytest.mark.parametrize("kind", ["tf_keras", nightly("keras")])
def test_one_array_for_each_sample(kind):
    trainer, output, _ = trained(tf.data.Dataset.from_tensor_slices(samples(11)), classifier(kind), num_train_epochs=1)
    assert output.global_step == 3
    assert trainer.evaluate()["eval_accuracy"] >= 0


def test_samples_that_cannot_be_batched():
    unknown = features().filter(lambda inputs, label: True)
    with pytest.raises(DataError, match=r"single samples and does not tell how many.*assert_cardinality"):
        trained(unknown, tiny.bert())
    with pytest.raises(DataError, match="single samples and does not tell how many"):
        trained(features().repeat(), tiny.bert())
    ragged = tf.data.Dataset.from_generator(
        lambda: ((({"input_ids": [1] * n}), 0) for n in range(1, 4)),
        ({"input_ids": tf.int32}, tf.int64),
        ({"input_ids": tf.TensorShape([None])}, tf.TensorShape([])),
    ).apply(tf.data.experimental.assert_cardinality(3))
    with pytest.raises(DataError, match=r"cannot be joined.*Expected the same shape of each. Pad them"):
        trained(ragged, tiny.bert())
    with pytest.raises(DataError, match=r"is empty\. Expected at least one sample"):
        trained(features().take(0), tiny.bert())


# -- subclasses and arguments ------------------------------------------------------------------------------------------


def test_the_former_batches_of_evaluations():
    class Own(TFTrainer):
        def get_eval_tfdataset(self, eval_dataset=None):
            data = self.eval_dataset if eval_dataset is None else eval_dataset
            return data.repeat().batch(4), 3, NUMBER

    trainer = Own(model=tiny.bert(), args=arguments(), eval_dataset=features(12))
    expected = TFTrainer(model=trainer.model, args=arguments(), eval_dataset=features(12)).evaluate()
    assert trainer.evaluate()["eval_loss"] == pytest.approx(expected["eval_loss"], rel=1e-5)


@pytest.mark.nightly
def test_what_was_distributed_is_refused():
    class Own(TFTrainer):
        def get_train_tfdataset(self):
            return tf.distribute.get_strategy().experimental_distribute_dataset(features().batch(4))

    strategy = tf.distribute.MirroredStrategy(["CPU:0"])

    class Distributed(TFTrainer):
        def get_train_tfdataset(self):
            return strategy.experimental_distribute_dataset(features().batch(4))

    assert Own(model=tiny.bert(), args=arguments()).train().global_step == 6
    with pytest.raises(SettingError, match=r"Expected a tf.data.Dataset of batches.*Keras distributes it"):
        Distributed(model=tiny.bert(), args=arguments()).train()


@pytest.mark.parametrize("method", ["training_step", "run_model", "apply_gradients", "setup_wandb", "prediction_loop"])
def test_methods_that_nothing_calls_any_more(method):
    own = type("Own", (TFTrainer,), {method: lambda self, *values: None})
    with pytest.raises(SettingError, match=f"its own {method}, which nothing calls here"):
        own(model=tiny.bert(), args=arguments())


def test_an_optimizer_and_schedule_of_transformers():
    class Own(TFTrainer):
        def create_optimizer_and_scheduler(self, num_training_steps):
            self.optimizer, self.lr_scheduler = transformers.create_optimizer(
                1e-2, num_training_steps, 0, weight_decay_rate=0.01
            )

    trainer = Own(model=tiny.bert(), args=arguments(), train_dataset=features())
    assert trainer.train().global_step == 6
    assert type(trainer.optimizer).__name__ == "AdamWeightDecay"
    assert float(trainer.lr_scheduler(6)) == 0.0


def test_a_writer_of_tensorboard_is_refused(tmp_path):
    writer = tf.summary.create_file_writer(str(tmp_path))
    with pytest.raises(SettingError, match=r"tb_writer=.*Expected None.*Set report_to='tensorboard'"):
        TFTrainer(model=tiny.bert(), args=arguments(), tb_writer=writer)
    assert TFTrainer(model=tiny.bert(), args=arguments(), tb_writer=None).model is not None


# -- a whole script ----------------------------------------------------------------------------------------------------

SCRIPT = """
import csv, logging, os
from dataclasses import dataclass, field
from typing import Dict, Optional
import numpy as np
import tensorflow as tf
from transformers import (
    AutoConfig, AutoTokenizer, EvalPrediction, HfArgumentParser, TFAutoModelForSequenceClassification,
)
from tf_hfwb import TFTrainer, TFTrainingArguments

logger = logging.getLogger(__name__)

@dataclass
class DataTrainingArguments:
    train_file: str = field(metadata={"help": "Texts and labels to train on."})
    dev_file: str = field(metadata={"help": "And to evaluate on."})
    max_seq_length: int = field(default=128)

@dataclass
class ModelArguments:
    model_name_or_path: str = field(metadata={"help": "A directory."})
    cache_dir: Optional[str] = field(default=None)

def get_dataset(path, tokenizer, length):
    with open(path) as file:
        rows = list(csv.DictReader(file))
    encoded = tokenizer([row["text"] for row in rows], truncation=True, padding="max_length", max_length=length)
    names = tokenizer.model_input_names

    def generate():
        for number, row in enumerate(rows):
            yield {name: encoded[name][number] for name in names}, int(row["label"])

    types = ({name: tf.int32 for name in names}, tf.int64)
    shapes = ({name: tf.TensorShape([None]) for name in names}, tf.TensorShape([]))
    dataset = tf.data.Dataset.from_generator(generate, types, shapes)
    return dataset.apply(tf.data.experimental.assert_cardinality(len(rows)))

def main():
    parser = HfArgumentParser((ModelArguments, DataTrainingArguments, TFTrainingArguments))
    model_args, data_args, training_args = parser.parse_args_into_dataclasses()
    if (
        os.path.exists(training_args.output_dir)
        and os.listdir(training_args.output_dir)
        and training_args.do_train
        and not training_args.overwrite_output_dir
    ):
        raise ValueError("--overwrite_output_dir")
    logging.basicConfig(level=logging.INFO)
    logger.info("n_replicas: %s, 16-bits training: %s", training_args.n_replicas, training_args.fp16)
    logger.info("Training/evaluation parameters %s", training_args)
    config = AutoConfig.from_pretrained(model_args.model_name_or_path, num_labels=3, cache_dir=model_args.cache_dir)
    tokenizer = AutoTokenizer.from_pretrained(model_args.model_name_or_path, cache_dir=model_args.cache_dir)
    with training_args.strategy.scope():
        model = TFAutoModelForSequenceClassification.from_pretrained(
            model_args.model_name_or_path,
            from_pt=bool(".bin" in model_args.model_name_or_path),
            config=config,
            cache_dir=model_args.cache_dir,
        )
    length = data_args.max_seq_length
    train_dataset = get_dataset(data_args.train_file, tokenizer, length) if training_args.do_train else None
    eval_dataset = get_dataset(data_args.dev_file, tokenizer, length) if training_args.do_eval else None

    def compute_metrics(p: EvalPrediction) -> Dict:
        return {"acc": (np.argmax(p.predictions, axis=1) == p.label_ids).mean()}

    trainer = TFTrainer(
        model=model,
        args=training_args,
        train_dataset=train_dataset,
        eval_dataset=eval_dataset,
        compute_metrics=compute_metrics,
    )
    if training_args.do_train:
        trainer.train()
        trainer.save_model()
        tokenizer.save_pretrained(training_args.output_dir)
    results = {}
    if training_args.do_eval:
        result = trainer.evaluate()
        with open(os.path.join(training_args.output_dir, "eval_results.txt"), "w") as writer:
            for key, value in result.items():
                writer.write("%s = %s\\n" % (key, value))
            results.update(result)
    return results

if __name__ == "__main__":
    main()
"""


@pytest.mark.skipif(not hasattr(TFTrainingArguments, "strategy"), reason="the arguments have no strategy yet")
def test_a_script_for_texts_runs_with_its_import_changed(tmp_path, launcher):
    tiny.bert().save_pretrained(tmp_path / "model")
    tiny.tokenizer().save_pretrained(tmp_path / "model")
    for name, number in (("train.csv", 20), ("dev.csv", 9)):
        with (tmp_path / name).open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["text", "label"])
            writer.writerows([tiny.TEXTS[n % len(tiny.TEXTS)], n % 3] for n in range(number))
    (tmp_path / "run.py").write_text(SCRIPT)
    flags = f"""--model_name_or_path {tmp_path}/model --train_file {tmp_path}/train.csv --dev_file {tmp_path}/dev.csv
        --output_dir {tmp_path}/out --overwrite_output_dir --do_train --do_eval --max_seq_length 16 --learning_rate 1e-3
        --per_device_train_batch_size 4 --per_device_eval_batch_size 4 --num_train_epochs 2 --logging_steps 2
        --evaluation_strategy steps --eval_steps 5 --poly_power 1.0 --report_to none"""
    script = str(tmp_path / "run.py")
    launcher.python(
        f"import runpy, sys\nsys.argv = {[script, *flags.split()]!r}\nrunpy.run_path({script!r}, run_name='__main__')"
    )
    results = dict(line.split(" = ") for line in (tmp_path / "out" / "eval_results.txt").read_text().splitlines())
    assert float(results["eval_loss"]) > 0
    assert 0 <= float(results["eval_acc"]) <= 1
    assert (tmp_path / "out" / "tokenizer.json").exists()
    loaded = transformers.TFAutoModelForSequenceClassification.from_pretrained(tmp_path / "out")
    assert loaded.config.num_labels == 3
