"""Which arguments do what they say, which have no effect because nothing is lost, and which are refused.

An argument that is in none of these tables does what it says.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

from tf_hfwb.errors import SettingError
from tf_hfwb.messages import inform


class Refusal(NamedTuple):
    """Why an argument cannot be obeyed, and what to use instead."""

    reason: str
    instead: str


# Read by scripts, as with the Trainer of transformers, and not by the trainer.
FOR_SCRIPTS = frozenset(
    [
        *("overwrite_output_dir", "do_train", "do_eval", "do_predict", "resume_from_checkpoint"),
    ]
)

_PYTORCH_PROCESSES = "TensorFlow has one process for all devices of a machine"
_MIXING = "Keras mixes precisions itself, by fp16 or bf16"

# Nothing is lost without them: each says why.
WITHOUT_EFFECT: dict[str, str] = {
    "eval_accumulation_steps": "predictions leave the device after every batch",
    "torch_empty_cache_steps": "TensorFlow has no such cache",
    "save_safetensors": "no file here is a pickle in any case",
    "restore_callback_states_from_checkpoint": "states of callbacks are always restored",
    "use_mps_device": "TensorFlow uses Apple's GPU when its plug-in is installed",
    "fp16_opt_level": _MIXING,
    "half_precision_backend": _MIXING,
    "fp16_backend": _MIXING,
    "ddp_backend": _PYTORCH_PROCESSES,
    "ddp_find_unused_parameters": _PYTORCH_PROCESSES,
    "ddp_bucket_cap_mb": _PYTORCH_PROCESSES,
    "ddp_broadcast_buffers": _PYTORCH_PROCESSES,
    "eval_use_gather_object": _PYTORCH_PROCESSES,
    "tpu_num_cores": "a TPUStrategy uses all cores",
    "dataloader_pin_memory": "TensorFlow moves data to devices itself",
    "dataloader_persistent_workers": "tf.data has threads and no processes",
    "gradient_checkpointing_kwargs": "there is one way in which TensorFlow computes activations again",
    "use_legacy_prediction_loop": "there is one evaluation loop",
}

# Without effect where nothing is reported there: what ``report_to`` must name.
OF_REPORTS: dict[str, str] = {
    "logging_dir": "tensorboard",
    "project": "trackio",
    "trackio_space_id": "trackio",
}

_STRATEGY = (
    "Create the model in the scope of a tf.distribute strategy such as args.strategy, which the trainer then uses."
)
_XLA = "Use xla=True."
_FSDP = Refusal("it shards weights over PyTorch's processes", _STRATEGY)
_COMPILER = Refusal("it is PyTorch's compiler", _XLA)
_LIGER = Refusal("Liger's kernels are PyTorch's", _XLA)

REFUSED: dict[str, Refusal] = {
    "save_on_each_node": Refusal("only the chief worker saves", "Let all workers see one output_dir."),
    "jit_mode_eval": _COMPILER,
    "tpu_metrics_debug": Refusal("these are metrics of PyTorch XLA", "Use TensorFlow's profiler."),
    "past_index": Refusal("memories of earlier batches are not handed on", "Leave it out."),
    "fsdp": _FSDP,
    "fsdp_min_num_params": _FSDP,
    "fsdp_config": _FSDP,
    "fsdp_transformer_layer_cls_to_wrap": _FSDP,
    "accelerator_config": Refusal("accelerate is PyTorch's", _STRATEGY),
    "parallelism_config": Refusal("accelerate is PyTorch's", _STRATEGY),
    "deepspeed": Refusal("DeepSpeed is PyTorch's", _STRATEGY),
    "mp_parameters": Refusal("SageMaker's model parallelism is PyTorch's", _STRATEGY),
    "torchdynamo": _COMPILER,
    "torch_compile": _COMPILER,
    "torch_compile_backend": _COMPILER,
    "torch_compile_mode": _COMPILER,
    "optim_target_modules": Refusal("GaLore and its like are PyTorch's", "Use optim='adafactor' to save memory."),
    "use_liger_kernel": _LIGER,
    "liger_kernel_config": _LIGER,
}

_mentioned: set[str] = set()  # In this process.


def refuse_unsupported(args: Any) -> None:
    """Refuse arguments that cannot be obeyed.

    Raises:
        SettingError: One of them has another value than its default.
    """
    for field in dataclasses.fields(args):
        refusal = REFUSED.get(field.name)
        value = getattr(args, field.name)
        if refusal is not None and value != default_of(field):
            raise SettingError(
                field.name,
                value,
                expected=f"its default, {default_of(field)!r}: {refusal.reason}",
                advice=refusal.instead,
            )


def mention_arguments_without_effect(args: Any) -> None:
    """Name the arguments that were set and have no effect, once in a process."""
    found = {
        field.name: getattr(args, field.name)
        for field in dataclasses.fields(args)
        if (field.name in WITHOUT_EFFECT or OF_REPORTS.get(field.name, "wandb") not in ("wandb", *args.report_to))
        and getattr(args, field.name) != default_of(field)
    }
    why = {name: WITHOUT_EFFECT.get(name, f"report_to does not name {OF_REPORTS.get(name)}") for name in found}
    new = [name for name in found if name not in _mentioned]
    if new:
        _mentioned.update(new)
        reasons = "; ".join(f"{name}={found[name]!r}, as {why[name]}" for name in new)
        inform("Arguments without effect here: %s. Nothing is lost. This is said once.", reasons)


def default_of(field: dataclasses.Field[Any]) -> Any:
    """A field's default; None of a field that must be given."""
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return None if field.default is dataclasses.MISSING else field.default
