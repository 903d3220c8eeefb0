"""A W&B server on the loopback interface, for tests that run the real client against it.

Enough of the protocol of wandb 0.31 for runs, artifacts, links, the public API and ``wandb sync``, and it misbehaves
on command. No test needs an account or the network::

    with WandbServer() as server:
        run_a_training(env={**os.environ, **server.environment()})
        assert server.runs["my-run"].history[-1]["train/loss"] < 1
        assert server.collection("my-model").versions[0].aliases == ["latest"]
        assert not server.unknown

``state`` is the data; ``graphql``, ``run_operations`` and ``artifact_operations`` answer for it; ``http`` is transport
and faults.
"""

from .http import Request, WandbServer
from .state import Artifact, Collection, Project, Run, Version

__all__ = ["WandbServer", "Request", "Project", "Run", "Artifact", "Collection", "Version"]
