"""Models that a stranger made: none of their code is run, and no files but theirs are read; honest ones are loaded."""

from __future__ import annotations

import importlib
import inspect
import io
import json
import pathlib
import shutil
import sys
import zipfile

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
import tiny
import transformers
from helpers import KERASES, finish, nightly

from tf_hfwb import from_pretrained, load_model
from tf_hfwb.cli import main
from tf_hfwb.errors import (
    CorruptCheckpointError,
    NotACheckpointError,
    SettingError,
    TFHFWBError,
    UnsafeModelError,
    WeightsError,
)
from tf_hfwb.keras_compat.safe_loading import allowed_names
from tf_hfwb.keras_compat.safe_loading.safe_config import check_config
from tf_hfwb.resume.load_processing import load_processing
from tf_hfwb.serving.export_source import load_source
from tf_hfwb.settings import Settings
from tf_hfwb.tracking import open_tracker
from tf_hfwb.tracking.artifact_logging import log_directory


def function(module, name, registered="same") -> dict:
    registered = name if registered == "same" else registered
    return {"class_name": "function", "module": module, "config": name, "registered_name": registered}


def part(module, name, config=None, **more) -> dict:
    return {"module": module, "class_name": name, "config": config or {}, "registered_name": None, **more}


def of_keras(kind: str, layer) -> dict:
    return json.loads(json.dumps(importlib.import_module(kind).saving.serialize_keras_object(layer)))


# -- what is refused -------------------------------------------------------------------------------------------------

HARM = {
    "a function of a module": function("os", "system"),
    "a class of a module": part("subprocess", "Popen"),
    "with its name registered as": part("os", "system", registered_name="system"),
    "by a name with a dot": part("keras", "utils.get_file"),
    "by a name with a dot inside": part("keras.src.utils.io_utils", "os.system"),
    "Python's own": function("builtins", "eval"),
    "that downloads": function("keras.utils", "get_file"),
    "that loads": function("keras.models", "load_model"),
    "that deserializes": function("keras.saving", "deserialize_keras_object"),
    "that allows everything": function("keras.config", "enable_unsafe_deserialization"),
    "of the inside": function("keras.src.utils.file_utils", "get_file"),
    "of the inside of the other": function("tf_keras.src.utils.data_utils", "get_file"),
    "by its second name": function("keras.losses", "mean_squared_error", "deserialize"),
    "a module of the inside": part("keras.src.saving.serialization_lib", "importlib"),
    "a lambda": {"class_name": "__lambda__", "config": {"value": ["4wAA", None, None]}},
    "a type": {"class_name": "__typespec__", "module": "os", "spec_name": "system", "registered_name": None},
    "a callback": part("keras.callbacks", "CSVLogger", {"filename": "out.csv"}),
    "a program": part("keras.layers", "TFSMLayer", {"filepath": "program"}),
    "without a module": {"class_name": "system", "config": {}},
    "with no module": part(None, "system"),
    "a value to the other Keras": {"class_name": "__unknown__", "module": "os", "config": {}},
    "a name alone": {"module": "os", "class_name": "system"},
}
PLACES = {
    "the top": lambda harm: harm,
    "config.layers[1]": lambda harm: {"config": {"layers": [{}, harm]}},
    "config.layers[0].config.kernel_initializer": lambda harm: {
        "config": {"layers": [part("keras.layers", "Dense", {"kernel_initializer": harm})]}
    },
    "config.layer.config.cell.config.cells[0]": lambda harm: part(
        "keras.layers",
        "Bidirectional",
        {"layer": part("keras.layers", "RNN", {"cell": part("keras.layers", "StackedRNNCells", {"cells": [harm]})})},
    ),
    "compile_config.metrics.a[0]": lambda harm: {"compile_config": {"metrics": {"a": [harm]}}},
    "compile_config.optimizer.config.learning_rate": lambda harm: {
        "compile_config": {"optimizer": part("keras.optimizers", "Adam", {"learning_rate": harm})}
    },
    "config.layers[0].inbound_nodes[0].kwargs.mask": lambda harm: {
        "config": {"layers": [{"inbound_nodes": [{"args": [], "kwargs": {"mask": harm}}]}]}
    },
    "build_config.input_shape": lambda harm: {"build_config": {"input_shape": harm}},
}


