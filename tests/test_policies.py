"""Decisions without effects."""

from __future__ import annotations

import itertools
import math

import pytest

from tf_hfwb.step_policies import EverySteps, Never, Once, higher_is_better, is_better

pytestmark = pytest.mark.core


def met(policy, boundaries) -> list[int]:
    """The boundaries between executions at which the policy is due."""
    return [now for before, now in itertools.pairwise(boundaries) if (policy.next_due(before) or math.inf) <= now]


@pytest.mark.parametrize("stride", [1, 3, 4, 7, 50])
def test_every_multiple_is_met_once_at_the_first_boundary_at_or_after_it(stride):
    boundaries = range(0, 1000, stride)
    expected = sorted({-(-multiple // stride) * stride for multiple in range(10, 1000, 10)})
    assert met(EverySteps(10), boundaries) == [boundary for boundary in expected if boundary <= boundaries[-1]]


def test_first():
    assert met(EverySteps(10, first=True), range(25)) == [1, 10, 20]
    assert met(EverySteps(10), range(25)) == [10, 20]
    assert met(Once(1), range(25)) == [1]
    assert met(Never(), range(25)) == []


LOWER = """
    loss val_loss eval/loss mae val_rmse eval/perplexity eval/wer val_sparse_categorical_crossentropy cross_entropy
    hinge eval/nll eval/brier_score bits_per_byte val_false_positives false_negative_rate edit_distance ter val_deviance
    negative_log_likelihood hamming_loss BinaryCrossentropy FalsePositives log_loss eval/ece
"""
HIGHER = """
    accuracy eval/f1 val_auc eval/bleu eval/power matthews_correlation neg_mean_squared_error log_likelihood
    true_negatives precision_at_k eval/terminal samples_per_second cosine_similarity TopKCategoricalAccuracy lossless
    explained_variance
"""


@pytest.mark.parametrize("name", LOWER.split())
def test_lower_is_better(name):
    assert not higher_is_better(name)


@pytest.mark.parametrize("name", HIGHER.split())
def test_higher_is_better(name):
    assert higher_is_better(name)


def test_better():
    assert is_better(0.0, None, higher=True)
    assert is_better(-1.0, 0.0, higher=False)
    assert not is_better(0.0, 0.0, higher=True)
    assert not is_better(math.nan, None, higher=True)
    assert is_better(math.inf, 1.0, higher=True)
