"""What scripts ask the arguments about processes: which one is this, what does it log, who goes first."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import pathlib
from collections.abc import Iterator

import filelock

from tf_hfwb.errors import SettingError
from tf_hfwb.trainer.arguments.argument_fields import ArgumentFields
from tf_hfwb.trainer.arguments.worker_cluster import WorkerCluster

_logger = logging.getLogger("tf_hfwb")


class WorkerMembers(ArgumentFields):
    """The processes of a training.

    TensorFlow has one process for all devices of a machine, so that there are several only where ``TF_CONFIG`` names
    several workers.
    """

    @property
    def world_size(self) -> int:
        """The number of processes that train in step."""
        return WorkerCluster.of_environment().size

    @property
    def process_index(self) -> int:
        """The number of this process; 0 is the chief, which reports and saves."""
        return WorkerCluster.of_environment().index

    @property
    def local_process_index(self) -> int:
        """The number of this process among those of its machine."""
        return WorkerCluster.of_environment().local_index

    @property
    def should_log(self) -> bool:
        """Whether this process logs as the main one: the first one of each machine, or only that of the first."""
        return (self.local_process_index if self.log_on_each_node else self.process_index) == 0

    @property
    def should_save(self) -> bool:
        """Whether this process writes models and checkpoints."""
        return self.process_index == 0

    def get_process_log_level(self) -> int:
        """The level of logging of this process, as a number of the module ``logging``.

        It is that of ``log_level`` where :attr:`should_log` is true, else that of ``log_level_replica``. ``"passive"``
        is the level that transformers' loggers have.
        """
        from transformers.utils import logging as library_logging

        word = self.log_level if self.should_log else self.log_level_replica
        if word == "passive":
            return library_logging.get_verbosity()
        return library_logging.get_log_levels_dict()[word]

    @contextlib.contextmanager
    def main_process_first(self, local: bool = True, desc: str = "work") -> Iterator[None]:
        """Let the workers of a machine run a block one at a time, so that the others find what the first has cached.

        With one process, which is the rule, this does nothing. Several take turns in the order in which they come, so
        a block must do the same in each of them, as ``dataset.map`` does. Workers of different machines do not wait
        for each other.

        Args:
            local: False asks for turns over all machines, which are refused.
            desc: What the block does, for the log.

        Raises:
            SettingError: ``local=False`` with workers on several machines.
        """
        cluster = WorkerCluster.of_environment()
        if cluster.size == 1:
            yield
            return
        hosts = {address.rpartition(":")[0] for address in cluster.addresses}
        if not local and len(hosts) > 1:
            raise SettingError(
                "local",
                False,
                expected=f"True, with workers on {len(hosts)} machines: they cannot wait for each other here",
                advice="Let each machine do it, or do it in a script of its own before.",
            )
        folder = pathlib.Path("~/.cache/tf_hfwb").expanduser()
        folder.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256("\n".join(cluster.addresses).encode()).hexdigest()
        _logger.debug("Worker %d waits for its turn: %s.", cluster.index, desc)
        with filelock.FileLock(folder / f"workers-{digest[:16]}.lock"):
            yield
        _logger.debug("Worker %d has had its turn: %s.", cluster.index, desc)


def take_local_rank(args: WorkerMembers) -> None:
    """Set ``local_rank`` as scripts read it: -1 with one process, else the number of the process on its machine.

    Raises:
        SettingError: Another number was given, as PyTorch's launcher does for each of its processes.
    """
    own = args.local_process_index if args.world_size > 1 else -1
    if args.local_rank not in (-1, own):
        raise SettingError(
            "local_rank",
            args.local_rank,
            expected=f"{own}: TensorFlow has one process for all devices of a machine",
            advice="Start one process without torchrun, and create the model in the scope of args.strategy.",
        )
    args.local_rank = own


def set_log_levels(args: WorkerMembers) -> None:
    """Give the loggers of transformers and of this package the level that the arguments ask for, if they ask."""
    from transformers.utils import logging as library_logging

    level = args.get_process_log_level()
    if (args.log_level if args.should_log else args.log_level_replica) != "passive":
        library_logging.set_verbosity(level)
        _logger.setLevel(level)