@pytest.mark.parametrize("kind", KERASES)
def test_what_a_configuration_may_not_name(kind):
    for harm in HARM.values():
        for place, around in PLACES.items():
            with pytest.raises(UnsafeModelError) as raised:
                check_config(around(harm), kind, None, "model.keras")
            told = str(raised.value)
            assert told.startswith(f"model.keras is not loaded: at {place} of its config.json is "), (harm, told)
            assert "Expected a model of Keras's own" in told
            assert "safe_mode=False" in told


TF_LAYER = "tf_keras.src.layers.core.tf_op_layer"
ARGUMENTS = [
    part("keras.layers", "Lambda", {"function": ["4wAA", None, None], "function_type": "lambda"}),
    part("tf_keras.src.layers.rnn.cell_wrappers", "ResidualWrapper", {"residual_fn_type": "lambda"}),
    part(TF_LAYER, "TFOpLambda", {"function": "io.gfile.copy"}),
    part(TF_LAYER, "TFOpLambda", {"function": "io.write_file"}),
    part(TF_LAYER, "TFOpLambda", {"function": "compat.v1.read_file"}),
    part(TF_LAYER, "TFOpLambda", {"function": "py_function"}),
    part(TF_LAYER, "TFOpLambda", {"function": "compat.v1.py_func"}),
    part(TF_LAYER, "TFOpLambda", {"function": "load_op_library"}),
    part(TF_LAYER, "TFOpLambda", {"function": "saved_model.load"}),
    part(TF_LAYER, "TFOpLambda", {"function": "raw_ops.WriteFile"}),
    part(TF_LAYER, "TFOpLambda", {"function": "rpc_server"}),
    part(TF_LAYER, "TFOpLambda", {"function": "print"}),
    part(TF_LAYER, "TFOpLambda", {"function": "keras.utils.get_file"}),
    part(TF_LAYER, "TFOpLambda", {"function": "keras.backend.set_floatx"}),
    part(TF_LAYER, "TFOpLambda", {"function": ["math.add"]}),
    part(TF_LAYER, "SlicingOpLambda", {"function": "io.gfile.remove"}),
    part(TF_LAYER, "ClassMethod", {"cls_symbol": "io.gfile.GFile", "method_name": "read"}),
    part(TF_LAYER, "ClassMethod", {"cls_symbol": "RaggedTensor", "method_name": "__init_subclass__"}),
    part(TF_LAYER, "InstanceProperty", {"attr_name": "__class__"}),
    part(TF_LAYER, "InstanceMethod", {"attr_name": "format"}),
    part("tf_keras.src.engine.base_layer", "TensorFlowOpLayer", {"node_def": "{}"}),
    part("keras.layers", "StringLookup", {"vocabulary": "/etc/hostname"}),
    part("keras.layers", "IntegerLookup", {"vocabulary": "gs://bucket/file"}),
    part("keras.layers", "TextVectorization", {"vocabulary": "vocabulary.txt"}),
]


@pytest.mark.parametrize(
    "harm", ARGUMENTS, ids=lambda harm: f"{harm['class_name']}-{list(harm['config'].values())[-1]}"
)
def test_what_layers_may_not_be_made_with(harm):
    with pytest.raises(UnsafeModelError):
        check_config({"config": {"layers": [harm]}}, "tf_keras", None, "model.keras")


def test_what_a_class_of_ones_own_inherits_is_not_allowed_either():
    class Words(tf_keras.layers.StringLookup):
        pass

    class Language(tf_keras.layers.Layer):
        pass

    both = {"Words": Words, "Language": Language}
    for name in both:
        config = part(None, name, {"vocabulary": "english"}, registered_name=name)
        if name == "Language":
            check_config(config, "tf_keras", both, "model.keras")
            continue
        with pytest.raises(UnsafeModelError, match="a vocabulary that is read from a file"):
            check_config(config, "tf_keras", both, "model.keras")


