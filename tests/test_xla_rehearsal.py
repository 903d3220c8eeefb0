"""What a TPU asks of a train step, looked at on the CPU: XLA compiles all of it, and nothing in it calls the host."""

from __future__ import annotations

import importlib
import re

import pytest
import tensorflow as tf
import tiny
from helpers import nightly, samples
from tensorflow.python import pywrap_tfe
from tensorflow.python.eager import context
from tensorflow.python.framework import kernels

from tf_hfwb import TFTrainer, TFTrainingArguments
from tf_hfwb.errors import SettingError

# They call Python, print, or wait for what the host sends: TensorFlow compiles none of them for a TPU.
CALLS_TO_THE_HOST = {
    *("PyFunc", "PyFuncStateless", "EagerPyFunc", "Print", "PrintV2", "LogSummary", "WriteScalarSummary"),
    *("XlaHostCompute", "_XlaHostComputeMlir", "OutfeedEnqueue", "OutfeedEnqueueTuple", "IteratorGetNext"),
    *("HashTableV2", "LookupTableFindV2", "StringFormat", "AsString", "ReadFile", "WriteFile"),
}

# Their outputs have as many rows as the data makes them have; XLA compiles for shapes that are known before.
SHAPED_BY_DATA = {"Where", "Unique", "UniqueV2", "UniqueWithCounts", "DynamicPartition", "NonMaxSuppressionV3"}

# Of functions and their arguments, which the compiler takes apart.
STRUCTURE = {
    *("PartitionedCall", "StatefulPartitionedCall", "If", "StatelessIf", "While", "StatelessWhile", "Case"),
    *("Placeholder", "_Arg", "_Retval", "NoOp", "Const"),
}


class CompiledFunctions:
    """Looks at what XLA compiles, while a fit still holds it.

    Attributes:
        operations: The operations in all functions that must be compiled, and in those that they call.
    """

    def __init__(self) -> None:
        self.operations: set[str] = set()

    def look(self) -> None:
        everything = context.context()
        functions = {name: everything.get_function_def(name) for name in everything.list_function_names()}
        waiting = [name for name, one in functions.items() if one.attr["_XlaMustCompile"].b]
        seen = set()
        while waiting:
            name = waiting.pop()
            if name in seen or name not in functions:
                continue
            seen.add(name)
            for node in functions[name].node_def:
                self.operations.add(node.op)
                for value in node.attr.values():
                    waiting += [one.name for one in (value.func, *value.list.func) if one.name]


def has_kernels_everywhere(operation: str) -> bool:
    """Whether XLA's back ends in this TensorFlow all compile it, so that it is not special to one of them."""
    devices = {kernel.device_type for kernel in kernels.get_registered_kernels_for_op(operation).kernel}
    return {"XLA_CPU_JIT", "XLA_GPU_JIT"} <= devices


def same_length(number: int):
    """Sentences of one length, as ``padding="max_length"`` makes them."""
    return tiny.classified(number).map(
        lambda row: {name: (row[name] + [0] * 12)[:12] for name in ("input_ids", "attention_mask")}
    )


def model_and_data(kind: str, steps_per_execution: int):
    if kind == "bert":
        model, data = tiny.bert(hidden_dropout_prob=0.1), same_length(16)
        model.compile(steps_per_execution=steps_per_execution)
        return model, data
    if kind == "gpt2":
        return tiny.gpt2(0.1), tiny.next_words(16)
    return tiny.functional(kind, dropout=0.1, steps_per_execution=steps_per_execution), tiny.named(samples(16))


@pytest.mark.parametrize(
    ("kind", "accumulated", "steps_per_execution"),
    [
        ("tf_keras", 2, 1),
        nightly("bert", 2, 1),
        nightly("bert", 1, 1),
        nightly("bert", 1, 2),
        nightly("tf_keras", 1, 2),
        nightly("tf_keras", 2, 2),
        nightly("keras", 1, 1),
        nightly("keras", 2, 1),
        nightly("keras", 1, 2),
    ],
)
def test_xla_compiles_the_whole_step_and_nothing_in_it_calls_the_host(
    kind, accumulated, steps_per_execution, monkeypatch
):
    """With the recorder of losses, the watcher of gradients and parameters, and accumulation."""
    monkeypatch.setenv("WANDB_WATCH", "all")
    model, data = model_and_data(kind, steps_per_execution)
    looking = CompiledFunctions()
    keras_of = importlib.import_module("keras" if kind == "keras" else "tf_keras")
    callback = keras_of.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: looking.look())
    args = TFTrainingArguments(
        num_train_epochs=2,
        per_device_train_batch_size=4,
        dataloader_drop_last=True,
        gradient_accumulation_steps=accumulated,
        logging_steps=2,
        save_steps=2,
        xla=True,
        disable_tqdm=True,
    )
    tokenizer = tiny.tokenizer() if kind in ("bert", "gpt2") else None
    trainer = TFTrainer(model, args, train_dataset=data, processing_class=tokenizer, callbacks=[callback])
    assert trainer.train().global_step == 8 // accumulated
    assert {"MatMul", "AssignVariableOp"} <= looking.operations, "the train step was not among the compiled functions"
    assert looking.operations & CALLS_TO_THE_HOST == set()
    assert looking.operations & SHAPED_BY_DATA == set()
    assert {one for one in looking.operations - STRUCTURE if not has_kernels_everywhere(one)} == set()


def test_the_look_finds_a_call_to_the_host():
    """A step that prints cannot be compiled, and the operation is found before XLA says so."""
    looking = CompiledFunctions()

    @tf.function(jit_compile=True)
    def step(x):
        tf.print(x)
        return x + 1

    step.get_concrete_function(tf.TensorSpec([2], tf.float32))
    looking.look()
    assert "PrintV2" in looking.operations
    assert not has_kernels_everywhere("PrintV2")


@pytest.mark.parametrize("kind", ["tf_keras", nightly("bert"), nightly("keras")])
def test_no_operation_of_tensorflow_writes_or_reads_a_checkpoint(kind, monkeypatch):
    """Those run beside the device, and a TPU is in another machine. Values are read, and Python writes them."""
    executed = set()
    execute = pywrap_tfe.TFE_Py_FastPathExecute

    def watch(place, name, *arguments):
        executed.add(name)
        return execute(place, name, *arguments)

    monkeypatch.setattr(pywrap_tfe, "TFE_Py_FastPathExecute", watch)
    for resumed in (None, "out/checkpoint-2"):
        model, data = model_and_data(kind, 1)
        options = {"max_steps": 3, "save_steps": 2, "report_to": "none", "disable_tqdm": True}
        tokenizer = tiny.tokenizer() if kind == "bert" else None
        trainer = TFTrainer(
            model, TFTrainingArguments("out", **options), train_dataset=data, processing_class=tokenizer
        )
        trainer.train(resume_from_checkpoint=resumed)
        trainer.save_model("model")
    assert "ReadVariableOp" in executed
    assert {name for name in executed if re.search("File|Save|Restore|Checkpoint", name)} == set()
    tf.io.write_file("file", "")
    assert "WriteFile" in executed, "file operations would not have been seen"


def test_a_tpu_that_the_environment_names_and_that_is_not_there(monkeypatch):
    monkeypatch.setenv("TPU_NAME", "local")
    args = TFTrainingArguments(report_to="none")
    with pytest.raises(SettingError, match=r"TPU_NAME='local' .* a TPU that this machine can use, .*unset it"):
        args.strategy  # noqa: B018
    assert (args.device, args.parallel_mode.value) == ("TPU:0", "tpu")
