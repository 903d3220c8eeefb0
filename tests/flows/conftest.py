"""Trainings in processes of their own, for each file of tests."""

from __future__ import annotations

import pytest
from trainings import Trainings

collect_ignore = ["search_memory.py", "searching.py"]  # Scripts, which read their command line.


@pytest.fixture(scope="module")
def trainings(launcher, tmp_path_factory):
    return Trainings(launcher, tmp_path_factory.mktemp("straight"))