def test_a_name_of_ones_own_does_not_stand_for_another_object():
    def system(x):
        return x

    own = {"system": system}
    check_config(function(None, "system"), "tf_keras", own, "model.keras")
    check_config(part("anywhere", "x", registered_name="system"), "tf_keras", own, "model.keras")
    for harm in (part("os", "system"), part("builtins", "eval", registered_name="Custom>eval")):
        with pytest.raises(UnsafeModelError):
            check_config(harm, "tf_keras", own, "model.keras")


# -- real files, in a process that records what it does ----------------------------------------------------------------

PLANTED = "import pathlib\npathlib.Path('marker').touch()\nclass Layer: pass\n"
RECORDED = """
import json, sys
sys.path.insert(0, "planted")
from tf_hfwb import export_for_serving, load_model
from tf_hfwb.cli import main
from tf_hfwb.errors import UnsafeModelError
import keras, tf_keras, transformers

events = []
def record(event, arguments):
    told = str(arguments[:1])
    if event in ("os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "socket.connect", "socket.getaddrinfo"):
        events.append(event)
    elif (event == "import" and "harmful" in told) or (event == "open" and ("harmful" in told or "secret" in told)):
        events.append(event + told)
sys.addaudithook(record)

for path in sys.argv[1:]:
    try:
        load_model(path)
    except UnsafeModelError:
        assert main(["export", path, "servable", "--to", "pytorch"]) == 1
        assert events == [], (path, events)
        continue
    raise AssertionError(f"{path} was loaded")
try:
    export_for_serving(path, "servable")  # Starts a process of its own.
except UnsafeModelError:
    sys.exit()
raise AssertionError(f"{path} was exported")
"""


