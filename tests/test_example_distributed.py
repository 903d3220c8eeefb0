"""The examples for TPUs and for several workers."""

from __future__ import annotations

import glob
import importlib
import json
import os
import pathlib
import subprocess
import sys

import pytest
import yaml
from helpers import eval_rows, history, train_rows

EXAMPLES = pathlib.Path(__file__).parent.parent / "examples"
DISTRIBUTED = EXAMPLES / "distributed"
SMALL = [
    *["--max_train_samples", "64", "--max_eval_samples", "33", "--num_train_epochs", "2"],
    *["--per_device_train_batch_size", "8", "--logging_steps", "2", "--save_strategy", "epoch"],
    *["--max_seq_length", "16", "--output_dir", "model"],
]


@pytest.fixture
def from_examples(monkeypatch):
    """Import a script of the examples."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.syspath_prepend(str(DISTRIBUTED))
    yield importlib.import_module
    for name in (
        "worker",
        "two_workers",
        "tpu_text_classification",
        "text_classification",
        "text_data",
        "text_files",
        "told_errors",
    ):
        sys.modules.pop(name, None)


def run(*command: str | pathlib.Path, **environ: str) -> subprocess.CompletedProcess[str]:
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environ}
    return subprocess.run([*map(str, command)], env=variables, capture_output=True, text=True, timeout=500)


# -- which worker, and which TPU ---------------------------------------------------------------------------------------


def test_a_worker_knows_the_others_by_two_variables(from_examples):
    cluster_of = from_examples("worker").cluster_of
    found = json.loads(cluster_of({"WORKERS": "a:1,b:2,c:3", "WORKER_INDEX": "1"}))
    assert found == {"cluster": {"worker": ["a:1", "b:2", "c:3"]}, "task": {"type": "worker", "index": 1}}
    assert cluster_of({"TF_CONFIG": "{}", "WORKERS": "a:1", "WORKER_INDEX": "0"}) == "{}"
    assert cluster_of({}) is None
    for index in ("2", "-1"):
        with pytest.raises(SystemExit, match="Expected the number of this worker among the 2 of WORKERS"):
            cluster_of({"WORKERS": "a:1,b:2", "WORKER_INDEX": index})
    with pytest.raises(SystemExit, match="WORKER_INDEX=None"):
        cluster_of({"WORKERS": "a:1,b:2"})


@pytest.mark.parametrize(
    ("environ", "devices", "name"),
    [
        ({}, [], None),
        ({}, ["/dev/accel0", "/dev/accel1"], "local"),
        ({}, ["/dev/vfio/0"], "local"),
        ({}, ["/dev/vfio/vfio"], None),
        ({}, ["/dev/vfio/0", "/dev/nvidia0"], None),
        ({"TPU_NAME": "mine"}, [], "mine"),
        ({"COLAB_TPU_ADDR": "10.0.0.2:8470"}, [], "grpc://10.0.0.2:8470"),
    ],
)
def test_a_tpu_is_found_where_there_is_one(from_examples, monkeypatch, environ, devices, name):
    script = from_examples("tpu_text_classification")
    for variable in ("TPU_NAME", "COLAB_TPU_ADDR"):
        monkeypatch.delenv(variable, raising=False)
    for variable, value in environ.items():
        monkeypatch.setenv(variable, value)
    fnmatch = importlib.import_module("fnmatch")
    monkeypatch.setattr(script.glob, "glob", lambda pattern: fnmatch.filter(devices, pattern))
    assert script.find_tpu() == name


# -- the job files -----------------------------------------------------------------------------------------------------


def test_the_job_of_slurm_tells_each_task_which_worker_it_is(tmp_path):
    (tmp_path / "bin").mkdir()
    stubs = {
        "scontrol": 'test "$*" = "show hostnames node[1-3]" && printf "node1\\nnode2\\nnode3\\n"',
        "srun": 'for i in 0 1 2; do SLURM_PROCID=$i bash -c "$4"; done',
    }
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    for path, text in [*((tmp_path / "bin" / name, text) for name, text in stubs.items()), (python, "")]:
        path.write_text(f"#!/bin/bash\n{text or 'echo $WORKERS $WORKER_INDEX $*'}\n")
        path.chmod(0o755)
    ended = subprocess.run(
        ["bash", str(DISTRIBUTED / "slurm.sbatch")],
        cwd=tmp_path,
        env={
            "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
            "SLURM_JOB_ID": "7",
            "SLURM_JOB_NODELIST": "node[1-3]",
        },
        capture_output=True,
        text=True,
    )
    command = "examples/distributed/worker.py --output_dir questions_model"
    assert ended.stdout.splitlines() == [f"node1:20007,node2:20007,node3:20007 {i} {command}" for i in range(3)], ended
    assert (DISTRIBUTED.parent.parent / command.split()[0]).exists()


def test_the_job_of_kubernetes_names_all_its_pods():
    service, job = yaml.safe_load_all((DISTRIBUTED / "kubernetes.yaml").read_text())
    name, pods = job["metadata"]["name"], job["spec"]["completions"]
    assert (service["spec"]["clusterIP"], service["spec"]["selector"]) == ("None", {"job-name": name})
    spec = job["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    variables = {one["name"]: one for one in container["env"]}
    port = container["ports"][0]["containerPort"]
    hosts = [f"{name}-{index}.{spec['subdomain']}:{port}" for index in range(pods)]
    assert variables["WORKERS"]["value"].split(",") == hosts
    assert spec["subdomain"] == service["metadata"]["name"]
    assert job["spec"]["parallelism"] == pods
    assert job["spec"]["completionMode"] == "Indexed"
    field = variables["WORKER_INDEX"]["valueFrom"]["fieldRef"]["fieldPath"]
    assert field == "metadata.annotations['batch.kubernetes.io/job-completion-index']"
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in spec["volumes"]}


# -- trainings ---------------------------------------------------------------------------------------------------------


@pytest.mark.nightly
def test_without_a_tpu_it_says_so_and_trains_on_what_there_is():
    ended = run(sys.executable, EXAMPLES / "tpu_text_classification.py", *SMALL)
    assert ended.returncode == 0, ended.stderr
    lines = ended.stdout.splitlines()
    assert lines[0] == "There is no TPU here. Training on 1 x CPU."
    assert any(line.startswith("Training has ended at step 16 of 16") for line in lines)
    assert any(line.startswith("Accuracy ") for line in lines)
    assert os.path.exists("model/tf_model.h5") or os.path.exists("model/model.safetensors")
    (folder,) = glob.glob("wandb/offline-run-*")
    assert len(eval_rows(history(folder))) == 3


@pytest.mark.nightly
def test_a_tpu_that_is_not_there_is_told_in_a_line():
    ended = run(sys.executable, EXAMPLES / "tpu_text_classification.py", *SMALL, "--tpu_name", "local")
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1].startswith("error: tpu_name='local'")


@pytest.mark.nightly
def test_two_workers_train_in_step_and_continue():
    ended = run(sys.executable, DISTRIBUTED / "two_workers.py", *SMALL)
    log = pathlib.Path("worker-1.log").read_text()
    assert ended.returncode == 0, (ended.stderr, log)
    assert "There is no TPU here. Training on 2 x CPU of 2 workers." in ended.stdout
    assert "Training has ended at step 8 of 8, epoch 2." in ended.stdout
    assert "Training has ended" not in log
    (folder,) = glob.glob("wandb/offline-run-*")
    assert [row["train/global_step"] for row in train_rows(history(folder))] == [2, 4, 6, 8]
    assert os.path.isdir("model/checkpoint-8")
    longer = ["3" if SMALL[place - 1] == "--num_train_epochs" else word for place, word in enumerate(SMALL)]
    ended = run(sys.executable, DISTRIBUTED / "two_workers.py", *longer)
    assert ended.returncode == 0, ended.stderr
    assert "trained        4 steps since step 8 in" in ended.stdout


@pytest.mark.nightly
def test_a_worker_that_fails_ends_the_other():
    ended = run(sys.executable, DISTRIBUTED / "two_workers.py", "--train_file", "missing.csv", "--output_dir", "model")
    assert ended.returncode == 1
    assert "A worker has ended with 2." in ended.stderr
