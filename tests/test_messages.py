"""Good news is information: an ordinary user sees it, and it can be silenced alone."""

from __future__ import annotations

import pytest
from helpers import nightly, python

pytestmark = pytest.mark.core

SCRIPT = """
import logging, sys
root, own = logging.getLogger(), logging.getLogger("tf_hfwb")
before = root.level, list(root.handlers), own.level, list(own.handlers), own.propagate
import tf_hfwb
from tf_hfwb import WandbModelCheckpoint
from tf_hfwb.messages import inform
assert (root.level, root.handlers, own.level, own.handlers, own.propagate) == before
{setup}
inform("good news of %s", "step 5")
own.warning("bad news")
"""
BOTH, ONLY_BAD, NOTHING = ["good news of step 5", "bad news"], ["bad news"], []


@pytest.mark.parametrize(
    ("setup", "expected"),
    [
        ("", BOTH),
        ("own.setLevel(logging.WARNING)", ONLY_BAD),
        nightly("own.setLevel(logging.INFO)", BOTH),
        nightly("root.setLevel(logging.ERROR)", NOTHING),
        ("logging.disable(logging.INFO)", ONLY_BAD),
        ("own.addFilter(lambda record: record.levelno > logging.INFO)", ONLY_BAD),
        nightly("inform('first'); logging.basicConfig(format='%(message)s')", ["first", *ONLY_BAD]),
        ("logging.basicConfig(format='%(levelname)s %(message)s', level=20)", ["INFO " + BOTH[0], "WARNING bad news"]),
        ("own.addHandler(logging.NullHandler())", NOTHING),
        # Colab has configured the root logger, its user has not.
        ("sys.modules['google.colab'] = sys; logging.basicConfig(format='%(message)s')", BOTH),
        nightly(
            "sys.modules['google.colab'] = sys; own.setLevel(30); logging.basicConfig(format='%(message)s')", ONLY_BAD
        ),
    ],
)
def test_who_sees_what(setup, expected):
    ran = python("-W", "ignore", "-c", SCRIPT.format(setup=setup))
    assert ran.stderr.splitlines() == expected
    assert ran.stdout == ""


def test_the_place_is_told_to_those_who_ask_for_it(caplog):
    from tf_hfwb.messages import inform

    with caplog.at_level("INFO", "tf_hfwb"):
        inform("good news of %s", "step 5")
    (record,) = caplog.records
    assert (record.getMessage(), record.levelname, record.name) == ("good news of step 5", "INFO", "tf_hfwb")
    assert record.filename == "test_messages.py"
