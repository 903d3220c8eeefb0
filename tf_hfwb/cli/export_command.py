"""``tf-hfwb export``: write a model for TensorFlow Serving or PyTorch."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any

from tf_hfwb.errors import SettingError

# Options that mean nothing for PyTorch; "--custom_object" neither: its format is for models of transformers alone.
_FOR_SERVING = (
    *("version", "max_length", "max_new_tokens", "text", "accept_tokenizer_differences"),
    *("artifact_name", "alias", "link_to_registry", "custom_object"),
)


def add_to(commands: Any) -> None:
    """Declare the subcommand.

    Args:
        commands: The subparsers of ``tf-hfwb``.
    """
    parser = commands.add_parser(
        "export",
        help="write a model for TensorFlow Serving or PyTorch",
        description="Write a model, with its tokenizer, as a version that TensorFlow Serving runs, or as a directory "
        "that transformers on PyTorch loads.",
    )
    parser.add_argument("source", help="a checkpoint's directory, or an artifact's name, such as model-my-run:final")
    parser.add_argument("directory", help="where to; made if it is not there. For serving, the version goes below it")
    parser.add_argument("--to", choices=("serving", "pytorch"), default="serving", help="the format (serving)")
    parser.add_argument(
        "--no_safe_mode",
        action="store_false",
        dest="safe_mode",
        help="load a plain Keras model with whatever it names, and run its lambdas: for a source you trust",
    )
    parser.add_argument(
        "--custom_object",
        action="append",
        default=[],
        metavar="MODULE:NAME",
        help="a class or function of yours that a plain Keras model has in it, such as my_layers:Scale; the module is "
        "imported, also from the current directory; may be repeated",
    )
    _add_serving_options(parser)
    parser.set_defaults(command=_export)


def _add_serving_options(parser: argparse.ArgumentParser) -> None:
    serving = parser.add_argument_group("for serving")
    serving.add_argument("--version", type=int, help="the version's number; the next free one by default")
    serving.add_argument("--max_length", type=int, help="cut texts to so many tokens; what the model allows by default")
    serving.add_argument("--max_new_tokens", type=int, help="the most tokens that generate adds; 0 for no generate")
    serving.add_argument(
        "--text", action="append", default=[], help="also compare the tokenizer's ids for this text; may be repeated"
    )
    serving.add_argument(
        "--accept_tokenizer_differences", action="store_true", help="publish although ids differ for some text"
    )
    serving.add_argument("--artifact_name", help="log the version as the artifact servable-NAME on W&B")
    serving.add_argument("--alias", action="append", default=[], help="an alias of that artifact; may be repeated")
    serving.add_argument("--link_to_registry", metavar="COLLECTION", help="put that artifact into the model registry")


def _export(arguments: argparse.Namespace) -> int:
    return _export_for_serving(arguments) if arguments.to == "serving" else _export_to_pytorch(arguments)


def _export_for_serving(arguments: argparse.Namespace) -> int:
    from tf_hfwb.serving.export import export_for_serving
    from tf_hfwb.tracking import current_tracker

    path = export_for_serving(
        arguments.source,
        arguments.directory,
        version=arguments.version,
        max_length=arguments.max_length,
        max_new_tokens=arguments.max_new_tokens,
        sample_texts=arguments.text,
        accept_tokenizer_differences=arguments.accept_tokenizer_differences,
        safe_mode=arguments.safe_mode,
        custom_objects=_import_custom_objects(arguments.custom_object),
        artifact_name=arguments.artifact_name,
        aliases=arguments.alias,
        link_to_registry=arguments.link_to_registry,
    )
    tracker = current_tracker()
    tracker.finish()  # Waits for the upload.
    print(path)
    missing = tracker.uploads.missing()
    for upload in missing:
        print(f"error: {upload.name} could not be logged; the version itself is whole: {path}", file=sys.stderr)
    return 1 if missing else 0


def _export_to_pytorch(arguments: argparse.Namespace) -> int:
    from tf_hfwb.models.pytorch_format import save_pytorch_format
    from tf_hfwb.resume.load_model import load_model
    from tf_hfwb.resume.load_processing import load_processing

    for name in _FOR_SERVING:
        value = getattr(arguments, name)
        if value is not None and value is not False and value != []:  # A 0 is an option that was given.
            raise SettingError(f"--{name}", value, expected="nothing with --to pytorch", advice="Leave it out.")
    model = load_model(arguments.source, safe_mode=arguments.safe_mode)
    print(save_pytorch_format(model, arguments.directory, processing_class=load_processing(arguments.source)))
    return 0


def _import_custom_objects(references: Sequence[str]) -> dict[str, Any] | None:
    """The objects that MODULE:NAME means, by name; None without any."""
    found = {}
    for reference in references:
        module, _, name = reference.partition(":")
        sys.path.insert(0, os.getcwd())  # The installed command does not look there, as python -m does.
        try:
            found[name] = getattr(importlib.import_module(module), name)
        except Exception as error:  # The module is the user's, and can raise anything.
            raise SettingError(
                "--custom_object",
                reference,
                expected="MODULE:NAME of a class or function that can be imported",
                advice=f"{type(error).__name__}: {error}. Correct the name, or call this where the module is.",
            ) from error
        finally:
            sys.path.remove(os.getcwd())
    return found or None
