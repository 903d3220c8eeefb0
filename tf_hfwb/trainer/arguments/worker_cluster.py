"""The workers of a training on several machines, as the variable ``TF_CONFIG`` names them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass

from tf_hfwb.errors import SettingError


@dataclass(frozen=True)
class WorkerCluster:
    """The workers that train in step, and which of them this process is.

    Attributes:
        addresses: ``host:port`` of each worker, the chief's first; none where this process trains alone.
        index: The number of this process among them; behind the last one for a process of another kind.
    """

    addresses: tuple[str, ...] = ()
    index: int = 0

    @classmethod
    def of_environment(cls, environ: Mapping[str, str] | None = None) -> WorkerCluster:
        """The cluster of this process.

        Args:
            environ: The environment; the process's own when None.

        Raises:
            SettingError: ``TF_CONFIG`` is not what TensorFlow reads there.

        Example:
            >>> config = '{"cluster": {"worker": ["a:1", "a:2"]}, "task": {"type": "worker", "index": 1}}'
            >>> WorkerCluster.of_environment({"TF_CONFIG": config}).index
            1
        """
        text = (os.environ if environ is None else environ).get("TF_CONFIG") or "{}"
        try:
            config = json.loads(text)
            jobs, task = config.get("cluster", {}), config.get("task", {})
            workers = {(job, index): address for job in ("chief", "worker") for index, address in _numbered(jobs, job)}
            own = task.get("type", "worker"), int(task.get("index", 0))
        except (ValueError, TypeError, AttributeError) as error:
            raise SettingError(
                "TF_CONFIG",
                text,
                expected='JSON such as {"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", '
                '"index": 0}}',
                advice="Unset it to train on one machine.",
            ) from error
        index = [*workers].index(own) if own in workers else len(workers)
        return cls(tuple(workers.values()), index)

    @property
    def size(self) -> int:
        """The number of workers, 1 where this process trains alone."""
        return max(1, len(self.addresses))

    @property
    def local_index(self) -> int:
        """The number of this process among the workers of its machine."""
        hosts = [address.rpartition(":")[0] for address in self.addresses]
        return hosts[: self.index].count(hosts[self.index]) if self.index < len(hosts) else self.index


def _numbered(jobs: Mapping[str, list[str]], job: str) -> list[tuple[int, str]]:
    return list(enumerate(map(str, jobs.get(job, []))))
