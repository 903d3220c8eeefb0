"""Settings of all tests, and what several of them use."""

from __future__ import annotations

import gc
import importlib.util
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["RAY_AUTH_MODE"] = "disabled"  # Its token is in the home directory, and each test has another one.

import pytest

pytest_plugins = ("clean_world", "time_limit")
# They run where PyTorch is, or are programs that set variables of their process.
collect_ignore = ["pytorch_trainer.py", "torch_training.py", "gpu/jax_checks.py", "gpu/tensorflow_checks.py"]

ENVIRONMENTS = ("core", "keras3", "torch")  # Marks of files that run where not all packages are installed.

gc.set_threshold(10_000)  # Graphs of TensorFlow are many objects, which stay.


def pytest_ignore_collect(collection_path, config):
    """``-m core`` does not even import the other files: they ask for packages that may not be there."""
    chosen = [mark for mark in ENVIRONMENTS if mark in config.option.markexpr]
    if not chosen or collection_path.suffix != ".py" or collection_path.name == "conftest.py":
        return None
    text = collection_path.read_text(encoding="utf-8")
    return True if not any(f"mark.{mark}" in text for mark in chosen) else None


def pytest_collection_modifyitems(items):
    """Variants for tf_keras are skipped where it is not installed."""
    if importlib.util.find_spec("tf_keras") is None:
        for item in items:
            params = getattr(getattr(item, "callspec", None), "params", {})
            if any(isinstance(value, str) and value == "tf_keras" for value in params.values()):
                item.add_marker(pytest.mark.skip(reason="tf_keras is not installed"))


def pytest_collection_finish():
    if sys.version_info[:2] != (3, 12):  # The collector of 3.12.1 crashes afterwards.
        gc.freeze()  # TensorFlow, Keras and transformers, which tests import, are not looked through again.


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers():
    """Of ``-n auto``: one more than cores, since tests also wait, for the W&B client's service and for processes."""
    return (os.cpu_count() or 1) + 1


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """A file is the work of one process, so that what its tests share is made once; the long ones come first."""
    from xdist.scheduler import LoadFileScheduling

    config.option.loadscopereorder = False
    return LoadFileScheduling(config, log)


@pytest.fixture
def real_signals():
    """For tests that send signals to their own process: an exception in a callback of the garbage collector is lost.

    Hypothesis has such a callback, from the first test of its own in the process.
    """
    callbacks = gc.callbacks[:]
    gc.callbacks.clear()
    yield
    gc.callbacks[:] = callbacks


@pytest.fixture(autouse=True)
def no_determinism_is_left():
    """``full_determinism`` holds for the process: data would not be prefetched in later tests, nor XLA be as it is."""
    yield
    if "tensorflow" in sys.modules:
        from tensorflow.python.framework import config

        if config.is_op_determinism_enabled():
            config.disable_op_determinism()


@pytest.fixture(scope="session")
def launcher():
    """Runs scripts in processes of their own that have imported TensorFlow already."""
    from forking import Launcher

    with Launcher() as launcher:
        yield launcher


@pytest.fixture
def server(monkeypatch):
    """A W&B server that this process talks to. It answers while the client says goodbye, and was never surprised."""
    import wandb
    from wandb_server import WandbServer

    from tf_hfwb.tracking import current_tracker

    with WandbServer() as running:
        for name, value in running.environment().items():
            monkeypatch.setenv(name, value)
        yield running
        running.recover()
        running.come_up()
        current_tracker().finish()
        if wandb.run is not None:
            wandb.finish()
        wandb.teardown()
        assert (running.unknown, running.errors) == ([], [])
