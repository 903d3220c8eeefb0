"""On which devices and by which workers a model is trained, as its distribution strategy says."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from tf_hfwb.keras_compat.worker_agreement import WAIT, compare_workers


class DistributedModel:
    """A model and the distribution strategy that it was created in, if any.

    Attributes:
        model: The model.
    """

    def __init__(self, model: Any) -> None:
        self.model = model

    @property
    def num_replicas(self) -> int:
        """Number of replicas that train in step."""
        return self._strategy.num_replicas_in_sync if self._strategy is not None else 1

    @property
    def needs_equal_shards(self) -> bool:
        """Whether each batch must have a number of samples that the replicas can divide."""
        return False

    @property
    def is_chief(self) -> bool:
        """Whether this process reports for all workers."""
        resolver = getattr(self._strategy, "cluster_resolver", None)
        if resolver is None or resolver.task_type is None:
            return True
        if resolver.task_type == "worker" and "chief" not in resolver.cluster_spec().jobs:
            return resolver.task_id == 0
        return resolver.task_type == "chief"

    @property
    def is_multi_worker(self) -> bool:
        """Whether other processes train in step with this one."""
        resolver = getattr(self._strategy, "cluster_resolver", None)
        if resolver is None:
            return False
        jobs = resolver.cluster_spec().as_dict()
        return len(jobs.get("chief", ())) + len(jobs.get("worker", ())) > 1

    def compare_workers(self, facts: Mapping[str, Any], seconds: float = WAIT) -> None:
        """Wait for the other workers, and compare what they are about to do; nothing where there are none.

        Args:
            facts: What must be the same on all of them, by its name, as JSON has it.
            seconds: How long to wait.

        Raises:
            WorkerError: Another worker differs, or does not come in time.
        """
        if not self.is_multi_worker:
            return
        resolver = self._strategy.cluster_resolver
        jobs = resolver.cluster_spec().as_dict()
        workers = [(job, task) for job in ("chief", "worker") for task in range(len(jobs.get(job, ())))]
        addresses = [str(jobs[job][task]) for job, task in workers]
        compare_workers(addresses, workers.index((resolver.task_type, resolver.task_id)), facts, seconds)

    def scope(self) -> Any:
        """The scope in which variables of the model's distribution are created."""
        return contextlib.nullcontext() if self._strategy is None else self._strategy.scope()

    @property
    def is_on_tpu(self) -> bool:
        """Whether the model was created for a TPU."""
        if self._strategy is None:
            return False
        import tensorflow as tf

        strategies = (tf.distribute.TPUStrategy, tf.distribute.experimental.TPUStrategy)
        return isinstance(self._strategy, strategies)

    @property
    def _strategy(self) -> Any:
        return getattr(self.model, "distribute_strategy", None)
