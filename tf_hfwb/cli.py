"""The command ``tf-hfwb``. Each subcommand imports what it needs when it runs."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import tf_hfwb
from tf_hfwb.errors import TFHFWBError
from tf_hfwb.masking import masked_text

_FOR_SERVING = (
    *("version", "max_length", "max_new_tokens", "text", "accept_tokenizer_differences"),
    *("artifact_name", "alias", "link_to_registry"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="tf-hfwb", description="Weights & Biases for Hugging Face models in TensorFlow and Keras."
    )
    parser.add_argument("--version", action="version", version=f"tf-hfwb {tf_hfwb.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    parser.set_defaults(command=None)
    show = commands.add_parser(
        "show",
        help="look at a local run",
        description="Open a local run in W&B's terminal dashboard; print its summary when there is no terminal.",
    )
    show.add_argument("run", nargs="?", help="a run's folder; the latest one below ./wandb by default")
    show.add_argument("--json", action="store_true", help="print the summary as JSON")
    show.set_defaults(command=_show)
    listing = commands.add_parser(
        "checkpoints",
        help="list checkpoints, here and on W&B",
        description="List the checkpoints of a directory, or of an artifact, on this machine and on W&B side by side.",
    )
    listing.add_argument(
        "source",
        nargs="?",
        default=".",
        help="a directory with checkpoint-STEP in it (the current one by default), "
        "or an artifact's name, such as checkpoint-my-run",
    )
    listing.add_argument("--json", action="store_true", help="print JSON")
    listing.set_defaults(command=_checkpoints)
    link = commands.add_parser(
        "link",
        help="put a model into the registry",
        description="Put a version of an artifact into a collection of W&B's model registry.",
    )
    link.add_argument("artifact", help="such as model-my-run:final or entity/project/model-my-run:v3")
    link.add_argument("collection", help="NAME, or wandb-registry-REGISTRY/NAME")
    link.add_argument("--alias", action="append", default=[], help="an alias in the collection; may be repeated")
    link.set_defaults(command=_link)
    export = commands.add_parser(
        "export",
        help="write a model for TensorFlow Serving or PyTorch",
        description="Write a model, with its tokenizer, as a version that TensorFlow Serving runs, or as a directory "
        "that transformers on PyTorch loads.",
    )
    export.add_argument("source", help="a checkpoint's directory, or an artifact's name, such as model-my-run:final")
    export.add_argument("directory", help="where to; made if it is not there. For serving, the version goes below it")
    export.add_argument("--to", choices=("serving", "pytorch"), default="serving", help="the format (serving)")
    export.add_argument(
        "--no_safe_mode",
        action="store_false",
        dest="safe_mode",
        help="load a plain Keras model with whatever it names, and run its lambdas: for a source you trust",
    )
    export.add_argument(
        "--custom_object",
        action="append",
        default=[],
        metavar="MODULE:NAME",
        help="a class or function of yours that a plain Keras model has in it, such as my_layers:Scale; the module is "
        "imported, also from the current directory; may be repeated",
    )
    serving = export.add_argument_group("for serving")
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
    export.set_defaults(command=_export)
    sync = commands.add_parser(
        "sync",
        help="upload what is not on W&B yet",
        description="Bring to W&B what it lacks of a run, after an outage or of an offline run: rows, checkpoints, the "
        "model. A run that was resumed has several folders; those that lie together are found.",
    )
    sync.add_argument(
        "run",
        nargs="+",
        help="a folder of the run, such as wandb/run-DATE-ID; all of them, and files of rows, if they lie apart",
    )
    sync.set_defaults(command=_sync)
    arguments = parser.parse_args(argv)
    if arguments.command is None:
        parser.print_help()
        return 0
    try:
        return arguments.command(arguments)
    except (TFHFWBError, OSError) as error:
        print(f"error: {masked_text(str(error))}", file=sys.stderr)
        return 1


def _checkpoints(arguments: argparse.Namespace) -> int:
    import dataclasses

    from tf_hfwb.json_text import dumps
    from tf_hfwb.resume.checkpoint_listing import checkpoints

    listed = checkpoints(arguments.source)
    status = 1 if all(one.damage for one in listed) else 0
    if arguments.json:
        print(dumps([dataclasses.asdict(one) for one in listed], indent=2))
        return status
    import rich.box
    import rich.console
    import rich.filesize
    import rich.table

    artifacts = dict.fromkeys(one.version.rpartition(":")[0] for one in listed if one.version)
    caption = _text(f"on W&B: {', '.join(artifacts)}") if artifacts else None
    table = rich.table.Table(box=rich.box.SIMPLE_HEAD, caption=caption)
    for name, justify in (("step", "right"), ("epoch", "right"), ("metrics", "left"), ("size", "right")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for name in ("aliases", "here", "on W&B"):
        table.add_column(name, overflow="fold")
    for one in listed:
        metrics = "  ".join(f"{name} {value:.4g}" for name, value in one.metrics.items() if isinstance(value, float))
        version = one.version or ""
        cells = (
            str(one.step),
            "" if one.epoch is None else f"{one.epoch:.2f}",
            "damaged, see below" if one.damage else metrics,
            "" if one.size is None else rich.filesize.decimal(one.size),
            " ".join(alias for alias in one.aliases if not alias.startswith(("step-", "epoch-"))),
            "" if one.path is None else os.path.relpath(one.path),
            version.rpartition(":")[2] if len(artifacts) == 1 else version,
        )
        table.add_row(*map(_text, cells))
    console = rich.console.Console()
    console.print(table)
    for one in listed:
        if one.damage:
            console.print(_text(one.damage), soft_wrap=True)
    return status


def _text(words: str) -> Any:
    """Words that others chose, for a terminal: no markup, and nothing that moves the cursor."""
    import rich.text

    return rich.text.Text("".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in words))


def _link(arguments: argparse.Namespace) -> int:
    from tf_hfwb.tracking.registry import link_to_registry

    print(link_to_registry(arguments.artifact, arguments.collection, arguments.alias))
    return 0


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
        custom_objects=_custom_objects(arguments.custom_object),
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


def _custom_objects(names: Sequence[str]) -> dict[str, Any] | None:
    """The objects that MODULE:NAME means, by name; None for no names."""
    import importlib

    from tf_hfwb.errors import SettingError

    found = {}
    for one in names:
        module, _, name = one.partition(":")
        sys.path.insert(0, os.getcwd())  # The installed command does not look there, as python -m does.
        try:
            found[name] = getattr(importlib.import_module(module), name)
        except Exception as error:  # The module is the user's, and can raise anything.
            raise SettingError(
                "--custom_object",
                one,
                expected="MODULE:NAME of a class or function that can be imported",
                advice=f"{type(error).__name__}: {error}. Correct the name, or call this where the module is.",
            ) from error
        finally:
            sys.path.remove(os.getcwd())
    return found or None


def _export_to_pytorch(arguments: argparse.Namespace) -> int:
    from tf_hfwb.errors import SettingError
    from tf_hfwb.models.pytorch_format import save_pytorch_format
    from tf_hfwb.resume.load_model import load_model
    from tf_hfwb.resume.load_processing import load_processing

    for name in _FOR_SERVING:
        if getattr(arguments, name) not in (None, False, []):
            raise SettingError(
                f"--{name}", getattr(arguments, name), expected="nothing with --to pytorch", advice="Leave it out."
            )
    if arguments.custom_object:  # PyTorch's format is for models of transformers alone.
        raise SettingError(
            "--custom_object", arguments.custom_object, expected="nothing with --to pytorch", advice="Leave it out."
        )
    model = load_model(arguments.source, safe_mode=arguments.safe_mode)
    print(save_pytorch_format(model, arguments.directory, processing_class=load_processing(arguments.source)))
    return 0


def _sync(arguments: argparse.Namespace) -> int:
    from tf_hfwb.tracking.sync import sync

    done = sync(*arguments.run)
    print(f"{done.run_path}: {done.rows} rows and {len(done.artifacts)} artifacts uploaded")
    for path in done.skipped:
        print(f"not uploaded: {path}. W&B has newer versions, and would take it for the latest.")
    for path in done.missing:
        print(f"error: {path} could not be uploaded", file=sys.stderr)
    return 1 if done.missing else 0


def _show(arguments: argparse.Namespace) -> int:
    path = arguments.run or os.path.join("wandb", "latest-run")
    if not os.path.exists(path):
        print(
            f"error: there is no run at {path!r}. Expected the folder of a run, such as wandb/offline-run-DATE-ID. "
            "Name it, or call this where the run was started.",
            file=sys.stderr,
        )
        return 2
    from tf_hfwb.json_text import dumps
    from tf_hfwb.tracking.sync import LocalRun

    leet = [sys.executable, "-m", "wandb", "leet"]
    run = LocalRun.find(path)
    if sys.stdout.isatty() and not arguments.json:
        if len(run.folders) > 1:
            print(f"This run has {len(run.folders)} folders; the dashboard shows the rows of {run.folders[-1]}.")
        return subprocess.call([*leet, "run", path if len(run.folders) == 1 else run.folders[-1]])
    if len(run.folders) == 1:
        return subprocess.call([*leet, "inspect", "--summary", *(["--json"] if arguments.json else []), path])
    facts = {**run.facts, "folders": run.folders}
    if arguments.json:
        print(dumps(facts, indent=2))
        return 0
    for name in ("run_id", "name", "project", "state", "exit_code", "start_time", "step"):
        print(f"{name:<11} {facts.get(name, '')}")
    for folder in run.folders:
        print(f"{'folder':<11} {folder}")
    print("\nsummary")
    for name, value in sorted(facts["summary"].items()):
        print(f"  {name:<24} {value}")
    return 0
