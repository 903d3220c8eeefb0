"""What scripts ask the arguments about devices. Only these members import TensorFlow, when they are read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tf_hfwb.keras_compat import count_gpus
from tf_hfwb.trainer.arguments.default_strategies import default_strategy, has_tpu, tpu_of_environment
from tf_hfwb.trainer.arguments.worker_members import WorkerMembers
from tf_hfwb.validation.installed_packages import check_packages, has_tensorflow

if TYPE_CHECKING:
    import tensorflow as tf
    from transformers.training_args import ParallelMode


class DeviceMembers(WorkerMembers):
    """The devices of a training, and what follows from their number."""

    @property
    def strategy(self) -> tf.distribute.Strategy:
        """The distribution strategy: the one in whose scope this is asked, else one for all devices of the machine.

        The trainer trains with the strategy of the model, so create the model in ``with args.strategy.scope():``. With
        ``tpu_name``, or the variable ``TPU_NAME``, the TPU is initialised when this is read first. With ``TF_CONFIG``
        it is that of several workers, and must be read before anything else is asked of TensorFlow.

        Raises:
            MissingPackageError: TensorFlow is not installed; for Keras 3 on JAX there is ``keras.distribution``.
        """
        check_packages("TFTrainingArguments.strategy", "tensorflow", extra="tf_hfwb[tensorflow]")
        import tensorflow as tf

        if tf.distribute.has_strategy():
            return tf.distribute.get_strategy()
        return default_strategy(self.tpu_name or tpu_of_environment(), self.tpu_zone, self.gcp_project, self.world_size)

    @property
    def n_replicas(self) -> int:
        """The number of devices of :attr:`strategy`, each of which takes a batch of ``per_device_..._batch_size``.

        Where TensorFlow is not installed, 1: the trainer multiplies by the devices of ``keras.distribution`` itself.
        """
        return int(self.strategy.num_replicas_in_sync) if has_tensorflow() else 1

    @property
    def train_batch_size(self) -> int:
        """Samples of a training batch over all devices of :attr:`strategy`."""
        return self.per_device_train_batch_size * self.n_replicas

    @property
    def eval_batch_size(self) -> int:
        """Samples of an evaluation batch over all devices of :attr:`strategy`."""
        return self.per_device_eval_batch_size * self.n_replicas

    @property
    def n_gpu(self) -> int:
        """The number of GPUs of this machine that TensorFlow may use, or Keras's backend where it is not installed."""
        return count_gpus()

    @property
    def device(self) -> str:
        """The first device, as ``tf.device`` takes it: ``"GPU:0"``, ``"TPU:0"`` or ``"CPU:0"``."""
        if (self.tpu_name or tpu_of_environment()) is not None or has_tpu():
            return "TPU:0"
        return "GPU:0" if self.n_gpu else "CPU:0"

    @property
    def parallel_mode(self) -> ParallelMode:
        """The kind of parallelism, as transformers names it: ``args.parallel_mode.value == "distributed"``."""
        from transformers.training_args import ParallelMode

        if self.device == "TPU:0":
            return ParallelMode.TPU
        if self.world_size > 1:
            return ParallelMode.DISTRIBUTED
        return ParallelMode.NOT_DISTRIBUTED if self.n_gpu > 1 else ParallelMode.NOT_PARALLEL
