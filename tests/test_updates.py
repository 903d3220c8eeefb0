"""Each optimizer against the formulas of PyTorch, and against PyTorch itself where it is at hand."""

from __future__ import annotations

import importlib
import json
import os
import pathlib
import subprocess

import numpy as np
import pytest
from helpers import KERASES, needs, nightly, python
from updates_by_hand import (
    CASES,
    DECAYING,
    STEPS,
    Case,
    gradients,
    initial_values,
    largest_difference,
    to_pytorch,
    to_tensorflow,
    trained,
    trained_by_hand,
)

from tf_hfwb.errors import SettingError, UnsupportedVersionError
from tf_hfwb.keras_compat import keras3_private, tf_keras_private
from tf_hfwb.keras_compat.optimizers.update_rule import one_minus_power
from tf_hfwb.trainer.optimization.optimizer_names import OPTIMIZERS, REFUSED, parse_optimizer

pytestmark = pytest.mark.keras3

HERE = pathlib.Path(__file__).parent


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("package", KERASES)
def test_updates_are_those_of_the_formulas(package, case):
    difference, name = largest_difference(trained(package, CASES[case]), trained_by_hand(case))
    assert difference < 1, name


ON_JAX = f"""
import sys
sys.path.insert(0, {str(HERE)!r})
import keras
from updates_by_hand import CASES, largest_difference, trained, trained_by_hand
for case in CASES:
    difference, name = largest_difference(trained("keras", CASES[case]), trained_by_hand(case))
    assert difference < 1, (case, name, difference)
difference, name = largest_difference(
    trained("keras", CASES["sgd"], limit=1e-5), trained_by_hand("sgd", limit=1e-5)
)
assert difference < 1, (name, difference)
print(keras.backend.backend())
"""


@pytest.mark.nightly
def test_updates_on_jax():
    assert python("-c", ON_JAX, KERAS_BACKEND="jax").stdout.split()[-1] == "jax"


@pytest.mark.parametrize("case", ["adamw", "sgd_momentum", "adafactor"])
@pytest.mark.parametrize("package", KERASES)
def test_slices_of_an_embedding_update_it_as_a_whole(package, case):
    """Rows without a gradient go on by their momentum and decay; those that are there twice are added up first."""
    found = trained(package, CASES[case], slices=True)
    difference, name = largest_difference(found, trained_by_hand(case))
    assert difference < 1, name


@pytest.mark.parametrize("limit", [1e-5, 1e-3])
@pytest.mark.parametrize("package", KERASES)
def test_gradients_are_clipped_to_the_norm_of_whole_tensors(package, limit):
    """To 1e-5 they are clipped, where the small number that PyTorch adds to the norm counts; to 1e-3 they are not."""
    found = trained(package, CASES["sgd"], slices=True, limit=limit)
    difference, name = largest_difference(found, trained_by_hand("sgd", limit=limit))
    assert difference < 1, name
    is_clipped = largest_difference(found, trained_by_hand("sgd"))[0] > 1
    assert is_clipped == (limit == 1e-5)


@pytest.mark.parametrize("package", KERASES)
def test_the_first_corrections_are_as_exact_as_float32_can_be(package):
    ops = importlib.import_module("keras").ops if package == "keras" else importlib.import_module("tensorflow").math
    for step in (1, 2, 3, 1000, 100_000):
        expected = 1 - 0.999**step  # In float32 the first one would be off by 1e-5 of itself.
        assert float(one_minus_power(ops, 0.999, np.float32(step))) == pytest.approx(expected, rel=3e-7), step
    assert one_minus_power(ops, 0.0, np.float32(1)) == 1.0


