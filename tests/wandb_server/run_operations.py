"""GraphQL operations about runs, and their file stream."""

from __future__ import annotations

import json
import re
from typing import Any

from .graphql import Answer, Operations, connection, done, file_fields, operation, plain, project_answer, project_fields
from .state import Run, now

# Writing


@operation("UpsertBucket")
def upsert_run(ops: Operations, variables: Answer) -> Answer:
    """A client that starts or continues a run names it; the public API changes one by its storage id."""
    inserted = False
    if variables.get("id"):
        run = ops.store.run_by_storage_id(variables["id"])
    else:
        project = ops.project(variables)
        inserted = variables["name"] not in project.runs
        run = project.runs.setdefault(variables["name"], Run(project, variables["name"]))
        run.state, run.exit_code = variables.get("state") or "running", None
    if "display_name" in variables:
        variables["displayName"] = variables["display_name"]
    for name in ("displayName", "groupName", "jobType", "notes", "description", "tags", "sweep", "program", "host"):
        if variables.get(name) is not None:
            run.attributes[name] = variables[name]
    if variables.get("config") is not None:
        run.raw_config = json.loads(variables["config"])
    if variables.get("summaryMetrics") is not None:
        run.summary = json.loads(variables["summaryMetrics"])
    return done("upsertBucket", bucket=run_fields(run), inserted=inserted)


@operation("RunResumeStatus")
def resume_status(ops: Operations, variables: Answer) -> Answer:
    run = ops.run(variables)
    bucket = None
    if run is not None:
        config = run.raw_config.get("_wandb", {}).get("value", {})
        bucket = {
            **run_fields(run),
            "historyTail": json.dumps(run.lines("wandb-history.jsonl")[-1:]),
            "eventsTail": json.dumps(run.lines("wandb-events.jsonl")[-1:]),
            "wandbConfig": json.dumps({"t": config["t"]} if "t" in config else {}),
        }
    return {"model": {**project_fields(ops.project(variables)), "bucket": bucket}}


def stream(run: Run, body: Answer) -> Answer:
    """Take a post to a run's file stream; the answer tells a run that was stopped through the API."""
    run.heartbeat_at = now()
    for name, chunk in (body.get("files") or {}).items():
        run.stream(name, chunk["offset"], chunk["content"])
    if body.get("preempting"):
        run.preempting = True
    if body.get("complete"):
        run.exit_code = body["exitcode"]
        run.state = "finished" if run.exit_code == 0 else "preempted" if run.preempting else "failed"
    return {"stopped": run.stop_requested}


@operation("CreateRunFiles")
def create_run_files(ops: Operations, variables: Answer) -> Answer:
    run = ops.run(variables)
    files = [{"name": name, "uploadUrl": run_file_url(ops, run, name)} for name in variables["files"]]
    return done("createRunFiles", runID=run.storage_id, uploadHeaders=[], files=files)


@operation("StopRun")
def stop_run(ops: Operations, variables: Answer) -> Answer:
    ops.store.run_by_storage_id(variables["id"]).stop_requested = True
    return done("stopRun", success=True, clientMutationId=None)


@operation("DeleteRun")
def delete_run(ops: Operations, variables: Answer) -> Answer:
    run = ops.store.run_by_storage_id(variables["id"])
    ops.store.delete_run(run, with_artifacts=bool(variables.get("deleteArtifacts")))
    return done("deleteRun", success=True, clientMutationId=None)


@operation("UpdateRunState")
def update_run_state(ops: Operations, variables: Answer) -> Answer:
    ops.store.run_by_storage_id(variables["id"]).state = variables["state"]
    return done("updateRunState", success=True)


@operation("NotifyScriptableRunAlert")
def alert(ops: Operations, variables: Answer) -> Answer:
    ops.run(variables).alerts.append({key: variables.get(key) for key in ("title", "text", "severity")})
    return done("notifyScriptableRunAlert", success=True)


# Reading


def run_file_url(ops: Operations, run: Run, name: str) -> str:
    return ops.link("run-files", run.project.entity, run.project.name, run.id, name)


def run_fields(run: Run) -> Answer:
    history = run.history
    keys = {key: {"typeCounts": [{"type": "unknown", "count": len(history)}]} for row in history for key in row}
    attributes = run.attributes
    return {
        "__typename": "Run",
        "id": run.storage_id,
        "name": run.id,
        "project": project_fields(run.project),
        "projectId": run.project.number,
        "displayName": run.name,
        "description": attributes.get("description"),
        "notes": attributes.get("notes"),
        "group": attributes.get("groupName"),
        "jobType": attributes.get("jobType"),
        "sweepName": attributes.get("sweep"),
        "tags": attributes.get("tags", []),
        "commit": None,
        "readOnly": False,
        "state": run.state,
        "stopped": run.stop_requested,
        "createdAt": run.created_at,
        "heartbeatAt": run.heartbeat_at,
        "user": {"name": run.project.entity, "username": run.project.entity},
        "config": json.dumps(plain(run.raw_config)),
        "summaryMetrics": json.dumps(plain(run.summary)),
        "systemMetrics": json.dumps({}),
        "historyLineCount": len(history),
        "eventsLineCount": len(run.lines("wandb-events.jsonl")),
        "logLineCount": len(run.console),
        "fileCount": len(run.files),
        "historyKeys": {"keys": keys, "sets": [], "lastStep": max((row["_step"] for row in history), default=-1)},
    }


