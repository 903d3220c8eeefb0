"""The fields of ``TFTrainingArguments``: names, types, defaults and what each means, in the order of transformers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tf_hfwb.trainer.arguments.argument_values import LogLevel, SaveStrategy, Schedule, Strategy


def _option(default: Any, help: str) -> Any:
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata={"help": help})
    return field(default=default, metadata={"help": help})


@dataclass
class ArgumentFields:
    """All arguments; ``argument_support.py`` says which of them have an effect.

    Scripts pass the first ones by position, and ``HfArgumentParser`` makes a flag of each: it takes the second type of
    a union of three, which is why None comes first in some.
    """

    # fmt: off
    # Those of TrainingArguments.
    output_dir: str = _option("trainer_output", "Where save_model writes, and where the checkpoints are.")
    overwrite_output_dir: bool = _option(False, "For scripts: whether output_dir may have files of another training.")
    do_train: bool = _option(False, "For scripts: whether to train.")
    do_eval: bool = _option(False, "For scripts: whether to evaluate.")
    do_predict: bool = _option(False, "For scripts: whether to predict.")
    eval_strategy: Strategy = _option("no", "When to evaluate: never, every eval_steps steps, or each epoch.")
    prediction_loss_only: bool = _option(
        False, "Evaluate the loss only: no predictions are kept, and compute_metrics is not called.")
    per_device_train_batch_size: int = _option(8, "Samples of one batch on one device.")
    per_device_eval_batch_size: int = _option(8, "Samples of one evaluation batch on one device.")
    per_gpu_train_batch_size: int | None = _option(None, "The former name of per_device_train_batch_size.")
    per_gpu_eval_batch_size: int | None = _option(None, "The former name of per_device_eval_batch_size.")
    gradient_accumulation_steps: int = _option(1, "Batches whose gradients make one step.")
    eval_accumulation_steps: int | None = _option(None, "Evaluation batches after which predictions leave the device.")
    eval_delay: float = _option(
        0, "The earliest step or epoch, as eval_strategy counts, at which a training evaluates.")
    torch_empty_cache_steps: int | None = _option(None, "Steps after which PyTorch empties its cache.")
    learning_rate: float = _option(5e-5, "The highest learning rate of the schedule.")
    weight_decay: float = _option(0.0, "Decay of all weights except biases and those of normalisation layers.")
    adam_beta1: float = _option(0.9, "The first decay rate of AdamW.")
    adam_beta2: float = _option(0.999, "The second decay rate of AdamW.")
    adam_epsilon: float = _option(1e-8, "The stabiliser of AdamW.")
    max_grad_norm: float = _option(1.0, "The global norm to which gradients are clipped; 0 does not clip.")
    num_train_epochs: float = _option(3.0, "Epochs to train, fractions included.")
    max_steps: int = _option(-1, "Steps to train, if positive; wins over num_train_epochs.")
    lr_scheduler_type: Schedule = _option("linear", "How the learning rate changes; all of transformers' schedules.")
    lr_scheduler_kwargs: dict[str, Any] | str | None = _option(
        None, "Options of the schedule, as a dict or JSON, under the names of transformers' functions.")
    warmup_ratio: float = _option(0.0, "Share of all steps over which the learning rate rises from 0.")
    warmup_steps: int = _option(0, "Steps over which the learning rate rises from 0; wins over warmup_ratio.")
    log_level: LogLevel = _option(
        "passive", "The level that the loggers of transformers and tf_hfwb get on the main worker; passive leaves it.")
    log_level_replica: LogLevel = _option("warning", "The level that these loggers get on the other workers.")
    log_on_each_node: bool = _option(True, "Whether the first worker of each machine logs as the main one does.")
    logging_dir: str | None = _option(
        None, "The directory of TensorBoard's logs; runs/DATE_HOST in output_dir when None.")
    logging_strategy: Strategy = _option("steps", "When to log: never, every logging_steps steps, or each epoch.")
    logging_first_step: bool = _option(False, "Also log the first step.")
    logging_steps: float = _option(500, "Steps between rows; below 1 a share of all steps.")
    logging_nan_inf_filter: bool = _option(
        True, "Leave losses out of logged means that are not finite; a mean "
        "of no other losses is NaN.")
    save_strategy: SaveStrategy = _option(
        "steps", "When to save: never, every save_steps steps and at the last one, each epoch, or at each evaluation "
        "that is the best so far.")
    save_steps: float = _option(500, "Steps between checkpoints; below 1 a share of all steps.")
    save_total_limit: int | None = _option(
        None, "How many checkpoints to keep; the newest and the best stay in any case.")
    save_safetensors: bool = _option(True, "Write PyTorch's weights as safetensors and not with pickle.")
    save_on_each_node: bool = _option(False, "Save on each machine and not only on the first.")
    save_only_model: bool = _option(
        False, "Save the model without the state of its training; no training resumes from such checkpoints.")
    restore_callback_states_from_checkpoint: bool = _option(False, "Restore the states of callbacks on a resume.")
    no_cuda: bool = _option(False, "The former name of use_cpu.")
    use_cpu: bool = _option(False, "Leave GPUs unused; make the arguments before the model.")
    use_mps_device: bool = _option(False, "Use Apple's GPU with PyTorch.")
    seed: int = _option(42, "Seed of initialisation, dropout and, without data_seed, of the order of the samples.")
    data_seed: int | None = _option(None, "Seed of the order of the samples.")
    jit_mode_eval: bool = _option(False, "Evaluate with PyTorch's JIT.")
    bf16: bool = _option(False, "Train in bfloat16, with weights in float32.")
    fp16: bool = _option(False, "Train in float16, with weights in float32 and a scaled loss.")
    fp16_opt_level: str = _option("O1", "How Apex mixes precisions.")
    half_precision_backend: str = _option("auto", "What mixes precisions with PyTorch.")
    bf16_full_eval: bool = _option(False, "Evaluate outside of a training in bfloat16; weights stay in float32.")
    fp16_full_eval: bool = _option(False, "Evaluate outside of a training in float16; weights stay in float32.")
    tf32: bool | None = _option(None, "Whether GPUs multiply float32 as TensorFloat-32; as TensorFlow does when None.")
    local_rank: int = _option(
        -1, "The number of this process on its machine, among the workers that TF_CONFIG names; -1 without them.")
    ddp_backend: str | None = _option(None, "How PyTorch's processes communicate.")
    tpu_num_cores: int | None = _option(None, "The number of TPU cores that PyTorch's launcher uses.")
    tpu_metrics_debug: bool = _option(False, "Print PyTorch XLA's metrics.")
    debug: str = _option("", "underflow_overflow: stop at the first operation that gives a NaN or an infinity.")
    dataloader_drop_last: bool = _option(False, "Drop the last batch of an epoch when it is smaller.")
    eval_steps: float | None = _option(
        None, "Steps between evaluations; below 1 a share of all steps; logging_steps when None.")
    dataloader_num_workers: int = _option(
        0, "Threads that run data_collator, instead of one; without it TensorFlow's threads make batches in any case.")
    dataloader_prefetch_factor: int | None = _option(
        None, "Batches that each of these threads makes in advance; as TensorFlow does when None.")
    past_index: int = _option(-1, "Which output is the memory of the next batch.")
    run_name: str | None = _option(None, "The name of the W&B run.")
    disable_tqdm: bool = _option(
        False, "No progress bar, and no table at the end; nothing is printed.")
    remove_unused_columns: bool = _option(True, "Drop columns of a dataset that the model's call does not take.")
    label_names: list[str] | None = _option(None, "The columns that are labels; found by the model's class when None.")
    load_best_model_at_end: bool = _option(
        False, "Put the weights of the best checkpoint into the model when training ends; evaluations and checkpoints "
        "must then fall on the same steps.")
    metric_for_best_model: str | None = _option(
        None, "The metric that tells what is best, with or without eval_; loss for load_best_model_at_end and for "
        "reduce_lr_on_plateau when None.")
    greater_is_better: bool | None = _option(
        None, "Whether a higher value of that metric is better. When None, a metric that the model was compiled with "
        "tells; for any other it is guessed by the name: False for a loss or an error rate.")
    ignore_data_skip: bool = _option(
        False, "On a resume, begin the epoch anew and not at the batch where the training stopped.")
    fsdp: list[str] | str | None = _option(None, "PyTorch's sharding of weights.")
    fsdp_min_num_params: int = _option(0, "PyTorch's sharding: the smallest part.")
    fsdp_config: dict[str, Any] | str | None = _option(None, "PyTorch's sharding: its options.")
    fsdp_transformer_layer_cls_to_wrap: str | None = _option(None, "PyTorch's sharding: the class of a layer.")
    accelerator_config: dict[str, Any] | str | None = _option(None, "Options of the library accelerate.")
    parallelism_config: str | None = _option(None, "Parallelism of the library accelerate.")
    deepspeed: dict[str, Any] | str | None = _option(None, "Options of DeepSpeed.")
    label_smoothing_factor: float = _option(
        0.0, "How much of each label is spread over all classes, in "
        "the losses of training and evaluation.")
    optim: str = _option("adamw_torch", "The optimizer.")
    optim_args: str | None = _option(None, "Options of the optimizer: name=value,name=value.")
    adafactor: bool = _option(False, "The former spelling of optim='adafactor'.")
    group_by_length: bool = _option(
        False, "Train on batches of samples of about the same length, the longest first, to pad less.")
    length_column_name: str = _option(
        "length", "For group_by_length: the column with the lengths of samples; without it the main input tells them.")
    report_to: None | str | list[str] = _option(  # noqa: RUF036
        None, "wandb, tensorboard, trackio, or a list of them; none; all: those that are installed. None means wandb.")
    project: str = _option("huggingface", "The project of trackio; that of W&B is WANDB_PROJECT.")
    trackio_space_id: str | None = _option(
        None, "The Space on the Hub that gets trackio's run; None for the database on this machine.")
    ddp_find_unused_parameters: bool | None = _option(None, "An option of PyTorch's DistributedDataParallel.")
    ddp_bucket_cap_mb: int | None = _option(None, "An option of PyTorch's DistributedDataParallel.")
    ddp_broadcast_buffers: bool | None = _option(None, "An option of PyTorch's DistributedDataParallel.")
    dataloader_pin_memory: bool = _option(True, "Load data into pinned memory with PyTorch.")
    dataloader_persistent_workers: bool = _option(False, "Keep PyTorch's data loading processes between epochs.")
    skip_memory_metrics: bool = _option(
        True, "Do not add the memory that was used to the metrics of train, evaluate and predict.")
    use_legacy_prediction_loop: bool = _option(False, "Use a former evaluation loop of the Trainer.")
    push_to_hub: bool = _option(False, "Push checkpoints and the saved model to the Hub, as hub_strategy says.")
    resume_from_checkpoint: str | None = _option(None, "For scripts: what to pass to train.")
    hub_model_id: str | None = _option(None, "The repository on the Hub; the name of output_dir when None.")
    hub_strategy: str = _option(
        "every_save", "What is pushed: end: the model when save_model is called; every_save: also the model of each "
        "checkpoint; checkpoint: and the newest checkpoint, as last-checkpoint; all_checkpoints: and each checkpoint.")
    hub_token: str | None = _option(
        None, "The token for the Hub, which gets into no log and no file; the one of `hf auth login` when None.")
    hub_private_repo: bool | None = _option(None, "Whether a new repository is private.")
    hub_always_push: bool = _option(False, "Push also while the push before has not finished.")
    hub_revision: str | None = _option(None, "The branch on the Hub; main when None.")
    gradient_checkpointing: bool = _option(False, "Compute activations again in the backward pass, to save memory.")
    gradient_checkpointing_kwargs: dict[str, Any] | str | None = _option(None, "Options of PyTorch's checkpointing.")
    include_inputs_for_metrics: bool = _option(False, "The former spelling of include_for_metrics=['inputs'].")
    include_for_metrics: list[str] = _option(
        [], "What else compute_metrics gets: inputs (the model's main input), loss (for each sample the loss of its "
        "batch).")
    eval_do_concat_batches: bool = _option(True, "Join predictions of all batches; else they are lists of batches.")
    fp16_backend: str = _option("auto", "The former name of half_precision_backend.")
    push_to_hub_model_id: str | None = _option(None, "A former part of hub_model_id.")
    push_to_hub_organization: str | None = _option(None, "A former part of hub_model_id.")
    push_to_hub_token: str | None = _option(None, "The former name of hub_token.")
    mp_parameters: str = _option("", "Options of SageMaker's launcher.")
    auto_find_batch_size: bool = _option(
        False, "Halve per_device_train_batch_size and begin again while the first step does not fit into the memory.")
    full_determinism: bool = _option(False, "Let TensorFlow compute the same bits every time, at the cost of speed.")
    torchdynamo: str | None = _option(None, "A former option of PyTorch's compiler.")
    ray_scope: str | None = _option(
        "last", "By which results a search with Ray finds the best trial: last, all, avg, last-5-avg, last-10-avg."
    )
    ddp_timeout: int = _option(1800, "Seconds that the workers of TF_CONFIG wait for each other before the first step.")
    torch_compile: bool = _option(False, "Compile the model with PyTorch.")
    torch_compile_backend: str | None = _option(None, "An option of PyTorch's compiler.")
    torch_compile_mode: str | None = _option(None, "An option of PyTorch's compiler.")
    include_tokens_per_second: bool = _option(False, "Add tokens per second to the metrics of train.")
    include_num_input_tokens_seen: str | bool = _option(
        False, "Count the tokens that were trained on, for rows and the metrics of train: all, non_padding, or no, "
        "which True and False mean, too.")
    neftune_noise_alpha: float | None = _option(None, "Noise that is added to embeddings in training.")
    optim_target_modules: None | str | list[str] = _option(None, "The layers that GaLore optimizes.")  # noqa: RUF036
    batch_eval_metrics: bool = _option(
        False, "Call compute_metrics(prediction, compute_result=...) with each batch, and keep none of them; "
        "compute_result is True for the last one, whose result counts.")
    eval_on_start: bool = _option(False, "Evaluate before the first step of a training; not where one is resumed.")
    use_liger_kernel: bool = _option(False, "Use Liger's kernels for PyTorch.")
    liger_kernel_config: dict[str, Any] | str | None = _option(None, "Options of Liger's kernels.")
    eval_use_gather_object: bool = _option(False, "Gather nested objects from PyTorch's processes.")
    average_tokens_across_devices: bool = _option(
        True, "Weigh replicas of a causal language model by their tokens, not by their samples."
    )
    # Those of Seq2SeqTrainingArguments.
    sortish_sampler: bool = _option(False, "A former spelling of group_by_length.")
    predict_with_generate: bool = _option(
        False, "Predictions are token ids that the model generates, instead of its outputs; of a decoder-only model "
        "behind the prompt.")
    generation_max_length: int | None = _option(
        None, "For predict_with_generate: the longest result; what the model's generation config says when None.")
    generation_num_beams: int | None = _option(
        None, "For predict_with_generate: the number of beams; what the model's generation config says when None.")
    generation_config: str | None = _option(
        None, "A directory, a file or a model's name on the Hub with a generation config that replaces the model's.")
    # Those of transformers' TFTrainingArguments.
    tpu_name: str | None = _option(
        None, "The name of the TPU of args.strategy, in whose scope the model must then be created; local on the TPU's "
        "own machine.")
    tpu_zone: str | None = _option(None, "The zone of that TPU.")
    gcp_project: str | None = _option(None, "The project of that TPU on Google Cloud.")
    poly_power: float = _option(
        1.0, "The power of the polynomial schedule, and of the linear one, as transformers' TFTrainer had it.")
    xla: bool = _option(False, "Compile the train step with XLA.")
    # Ours.
    link_to_registry: str | None = _option(
        None, "A collection of W&B's model registry into which the model at the end is put.")
    delete_superseded: bool = _option(
        False, "With save_total_limit, also delete older versions of the checkpoint artifact on W&B.")
    evaluation_strategy: str | None = _option(None, "The former name of eval_strategy.")
    # fmt: on