IN_PYTORCH = """
import json, sys
import numpy as np, torch, transformers
cases, source, target = json.loads(sys.argv[1]), sys.argv[2], sys.argv[3]
arrays, results = dict(np.load(source)), {}
names, decaying = json.loads(sys.argv[4])
for case, (decay, make, rates) in cases.items():
    parameters = {name: torch.nn.Parameter(torch.tensor(arrays[f"value/{name}"].copy())) for name in names}
    groups = [
        {"params": [parameters[name] for name in names if name in decaying], "weight_decay": decay},
        {"params": [parameters[name] for name in names if name not in decaying], "weight_decay": 0.0},
    ]
    optimizer = eval(make)
    for step, rate in enumerate(rates):
        for name, parameter in parameters.items():
            parameter.grad = torch.tensor(arrays[f"{step}/{name}"].copy())
        torch.nn.utils.clip_grad_norm_(parameters.values(), 1e-5 if case == "clipped" else 1e9)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
    results |= {f"{case}:{name}": parameter.detach().numpy() for name, parameter in parameters.items()}
np.savez(target, **results)
"""


@pytest.fixture(scope="module")
def of_pytorch(tmp_path_factory):
    """The values after all steps of each case, by PyTorch."""
    interpreter = os.environ.get("TF_HFWB_TORCH_PYTHON")
    if not interpreter:
        pytest.skip("TF_HFWB_TORCH_PYTHON names no Python with PyTorch and transformers 5")
    folder = tmp_path_factory.mktemp("updates")
    arrays = {f"value/{name}": to_pytorch(name, value) for name, value in initial_values().items()}
    for step in range(STEPS):
        arrays |= {f"{step}/{name}": to_pytorch(name, gradient) for name, gradient in gradients(step).items()}
    np.savez(folder / "source.npz", **arrays)
    cases = {name: (case.decay, case.pytorch, case.rates) for name, case in CASES.items()}
    cases["clipped"] = cases["sgd"]
    wanted = [json.dumps(cases), folder / "source.npz", folder / "target.npz"]
    names = json.dumps([list(initial_values()), sorted(DECAYING)])
    ended = subprocess.run([interpreter, "-c", IN_PYTORCH, *wanted, names], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-3000:]
    with np.load(folder / "target.npz") as results:
        return {key: to_tensorflow(key.partition(":")[2], results[key]) for key in results}


@pytest.mark.slow
@pytest.mark.parametrize("package", ["keras", nightly("tf_keras")])
@pytest.mark.parametrize("case", [*CASES, "clipped"])
def test_pytorch_comes_to_the_same_weights(of_pytorch, package, case):
    expected = {name: of_pytorch[f"{case}:{name}"] for name in initial_values()}
    is_clipped = case == "clipped"
    found = trained(package, CASES["sgd" if is_clipped else case], limit=1e-5 if is_clipped else 0.0)
    difference, name = largest_difference(found, expected)
    assert difference < 1, name


@pytest.mark.parametrize("package", KERASES)
def test_lion_moves_each_weight_by_the_rate(package):
    """By the sign of the mean of the gradients before it and its own; bitsandbytes needs a GPU to be compared with."""
    case = Case({"adam_beta1": 0.8, "adam_beta2": 0.9, "weight_decay": 0.3}, "")
    values = {name: value.astype("float64") for name, value in initial_values().items()}
    means = {name: 0.0 * value for name, value in values.items()}
    for step in range(STEPS):
        for name, gradient in gradients(step).items():
            decay = 0.3 if name in DECAYING else 0.0
            direction = np.sign(0.8 * means[name] + 0.2 * gradient.astype("float64"))
            values[name] = values[name] * (1 - case.rates[step] * decay) - case.rates[step] * direction
            means[name] = 0.9 * means[name] + 0.1 * gradient
    for optim in ("lion_32bit", "lion"):
        difference, name = largest_difference(trained(package, Case({**case.options, "optim": optim}, "")), values)
        assert difference < 1, name


@pytest.mark.parametrize("package", KERASES)
def test_lamb_is_that_of_keras(package):
    """Keras 3 has it; epsilon counts little here."""
    keras = importlib.import_module("keras")
    case = Case({"optim": "lamb", "adam_beta1": 0.8, "adam_beta2": 0.9, "adam_epsilon": 1e-12}, "")
    variables = {name: keras.Variable(value, name=name.replace("/", "_")) for name, value in initial_values().items()}
    optimizer = keras.optimizers.Lamb(1.0, beta_1=0.8, beta_2=0.9, epsilon=1e-12)
    for step in range(STEPS):
        optimizer.learning_rate = case.rates[step]
        optimizer.apply_gradients([(keras.ops.array(g), variables[name]) for name, g in gradients(step).items()])
    found = trained(package, case)
    for name, variable in variables.items():
        np.testing.assert_allclose(found[name], np.asarray(variable), rtol=1e-4, atol=1e-6, err_msg=name)


