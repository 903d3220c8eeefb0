"""GraphQL operations about sweeps and their agents."""

from __future__ import annotations

import itertools
import json
import math
import random
import secrets
from typing import Any

import yaml

from .graphql import Answer, Operations, done, operation, plain, project_answer, project_fields
from .run_operations import run_fields
from .state import RefusedError, Sweep, new_id


@operation("UpsertSweep")
def upsert_sweep(ops: Operations, variables: Answer) -> Answer:
    if variables.get("id"):
        sweep = next(one for one in ops.store.sweeps.values() if one.id == variables["id"])
        sweep.state = variables.get("state") or sweep.state
    else:
        sweep = Sweep(ops.project(variables), yaml.safe_load(variables["config"]))
        ops.store.sweeps[sweep.name] = sweep
    fields = {"name": sweep.name, "project": project_fields(sweep.project)}
    return done("upsertSweep", sweep=fields, configValidationWarnings=[])


@operation("CreateAgent")
def create_agent(ops: Operations, variables: Answer) -> Answer:
    sweep = find_sweep(ops, variables["sweep"])
    sweep.agents.append(new_id("Agent"))
    return done("createAgent", agent={"id": sweep.agents[-1]})


@operation("SweepWithRuns", "GetSweepState", "Sweep")
def get_sweep(ops: Operations, variables: Answer) -> Answer:
    sweep = ops.store.sweeps.get(variables["sweep"])
    if sweep is None:
        return project_answer(ops, variables, sweep=None)
    runs = [{**run_fields(run), "exitcode": run.exit_code, "shouldStop": run.stop_requested} for run in sweep.runs]
    fields = {
        "id": sweep.id,
        "name": sweep.name,
        "state": sweep.state,
        "config": yaml.dump(sweep.config),
        "method": sweep.config["method"],
        "bestLoss": None,
        "runs": {"edges": [{"node": run} for run in runs]},
    }
    return project_answer(ops, variables, sweep=fields)


@operation("Heartbeat")
def heartbeat(ops: Operations, variables: Answer) -> Answer:
    """Tell an agent that runs nothing what to run next, and one that does whether to stop."""
    sweep = next((one for one in ops.store.sweeps.values() if variables["id"] in one.agents), None)
    if sweep is None:
        raise RefusedError(f"no agent {variables['id']}")
    under_way = [name for name, runs in json.loads(variables.get("runState") or "{}").items() if runs]
    commands: list[Answer] = []
    if not under_way:
        commands.append(next_run(sweep))
    for name in under_way:
        if name not in sweep.stopped and is_to_stop(sweep, name):
            sweep.stopped.add(name)
            commands.append({"type": "stop", "run_id": name})
    return done("agentHeartbeat", agent={"id": variables["id"]}, commands=json.dumps(plain(commands)))


def find_sweep(ops: Operations, name: str) -> Sweep:
    if name not in ops.store.sweeps:
        raise RefusedError(f"no sweep {name}")
    return ops.store.sweeps[name]


def next_run(sweep: Sweep) -> Answer:
    parameters = None
    if sweep.state == "RUNNING" and len(sweep.trials) < sweep.config.get("run_cap", math.inf):
        parameters = next_parameters(sweep)
    if parameters is None:
        sweep.state = "FINISHED" if sweep.state == "RUNNING" else sweep.state
        return {"type": "exit"}
    name = secrets.token_hex(4)
    sweep.trials[name] = parameters
    values = {key: {"value": value} for key, value in parameters.items()}
    return {"type": "run", "run_id": name, "program": sweep.config.get("program"), "args": values}


def next_parameters(sweep: Sweep) -> dict[str, Any] | None:
    """The next cell of a grid; of any other method, numbers at random: this server has no Bayesian model."""
    parameters = sweep.config["parameters"]
    if sweep.config["method"] == "grid":
        choices = [one.get("values", [one.get("value")]) for one in parameters.values()]
        cell = next(itertools.islice(itertools.product(*choices), len(sweep.trials), None), None)
        return None if cell is None else dict(zip(parameters, cell, strict=True))
    dice = random.Random(len(sweep.trials))
    return {name: drawn(one, dice) for name, one in parameters.items()}


def drawn(parameter: dict[str, Any], dice: random.Random) -> Any:
    if "value" in parameter:
        return parameter["value"]
    if "values" in parameter:
        return dice.choice(parameter["values"])
    low, high = parameter["min"], parameter["max"]
    if parameter.get("distribution", "").startswith("log_uniform"):
        return math.exp(dice.uniform(math.log(low), math.log(high)))
    return dice.randint(low, high) if isinstance(low, int) and isinstance(high, int) else dice.uniform(low, high)


def is_to_stop(sweep: Sweep, name: str) -> bool:
    """Whether Hyperband ends a run: at ``min_iter`` values of the metric it is not among the better half."""
    after = sweep.config.get("early_terminate", {}).get("min_iter")
    run = sweep.project.runs.get(name)
    if after is None or run is None:
        return False
    metric, sign = sweep.config["metric"]["name"], 1 if sweep.config["metric"]["goal"] == "minimize" else -1
    known = {one.id: [row[metric] for row in one.history if metric in row] for one in sweep.runs}
    reached = {
        key: min(sign * value for value in values[:after]) for key, values in known.items() if values[after - 1 :]
    }
    if name not in reached or len(reached) < 2:
        return False
    return reached[name] > sorted(reached.values())[(len(reached) - 1) // 2]
