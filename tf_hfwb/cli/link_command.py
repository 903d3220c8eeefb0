"""``tf-hfwb link``: put a model into the registry."""

from __future__ import annotations

import argparse
from typing import Any


def add_to(commands: Any) -> None:
    """Declare the subcommand.

    Args:
        commands: The subparsers of ``tf-hfwb``.
    """
    parser = commands.add_parser(
        "link",
        help="put a model into the registry",
        description="Put a version of an artifact into a collection of W&B's model registry.",
    )
    parser.add_argument("artifact", help="such as model-my-run:final or entity/project/model-my-run:v3")
    parser.add_argument("collection", help="NAME, or wandb-registry-REGISTRY/NAME")
    parser.add_argument("--alias", action="append", default=[], help="an alias in the collection; may be repeated")
    parser.set_defaults(command=_link)


def _link(arguments: argparse.Namespace) -> int:
    from tf_hfwb.tracking.registry import link_to_registry

    print(link_to_registry(arguments.artifact, arguments.collection, arguments.alias))
    return 0