@needs("tf_keras")
def test_every_optimizer_of_transformers_is_known():
    from transformers.training_args import OptimizerNames

    names = {name.value for name in OptimizerNames}
    assert names - OPTIMIZERS.keys() - REFUSED.keys() == set()
    assert not OPTIMIZERS.keys() & REFUSED.keys()
    assert OPTIMIZERS.keys() | REFUSED.keys() == names | {"adamw_hf", "lion", "lamb"}
    assert {refused.instead for refused in REFUSED.values()} <= OPTIMIZERS.keys()


def test_the_table_needs_neither_tensorflow_nor_keras():
    code = "import sys, tf_hfwb.trainer.optimization.optimizer_names; print({'tensorflow', 'keras'} & set(sys.modules))"
    assert python("-c", code).stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("optim", "optim_args", "message"),
    [
        ("adamw_8bit", None, "adamw_8bit.*one of adamw_torch.*few bits.*optim='adafactor'"),
        ("paged_lion_32bit", None, "bitsandbytes.*lion_32bit"),
        ("adam", None, "'adam' is not recognised.*'adamw_torch'"),
        (3, None, "optim=3"),
        ("sgd", "momentum", r"momentum=\.\.\.,dampening=\.\.\.,nesterov=\.\.\. with optim='sgd'.*'momentum'"),
        ("sgd", "mass=1", "'mass=1'"),
        ("sgd", "momentum=0.9,momentum=0.8", "each once"),
        ("sgd", "momentum=0.9,", "there is ''"),
        ("sgd", "momentum=high", "a number, 0 or more, as momentum"),
        ("sgd", "momentum=nan", "a number, 0 or more, as momentum"),
        ("sgd", "momentum=-1", "a number, 0 or more, as momentum"),
        ("sgd", "momentum=0.9,nesterov=maybe", "True or False, as nesterov"),
        ("sgd", "nesterov=True", "momentum, and no dampening"),
        ("sgd", "nesterov=True,momentum=0.9,dampening=0.1", "momentum, and no dampening"),
        ("sgd", 0.9, "optim_args=0.9"),
        ("adamw_torch", "beta1=0.8", "nothing with optim='adamw_torch'.*arguments of their own"),
        ("adafactor", "scale_parameter=True", "clip_threshold"),
        ("adafactor", "clip_threshold=0", "a number above 0"),
        ("adafactor", "decay_rate=0.8", "0 or less"),
        ("rmsprop", "alpha=1", "from 0 to below 1, as alpha"),
    ],
)
def test_what_cannot_be_an_optimizer_is_said(optim, optim_args, message):
    with pytest.raises(SettingError, match=message):
        parse_optimizer(optim, optim_args)


def test_options_are_read_as_the_trainer_of_transformers_reads_them():
    assert parse_optimizer("rmsprop", " alpha = 0.9 , centered=true") == ("rmsprop", {"alpha": 0.9, "centered": True})
    assert parse_optimizer("sgd", "") == parse_optimizer("sgd", "  ") == ("sgd", {})


def test_a_version_that_would_not_call_our_methods_is_told():
    class Optimizer:
        def _clip_gradients(self, grads):
            return grads

    with pytest.raises(UnsupportedVersionError, match="_apply_weight_decay"):
        tf_keras_private.check_gradient_methods(Optimizer)
    with pytest.raises(UnsupportedVersionError, match="_apply_weight_decay"):
        keras3_private.check_gradient_methods(Optimizer, "jax")
    Optimizer._apply_weight_decay = None
    tf_keras_private.check_gradient_methods(Optimizer)
    keras3_private.check_gradient_methods(Optimizer, "jax")
    with pytest.raises(UnsupportedVersionError, match="_all_reduce_sum_gradients"):
        keras3_private.check_gradient_methods(Optimizer, "tensorflow")