def rewritten(source: pathlib.Path, target: str, change, version: str | None = None) -> str:
    """An archive with another configuration."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "config.json":
                content = json.dumps(change(json.loads(content))).encode()
            if name == "metadata.json" and version is not None:
                content = json.dumps({"keras_version": version}).encode()
            new.writestr(name, content)
    return target


def with_layer(layer: dict, call: list):
    """A change of a functional model of tf_keras: another layer at its end, called with a constant."""

    def change(config):
        inside = config["config"]
        inside["layers"] = [inside["layers"][0], {**layer, "name": "harm", "inbound_nodes": call}]
        inside["output_layers"] = [["harm", 0, 0]]
        return config

    return change


def by_lambda(marker: str):
    config = {"name": "harm", "function": function("os", "system"), "function_type": "function", "module": None}
    config |= {"output_shape": None, "output_shape_type": "raw", "output_shape_module": None, "arguments": {}}
    return with_layer(
        part("keras.layers", "Lambda", config),
        [[["_CONSTANT_VALUE", -1, f"{sys.executable} -c pass; touch {marker}", {}]]],
    )


def by_operation(source: str, target: str):
    layer = part(TF_LAYER, "TFOpLambda", {"name": "harm", "function": "io.gfile.copy"})
    return with_layer(layer, [["_CONSTANT_VALUE", -1, source, {"dst": target, "overwrite": True}]])


def by_import(config):
    config["config"]["layers"].append({**part("harmful", "Layer"), "name": "harm", "inbound_nodes": []})
    return config


def by_metric(config):
    return {**config, "compile_config": {"optimizer": "sgd", "loss": "mse", "metrics": [function("harmful", "f")]}}


@pytest.fixture(scope="module")
def honest(tmp_path_factory):
    """A functional model of each Keras."""
    directory = tmp_path_factory.mktemp("honest")
    for kind in KERASES:
        module = importlib.import_module(kind)
        x = module.Input((4,), name="x")
        module.Model(x, module.layers.Dense(2)(x)).save(directory / f"{kind}.keras")
    return directory


def test_no_file_runs_anything(honest, launcher):
    pathlib.Path("planted").mkdir()
    pathlib.Path("planted/harmful.py").write_text(PLANTED)
    pathlib.Path("secret").write_text("secret")
    changes = [by_lambda("marker"), by_operation("secret", "marker"), by_import, by_metric]
    files = [rewritten(honest / "tf_keras.keras", f"{number}.keras", one) for number, one in enumerate(changes)]
    files += [rewritten(honest / "keras.keras", "of-keras.keras", by_import)]
    # The file's own word chooses which Keras reads it.
    files += [rewritten(honest / "keras.keras", "chosen.keras", by_import, "2.15.0")]
    files += [rewritten(honest / "tf_keras.keras", "as-keras.keras", by_import, "3.0.0")]
    shutil.copytree(honest, "a-directory")
    shutil.move(files[0], "a-directory/model.keras")
    launcher.python(RECORDED, "a-directory", *files[1:])
    assert not pathlib.Path("marker").exists()
    assert not pathlib.Path("servable").exists()


@pytest.mark.parametrize("way", [by_lambda("marker"), by_operation("secret", "marker")], ids=["command", "copy"])
def test_whoever_trusts_a_source_says_so(way, honest):
    """It also shows that the files above do what they are refused for."""
    pathlib.Path("secret").write_text("secret")
    rewritten(honest / "tf_keras.keras", "model.keras", way)
    with pytest.raises(UnsafeModelError):
        load_model("model.keras")
    assert not pathlib.Path("marker").exists()
    with pytest.raises(WeightsError):  # Nothing that a model could be made of comes out of that.
        load_model("model.keras", safe_mode=False)
    assert pathlib.Path("marker").exists()


def test_an_artifacts_name_makes_no_difference(honest):
    pathlib.Path("out").mkdir()
    rewritten(honest / "tf_keras.keras", "out/model.keras", by_lambda("marker"))
    tracker = open_tracker(Settings.resolve(), name="x")
    log_directory(tracker, "out", name="model-x", aliases=["final"])
    finish()
    with pytest.raises(UnsafeModelError, match=r"os\.system"):
        load_model("model-x:final")
    assert main(["export", "model-x:final", "out", "--to", "pytorch"]) == 1
    assert not pathlib.Path("marker").exists()


def test_shards_are_looked_through_like_an_archive(tmp_path):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.Dense(2)])
    model.save_weights(tmp_path / "model.weights.json", max_shard_size=6e-8)
    config, index = tmp_path / "config.json", tmp_path / "model.weights.json"
    config.write_text(model.to_json())
    loaded = load_model(tmp_path)
    assert all(np.array_equal(a, b) for a, b in zip(loaded.get_weights(), model.get_weights(), strict=True))
    content = json.loads(index.read_text())
    shutil.copy(next(tmp_path.glob("*.h5")), tmp_path.parent / "outside.weights.h5")
    for name in ("../outside.weights.h5", str(tmp_path.parent / "outside.weights.h5"), 3, "gone.weights.h5"):
        index.write_text(json.dumps({**content, "weight_map": {"/layers/dense/vars": [name]}}))
        with pytest.raises(CorruptCheckpointError, match=r"names the file .* lie beside it"):
            load_model(tmp_path)
    for damaged in ("[]", "{", '{"weight_map": 3}', "[" * 100_000):
        index.write_text(damaged)
        with pytest.raises(CorruptCheckpointError):
            load_model(tmp_path)
    index.write_text(json.dumps(content))
    with h5py.File(next(tmp_path.glob("*.h5")), "a") as file:
        file["far"] = h5py.ExternalLink("../outside.weights.h5", "/")
    with pytest.raises(CorruptCheckpointError, match="link to somewhere else"):
        load_model(tmp_path)
    config.write_text(json.dumps(PLACES["config.layers[1]"](HARM["a function of a module"])))
    with pytest.raises((UnsafeModelError, CorruptCheckpointError)):
        load_model(tmp_path)


# -- other formats -----------------------------------------------------------------------------------------------------


def test_formats_that_can_run_code_are_refused_with_how_to_load_them(honest):
    model = keras.models.load_model(honest / "keras.keras")
    model.save("whole.h5")
    model.export("program", verbose=False)
    pathlib.Path("pickle").mkdir()
    pathlib.Path("pickle/model.pkl").write_bytes(b"cos\nsystem\n(S'touch marker'\ntR.")
    shutil.copy("pickle/model.pkl", "pytorch_model.bin")
    for source, told in {
        "whole.h5": r"whole\.h5 could run code, as a whole model in HDF5.*keras\.models\.load_model\(FILE\)",
        "program": r"saved_model\.pb could run code, as a SavedModel is a program.*tf\.saved_model\.load",
        "pickle": r"model\.pkl could run code, as a pickle.*from_pt=True",
        "pytorch_model.bin": "a pickle runs code as it is read",
    }.items():
        with pytest.raises(UnsafeModelError, match=told):
            load_model(source)
    # A zip at the end of an HDF5 file: Keras would go by the name, and read what was not looked at.
    whole = pathlib.Path("whole.h5").read_bytes()
    pathlib.Path("both.h5").write_bytes(whole + (honest / "keras.keras").read_bytes())
    with pytest.raises(UnsafeModelError, match=r"both\.h5 could run code"):
        load_model("both.h5")
    np.savez("weights.npz", np.array([print], dtype=object))
    pathlib.Path("flax_model.msgpack").write_bytes(b"x")
    for source in ("weights.npz", "flax_model.msgpack"):
        with pytest.raises(NotACheckpointError, match=r"a file of another kind.* ends in \.keras"):
            load_model(source)
    assert not pathlib.Path("marker").exists()


def test_a_pickle_of_pytorch_is_never_read_unasked(tmp_path):
    tiny.bert_config(architectures=["BertForSequenceClassification"]).save_pretrained(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch marker'\ntR.")
    with pytest.raises(WeightsError, match="from_pt=True"):
        load_model(tmp_path)
    assert not pathlib.Path("marker").exists()


# -- transformers ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    directory = tmp_path_factory.mktemp("bert")
    tiny.bert().save_pretrained(directory)  # tf_model.h5
    tiny.tokenizer().save_pretrained(directory)
    return directory


@pytest.fixture
def copy(bert):
    return pathlib.Path(shutil.copytree(bert, "copy"))


def change(file: pathlib.Path, **values) -> None:
    file.write_text(json.dumps({**(json.loads(file.read_text()) if file.exists() else {}), **values}))


CODE = """
import pathlib
pathlib.Path("marker").touch()
from transformers import {0}
class Own({0}):
    model_type = "own"