def run_answer(ops: Operations, variables: Answer, **more: Any) -> Answer:
    run = ops.run(variables)
    return project_answer(ops, variables, run=run and {**run_fields(run), **more})


@operation("Run", "RunState", "RunHistoryKeys")
def get_run(ops: Operations, variables: Answer) -> Answer:
    return run_answer(ops, variables)


@operation("Runs")
def list_runs(ops: Operations, variables: Answer) -> Answer:
    filters = json.loads(variables.get("filters") or "{}")
    found = [run_fields(run) for run in ops.project(variables).runs.values() if matches(run, filters)]
    if (variables.get("order") or "").startswith("-"):
        found.reverse()
    return project_answer(ops, variables, runCount=len(found), runs=connection(found))


def matches(run: Run, filters: Answer) -> bool:
    """Whether a run satisfies the client's filter: equality, ``$in``, ``$ne``, ``$and`` and ``$or``."""
    for key, wanted in filters.items():
        if key in ("$and", "$or"):
            if not (all if key == "$and" else any)(matches(run, inner) for inner in wanted):
                return False
            continue
        values = filtered_values(run, key)
        [(operator, operand)] = wanted.items() if isinstance(wanted, dict) else [("$eq", wanted)]
        held = any(value in operand if operator == "$in" else value == operand for value in values)
        if operator not in ("$eq", "$in", "$ne"):
            raise ValueError(f"filter {operator} is not supported")
        if held == (operator == "$ne"):
            return False
    return True


def filtered_values(run: Run, key: str) -> list[Any]:
    names = {"group": "groupName", "jobType": "jobType", "job_type": "jobType", "sweep": "sweep"}
    if key == "tags":
        return run.attributes.get("tags", [])
    if key.startswith("config."):
        return [run.config.get(key.removeprefix("config.").removesuffix(".value"))]
    if key.startswith("summary_metrics."):
        return [run.summary.get(key.removeprefix("summary_metrics."))]
    if key in names:
        return [run.attributes.get(names[key])]
    return [{"state": run.state, "display_name": run.name, "displayName": run.name, "name": run.id}[key]]


@operation("RunFullHistory")
def full_history(ops: Operations, variables: Answer) -> Answer:
    run = ops.run(variables)
    lines = run and run.lines("wandb-events.jsonl")
    return run_answer(ops, variables, history=run and [json.dumps(plain(row)) for row in run.history], events=lines)


@operation("RunSampledHistory", "SampledHistoryPage")
def sampled_history(ops: Operations, variables: Answer) -> Answer:
    """Only rows that have all keys; an absent range of steps means all of them."""
    run = ops.run(variables)
    answers = []
    for spec in map(json.loads, variables.get("specs") or [variables["spec"]]):
        steps = range(spec.get("minStep") or 0, (spec.get("maxStep") or 2**62) + 1)
        rows = [row for row in run.history if all(key in row for key in spec["keys"])]
        answers.append([{key: plain(row[key]) for key in spec["keys"]} for row in rows if row["_step"] in steps])
    return run_answer(ops, variables, sampledHistory=answers)


@operation("RunParquetHistory")
def parquet_history(ops: Operations, variables: Answer) -> Answer:
    """No parquet files: the client then asks for pages of the live data."""
    live = [{"_step": row["_step"]} for row in ops.run(variables).history]
    return run_answer(ops, variables, parquetHistory={"parquetUrls": [], "liveData": live})


@operation("HistoryPage")
def history_page(ops: Operations, variables: Answer) -> Answer:
    steps = range(variables["minStep"], variables["maxStep"])
    rows = [json.dumps(plain(row)) for row in ops.run(variables).history if row["_step"] in steps]
    return run_answer(ops, variables, history=rows[: variables["pageSize"]])


@operation("RunFiles")
def run_files(ops: Operations, variables: Answer) -> Answer:
    run = ops.run(variables)
    if run is None:
        return run_answer(ops, variables)
    wanted = variables.get("fileNames") or list(run.files)
    if variables.get("pattern"):
        pattern = ".*".join(map(re.escape, variables["pattern"].split("%")))
        wanted = [name for name in run.files if re.fullmatch(pattern, name)]
    files = [file_fields(name, run_file_url(ops, run, name), len(run.files.get(name, b""))) for name in wanted]
    return run_answer(ops, variables, files=connection(files))