"""


def test_code_that_comes_with_a_model_is_not_run_and_nobody_is_asked(copy, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked"))
    (copy / "own.py").write_text(CODE.format("PreTrainedTokenizerFast"))
    change(copy / "tokenizer_config.json", auto_map={"AutoTokenizer": [None, "own.Own"]}, tokenizer_class="Own")
    with pytest.raises(
        UnsafeModelError, match=r"its code comes with it|whose code comes with it.*trust_remote_code=True"
    ):
        load_processing(copy)
    (copy / "own.py").write_text(CODE.format("PretrainedConfig"))
    change(copy / "config.json", auto_map={"AutoConfig": "own.Own"}, model_type="own", architectures=["Own"])
    with pytest.raises(UnsafeModelError, match=r"auto_map.*trust_remote_code=True"):
        load_model(copy)
    with pytest.raises(UnsafeModelError, match=r"auto_map.*trust_remote_code=True"):
        from_pretrained(transformers.TFAutoModelForSequenceClassification, copy)
    assert main(["export", str(copy), "servable"]) == 1
    pictures = pathlib.Path("pictures")
    pictures.mkdir()
    change(pictures / "preprocessor_config.json", auto_map={"AutoImageProcessor": "own.Own"})
    (pictures / "own.py").write_text(CODE.format("ViTImageProcessor"))
    with pytest.raises(UnsafeModelError, match=r"auto_map.*trust_remote_code=True"):
        load_processing(pictures)
    assert not pathlib.Path("marker").exists()
    assert type(load_processing(pictures, trust_remote_code=True)).__name__ == "Own"
    assert pathlib.Path("marker").exists()


def test_an_architecture_is_a_tf_model_of_transformers(copy):
    for name in ("PreTrainedModel", "Trainer", "BertTokenizer", "BertMainLayer", "models.bert", 3, None, ["x"]):
        change(copy / "config.json", architectures=[name])
        with pytest.raises(NotACheckpointError, match="transformers has no TF class"):
            load_model(copy)
    change(copy / "config.json", architectures={"a": 1})
    with pytest.raises(NotACheckpointError, match="transformers has no TF class"):
        load_model(copy)


def test_files_that_a_tokenizer_names_lie_beside_it(copy):
    pathlib.Path("secret.json").write_bytes((copy / "tokenizer.json").read_bytes())
    file = copy / "tokenizer_config.json"
    before = file.read_text()
    for values in (
        {"tokenizer_file": "../secret.json"},
        {"vocab_file": "/etc/hostname"},
        {"vocab": "secret.json"},
        {"fast_tokenizer_files": ["../tokenizer.4.0.0.json"]},
    ):
        change(file, **values)
        with pytest.raises(UnsafeModelError, match=rf"names the file .* as its {next(iter(values))}\. Expected"):
            load_processing(copy)
        file.write_text(before)
    change(copy / "config.json", configuration_files=["config.4.0.0/../../secret.json"])
    with pytest.raises(UnsafeModelError, match="configuration_files"):
        load_model(copy)
    # What tokenizers on the hub have, and nobody opens.
    change(file, special_tokens_map_file="/home/me/special_tokens_map.json", name_or_path="/home/me", vocab_file=None)
    change(copy / "config.json", configuration_files=["config.json"], _name_or_path="/home/me")
    assert load_processing(copy).pad_token == "[PAD]"
    assert load_model(copy).built


def test_weights_of_transformers_lie_in_their_own_files(copy):
    with h5py.File(copy / "tf_model.h5", "a") as file:
        del file["classifier"]
        file["classifier"] = h5py.ExternalLink("../secret.h5", "/")
    with pytest.raises(WeightsError, match="link to somewhere else"):
        load_model(copy)
    shutil.move(copy / "tf_model.h5", "secret.h5")
    shutil.copy("secret.h5", "secret.safetensors")
    for index, outside in {"tf_model.h5": "../secret.h5", "model.safetensors": "../secret.safetensors"}.items():
        path = copy / f"{index}.index.json"
        path.write_text(json.dumps({"metadata": {}, "weight_map": {"a": outside}}))
        with pytest.raises(WeightsError, match=r"names the file .* Expected shards that lie beside it"):
            load_model(copy)
        path.unlink()


@pytest.mark.nightly
def test_damaged_models_of_transformers_are_told_in_words(copy):
    told = []
    config = json.loads((copy / "config.json").read_text())
    for key in ("hidden_size", "num_attention_heads", "hidden_act", "id2label", "architectures", "vocab_size"):
        for value in ("x", -1, None, [], {"a": {}}, 1.5):
            (copy / "config.json").write_text(json.dumps({**config, key: value}))
            try:
                load_model(copy)
            except TFHFWBError as error:
                told.append(str(error))
    assert len(told) > 20
    assert [one for one in told if "Expected" not in one] == []


# -- what is honest ----------------------------------------------------------------------------------------------------


def made(kind: str):
    """Each public class of a Keras that can be made with nothing, or with some usual argument."""
    module = importlib.import_module(kind)
    layers = module.layers
    usual = [(), (2,), (0.1,), (2, 2), (0.1, 10), (0.1, 10, 0.5), ([1], [0.1, 0.2]), ("float32",), ("a",), ((1,),)]
    usual += [(2, [0]), (layers.Dense(2),), (layers.LSTM(2),), (layers.LSTMCell(2),), ([layers.GRUCell(2)],)]
    usual += [(module.optimizers.SGD(),), ("mean_squared_error",)]
    for name, value in sorted(allowed_names.public_names(kind).items()):
        if inspect.isclass(value) and name.split(".")[1] not in ("callbacks", "saving", "export", "preprocessing"):
            for arguments in usual:
                try:
                    yield name, of_keras(kind, value(*arguments))
                    break
                except Exception:  # It is made otherwise, or not at all.
                    continue


@pytest.mark.parametrize("kind", KERASES)
def test_every_class_of_keras_that_is_written_may_be_read(kind):
    module = importlib.import_module(kind)
    written = dict(made(kind))
    assert len(written) > 250
    refused = {"keras.layers.TFSMLayer"}
    for name, config in written.items():
        if name not in refused:
            check_config({"config": {"layers": [config]}}, kind, None, name)
    for name in ("activations", "losses", "metrics"):
        for value in vars(getattr(module, name)).values():
            if inspect.isfunction(value) and value.__name__ not in ("get", "serialize", "deserialize"):
                check_config(of_keras(kind, value), kind, None, name)


def recurrent(module):
    layers = module.layers
    cells = layers.StackedRNNCells([layers.GRUCell(2), layers.LSTMCell(3)])
    inner = [layers.Bidirectional(layers.LSTM(3, return_sequences=True)), layers.TimeDistributed(layers.Dense(2))]
    return module.Sequential([module.Input((5, 4)), *inner, layers.RNN(cells)])


def compiled(module):
    model = module.Sequential([module.Input((4,)), module.layers.Dense(2, activation=tf.nn.relu)])
    rate = module.optimizers.schedules.CosineDecay(0.1, 10)
    metrics = ["accuracy", module.metrics.AUC(), module.metrics.MeanMetricWrapper(module.losses.mean_squared_error)]
    loss = module.losses.BinaryCrossentropy(from_logits=True)
    model.compile(module.optimizers.AdamW(rate, clipnorm=1.0), loss=loss, metrics=metrics)
    model.fit(np.zeros((4, 4)), np.zeros((4, 2)), verbose=0)
    return model


def mixed(module):
    module.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        return module.Sequential([module.Input((4,)), module.layers.Dense(2), module.layers.Dense(2, dtype="float32")])
    finally:
        module.mixed_precision.set_global_policy("float32")


def words(module):
    layer = module.layers.TextVectorization(output_sequence_length=4)
    layer.adapt(["a b c", "c d"])
    lookup = module.layers.StringLookup(vocabulary=["x", "y"], output_mode="one_hot")
    text, word = (module.Input((1,), dtype="string", name=name) for name in ("text", "word"))
    return module.Model([text, word], [module.layers.Embedding(10, 4)(layer(text)), lookup(word)])


def operations(module):
    x = module.Input((4,))
    y = (x * 2 + 1)[:, 1:]
    if module is keras:
        y = keras.ops.concatenate([keras.ops.relu(y), keras.ops.mean(y, axis=-1, keepdims=True)], -1)
        return keras.Model(x, y)
    y = tf.concat([tf.nn.relu(y), tf.reduce_mean(y, axis=-1, keepdims=True)], -1)
    y = tf.where(y > 0, tf.cast(y, tf.float32) / 2.0, tf.zeros_like(y)) + tf_keras.backend.sum(x)
    y = tf.one_hot(tf.argmax(tf.linalg.normalize(y)[0], -1), 3) + tf.strings.to_number(tf.strings.as_string(y[:, :1]))
    return tf_keras.Model(x, tf.compat.v1.transpose(tf.clip_by_value(-y, -1.0, 1.0), [0, 1]))


def ragged(module):
    if module is keras:
        return mixed(module)
    x = module.Input((None,), ragged=True)
    return module.Model(x, [x.to_tensor(), tf.RaggedTensor.from_row_splits(x.values, x.row_splits), x.row_lengths()])


KINDS = [recurrent, compiled, words, operations]
FURTHER = [mixed, ragged]


@pytest.mark.parametrize("kind", KERASES)
@pytest.mark.parametrize("make", [*KINDS, *map(nightly, FURTHER)])
def test_honest_models_are_loaded(kind, make):
    module = importlib.import_module(kind)
    model = make(module)
    model.save("model.keras")
    loaded = load_model("model.keras")
    for before, after in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    assert getattr(loaded, "optimizer", None).__class__ is getattr(model, "optimizer", None).__class__
    assert getattr(load_model("model.keras", compile=False), "optimizer", None) is None


@pytest.mark.parametrize("kind", KERASES)
def test_classes_and_functions_of_ones_own(kind):
    module = importlib.import_module(kind)

    @module.saving.register_keras_serializable("mine")
    class Registered(module.layers.Layer):
        def call(self, inputs):
            return inputs

    class Given(module.layers.Layer):
        def call(self, inputs):
            return inputs

    def doubled(x):
        return x * 2

    x = module.Input((4,))
    model = module.Model(x, module.layers.Dense(2, activation=doubled)(Given()(Registered()(x))))
    model.save("model.keras")
    with pytest.raises(UnsafeModelError, match=r"custom_objects="):
        load_model("model.keras", custom_objects={"Given": Given})
    own = {"Given": Given, "doubled": doubled}
    assert load_model("model.keras", custom_objects=own).built
    with module.saving.custom_object_scope(own):
        assert load_model("model.keras").built
    with pytest.raises(SettingError, match="num_labels"):
        load_model("model.keras", num_labels=3)


@pytest.mark.parametrize("kind", KERASES)
def test_a_lambda_needs_trust(kind, capsys):
    module = importlib.import_module(kind)
    x = module.Input((4,))
    module.Model(x, module.layers.Lambda(lambda x: x * 2, output_shape=(4,))(x)).save("model.keras")
    with pytest.raises(UnsafeModelError, match=r"bytecode(, which)? would be run.*safe_mode=False"):
        load_model("model.keras")
    assert main(["export", "model.keras", "servable"]) == 1
    assert "--no_safe_mode" in capsys.readouterr().err
    model = load_model("model.keras", safe_mode=False)
    assert np.asarray(model(np.ones((1, 4), np.float32))).max() == 2
    assert load_source("model.keras", safe_mode=False)[0].built
    assert main(["export", "model.keras", "out", "--to", "pytorch", "--no_safe_mode"]) == 1
    assert "expected one of transformers' own TF classes" in capsys.readouterr().err.replace("Expected", "expected")
    with pytest.raises(SettingError, match="safe_mode"):
        load_source(model, safe_mode=False)


def test_layers_of_transformers_in_a_plain_model(bert):
    x = tf_keras.Input((8,), dtype="int32")
    layer = transformers.TFBertMainLayer(tiny.bert_config(), name="bert")
    model = tf_keras.Model(x, tf_keras.layers.Dense(2)(layer(x)[0][:, 0]))
    model.save("model.keras")
    assert load_model("model.keras").built
    with pytest.raises(SettingError, match="safe_mode"):
        load_model(bert, safe_mode=False)


def test_layers_in_a_list_that_the_file_lacks_are_an_error(tmp_path):
    # Keras itself only warns, and leaves them as they were made.
    @keras.saving.register_keras_serializable("tests")
    class Stacked(keras.Model):
        def __init__(self, number=2, **kwargs):
            super().__init__(**kwargs)
            self.number = number
            self.blocks = [[keras.layers.Dense(3)] for _ in range(number)]

        def call(self, inputs):
            for (block,) in self.blocks:
                inputs = block(inputs)
            return inputs

        def build(self, shape):
            for (block,) in self.blocks:
                block.build((None, 3))
            self.built = True

        def get_config(self):
            return {**super().get_config(), "number": self.number}

    model = Stacked()
    model.build((None, 3))
    model.save(tmp_path / "model.keras")
    assert len(load_model(tmp_path / "model.keras").weights) == 4
    with (
        zipfile.ZipFile(tmp_path / "model.keras") as whole,
        zipfile.ZipFile(tmp_path / "lacking.keras", "w") as lacking,
    ):
        for name in whole.namelist():
            content = whole.read(name)
            if name.endswith(".h5"):
                file = io.BytesIO(content)
                with h5py.File(file, "r+") as weights:
                    for group in list(weights):
                        if group != "vars":
                            del weights[group]
                content = file.getvalue()
            lacking.writestr(name, content)
    with pytest.raises(WeightsError, match="Keras cannot load"):
        load_model(tmp_path / "lacking.keras")
