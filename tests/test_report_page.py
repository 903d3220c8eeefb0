"""The page of runs: what it has of them, and what it makes of odd ones."""

from __future__ import annotations

import base64
import json
import math
import pathlib
import re

import numpy as np
import pytest
from recorded_runs import BOLD, SCRIPT, predictions, record_in_memory, training_rows, write_run

from tf_hfwb.cli import main
from tf_hfwb.errors import SettingError
from tf_hfwb.reports.config_comparison import compare
from tf_hfwb.reports.histogram_grids import grid
from tf_hfwb.reports.layer_panels import layer_panels
from tf_hfwb.reports.logged_values import Counts, Series, read_values
from tf_hfwb.reports.page_numbers import fair_shares
from tf_hfwb.reports.page_pictures import PagePictures
from tf_hfwb.reports.report_page import page_data, write_report
from tf_hfwb.reports.thinned_series import thin

pytestmark = pytest.mark.core


def data_in(path) -> dict:
    """What a page has for its scripts."""
    (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', pathlib.Path(path).read_text())
    return json.loads(found)


def trace(data: dict, name: str, run: int = 0) -> dict:
    return next(one for chart in data["charts"] for one in chart["traces"] if (one["name"], one["run"]) == (name, run))


def test_a_page_of_two_runs_has_what_they_logged(tmp_path, capsys):
    write_run(tmp_path, training_rows(), name=SCRIPT, tags=["a<b"], config={"rate": 0.1, "same": {"a": 1, "b": BOLD}})
    write_run(
        tmp_path,
        training_rows(best=0.2),
        name="second",
        config={"rate": 0.2, "same": {"a": 1, "b": BOLD}, "hub_token": "hf_" + "a" * 30},
        tables={"predictions": predictions()},
    )
    assert main(["report", str(tmp_path), "-o", "page.html"]) == 0
    assert "page.html: 2 runs" in capsys.readouterr().out
    data = data_in("page.html")

    assert [run["name"] for run in data["runs"]] == [SCRIPT, "second"]
    assert [run["rows"] for run in data["runs"]] == [21, 22]
    assert data["runs"][1]["best"] == {"eval/loss": [0.35, 20], "eval/accuracy": [0.75, 20]}
    losses = next(chart for chart in data["charts"] if chart["subject"] == "loss")
    assert [(one["run"], one["part"]) for one in losses["traces"]] == [
        (0, "training"),
        (1, "training"),
        (0, "evaluation"),
        (1, "evaluation"),
    ]
    rows = training_rows(best=0.2)[:-1]
    found = trace(data, "train/loss", run=1)
    assert found["x"] == list(range(1, 21))
    expected = [None if math.isnan(row["train/loss"]) else pytest.approx(row["train/loss"], rel=1e-5) for row in rows]
    assert found["y"] == expected
    assert found["broken"] == {"rows": 1, "first": 7}
    assert trace(data, "mine") == {"run": 0, "part": None, "name": "mine", "x": [20], "y": [42], "rows": 1}

    assert data["config"]["differing"] == [["rate", "0.1", "0.2"]]
    assert data["config"]["partial"] == [["hub_token", None, "<HUB_TOKEN>"]]
    assert ["same.b", BOLD] in data["config"]["equal"]

    (histograms,) = [one for one in data["layers"]["grids"] if one["run"] == 1]
    assert histograms["steps"] == [5, 10, 15, 20]
    assert data["layers"]["names"] == ["dense/kernel"]

    (table,) = data["tables"]
    assert (table["run"], table["key"], len(table["rows"]), table["left_out"]) == (1, "predictions", 80, 0)
    assert table["rows"][0] == [10, 1, SCRIPT, "cat", 0, {"p": 0}]
    assert table["rows"][3][2] is None
    (picture,) = data["pictures"]
    assert base64.b64decode(picture.removeprefix("data:image/png;base64,")).startswith(b"\x89PNG")


@pytest.mark.nightly
def test_a_run_on_the_server_makes_the_page_of_the_same_run_here(server, tmp_path):
    import wandb

    with wandb.init(project="reports", id="there", name="a name", config={"rate": 0.1}) as run:
        for row in training_rows():
            run.log(row)
        run.log({"predictions": wandb.Table(columns=["n"], data=[[1], [2]]), "note": "text"})
        run.summary["test"] = {"acc": 0.75, "nan": math.nan}
    wandb.teardown()
    main(["report", "tester/reports/there", "-o", "there.html"])
    main(["report", "wandb", "-o", "here.html"])
    there, here = data_in("there.html"), data_in("here.html")
    for name in ("layers", "tables", "config", "final", "left_out"):
        assert there[name] == here[name], name
    assert trace(there, "train/loss") == trace(here, "train/loss")
    assert there["runs"][0]["project"] == "tester/reports"
    assert there["runs"][0]["best"] == here["runs"][0]["best"]


def test_data_end_no_script_and_no_title(tmp_path):
    name = "</title></script>" + SCRIPT + "\ud800"
    run = record_in_memory([{"<!--<script>": 1.0}], name=name, config={SCRIPT: BOLD})
    text = write_report([run], tmp_path / "page.html").read_text()
    assert text.count("</script>") == 4
    assert SCRIPT not in text
    assert "<title>&lt;/title&gt;" in text
    assert "default-src 'none'" in text
    assert "'unsafe-inline'; img-src" in text
    assert "unsafe-eval" not in text
    assert data_in(tmp_path / "page.html")["config"]["equal"] == [[SCRIPT, BOLD]]


def test_runs_without_anything_make_a_page():
    data = page_data([record_in_memory([]), record_in_memory([{"eval/loss": 0.5}], run_id="one")])
    assert [run["name"] for run in data["runs"]] == ["in memory (memory)", "in memory (one)"]
    assert data["runs"][0]["last_step"] is None
    assert trace(data, "eval/loss", run=1)["x"] == [0]
    assert data["tables"] == data["checkpoints"] == []
    assert data["config"] == {"differing": [], "partial": [], "equal": []}


def test_a_run_without_global_steps_stands_at_its_own(tmp_path):
    data = page_data([record_in_memory([{"_step": 3, "loss": 1.0}, {"_step": 9, "loss": "NaN", "a": {"b": True}}])])
    assert trace(data, "loss")["x"] == [3, 9]
    assert trace(data, "loss")["y"] == [1, None]
    assert trace(data, "a.b")["y"] == [1]


@pytest.mark.parametrize("size", [1, 7, 8, 9, 1000, 99_999])
def test_thinning_keeps_peaks_ends_and_gaps(size):
    random = np.random.default_rng(size)
    x, y = np.cumsum(random.integers(1, 5, size=size)), random.normal(size=size)
    y[size // 2] = np.nan
    if size > 2:
        y[size // 3], y[size // 4] = 1e6, -1e6
    kept = thin(x, y, 8)
    assert {0, size - 1, size // 2, size // 3, size // 4} <= set(kept.tolist())
    assert len(kept) <= min(size, 9)
    assert np.all(np.diff(kept) > 0)


def test_thinning_keeps_the_extremes_of_each_pixel():
    random = np.random.default_rng(0)
    x, y = np.arange(60_000), random.normal(size=60_000).cumsum()
    kept = thin(x, y, 1202)
    for begin in range(0, 60_000, 600):  # 600 buckets of 100 rows; the last row is in the last one.
        within = kept[(kept >= begin) & (kept < begin + 600)]
        assert y[within].max() == y[begin : begin + 600].max()
        assert y[within].min() == y[begin : begin + 600].min()


def test_thinning_takes_values_that_are_never_numbers_and_axes_that_run_back():
    x = np.concatenate([np.arange(500), np.arange(500)])
    assert len(thin(x, np.full(1000, np.nan), 16)) <= 9
    assert len(thin(np.zeros(1000), np.arange(1000.0), 16)) <= 16


def test_many_and_long_series_stay_within_the_room():
    steps = range(3000)
    rows = [{"train/global_step": step} | {f"train/m{at}": step * at for at in range(40)} for step in steps]
    data = page_data([record_in_memory(rows), record_in_memory(rows)])
    points = sum(len(one["x"]) for chart in data["charts"] for one in chart["traces"])
    assert 70_000 < points <= 100_000
    assert {one["rows"] for chart in data["charts"] for one in chart["traces"]} == {3000}


def test_short_series_leave_their_room_to_long_ones():
    assert fair_shares([5, 5, 100_000], 1000, least=16) == 990
    assert fair_shares([], 1000, least=16) == 1000
    assert fair_shares([100] * 1000, 1000, least=16) == 16


def normal_counts(step: int, scale: float) -> Counts:
    counts, edges = np.histogram(np.random.default_rng(step).normal(size=5000) * scale, bins=64)
    return Counts(step, counts.astype(float), edges)


def test_histograms_over_time_share_their_bins():
    found = grid([normal_counts(step, 1 + step) for step in range(100)], 10, 32)
    assert found["steps"][0] == 0
    assert found["steps"][-1] == 99
    assert found["rows"] == 100
    shares = np.frombuffer(base64.b64decode(found["shares"]), np.uint8).reshape(10, 32) * found["most"] / 255
    assert shares.sum(axis=1) == pytest.approx(np.ones(10), abs=0.1)
    centres = found["low"] + (np.arange(32) + 0.5) * (found["high"] - found["low"]) / 32
    spread = np.sqrt((shares * centres**2).sum(axis=1))
    assert spread[-1] == pytest.approx(100, rel=0.15)
    assert np.all(np.diff(spread) > 0)


def test_a_far_value_does_not_hide_the_others():
    counts = np.zeros(64)
    counts[0], counts[-1] = 9999, 1
    inner = normal_counts(1, 1e-3)
    found = grid([inner, Counts(2, np.append(inner.counts, 1), np.append(inner.edges, 1e6))], 10, 32)
    assert found["high"] < 1


def test_histograms_of_equal_values_and_broken_ones():
    same = grid([Counts(1, np.array([5.0]), np.array([0.5, 0.5]))], 10, 32)
    assert same["low"] < 0.5 < same["high"]
    assert same["most"] == 1
    broken = [
        {"values": [1, 2], "bins": [0, 1]},
        {"values": [1], "bins": [0, "NaN"]},
        {"values": [0], "bins": [0, 1]},
        {},
    ]
    packed = {"values": [1, 2], "packedBins": {"min": -1, "size": 0.5, "count": 2}}
    rows = [{"h": {"_type": "histogram", **one}} for one in [*broken, packed]]
    (only,) = read_values(record_in_memory(rows)).histograms["h"]
    assert only.edges.tolist() == [-1, -0.5, 0]


def test_layers_of_models_that_keras_has_numbered_are_compared():
    values = [read_values(record_in_memory([])) for _ in range(4)]
    for found, model in zip(values, ["bert/", "bert_1/", "", "bert/"], strict=True):
        for layer in ("embeddings/word", "pooler/kernel"):
            found.histograms[f"gradients/{model}{layer}"] = [normal_counts(1, 1.0)]
            found.series[f"gradients_norm/{model}{layer}"] = Series([1], [0.5])
    # The last one was resumed in the same process.
    values[3].histograms["gradients/bert_1/pooler/kernel"] = [normal_counts(2, 1.0)]
    values[3].series["gradients_norm/bert_1/pooler/kernel"] = Series([2], [0.7])
    panels = layer_panels(values)
    assert panels["names"] == ["embeddings/word", "pooler/kernel"]
    assert [(one["run"], one["name"]) for one in panels["grids"]] == [
        (run, name) for run in range(4) for name in (0, 1)
    ]
    assert panels["grids"][-1]["steps"] == panels["norms"][-1]["x"] == [1, 2]


def test_layers_that_only_look_like_numbered_models_stay_apart():
    values = read_values(record_in_memory([]))
    for block in ("block/attention/kernel", "block_1/attention/kernel"):
        values.histograms[f"gradients/{block}"] = [normal_counts(1, 1.0)]
    values.histograms["mine"] = [normal_counts(1, 1.0)]
    panels = layer_panels([values])
    assert panels["names"] == ["block/attention/kernel", "block_1/attention/kernel", "mine"]
    assert [one["kind"] for one in panels["grids"]] == ["gradients", "gradients", "values"]


def test_more_histograms_than_there_is_room_for_are_counted():
    values = read_values(record_in_memory([]))
    for at in range(3000):
        values.histograms[f"gradients/{at}"] = [Counts(1, np.ones(4), np.arange(5.0))]
    panels = layer_panels([values])
    assert len(panels["grids"]) + panels["left_out"] == 3000
    assert panels["left_out"] > 0


def test_a_large_table_keeps_its_newest_rows_and_says_how_many_are_missing(tmp_path):
    cells = [[step, "x" * 5000] for step in range(2000)]
    write_run(
        tmp_path,
        [],
        tables={
            "long": (["train/global_step", "text"], cells),
            "other": (["text"], [["y" * 900] for _ in range(2000)]),
        },
    )
    main(["report", str(tmp_path), "-o", "page.html"])
    long, other = data_in("page.html")["tables"]
    assert long["rows"][-1] == [1999, {"t": "x" * 2000}]
    assert 300 < len(long["rows"]) == 2000 - long["left_out"]
    assert other["rows"][0] == ["y" * 900]
    assert 300 < len(other["rows"]) == 2000 - other["left_out"]


def test_integers_are_whole(tmp_path):
    large = 2**53 + 1
    columns, cells = (
        ["id", "at", "x"],
        [[1234567, 1764460800123.0, 0.12345678], [-large, 20261130, math.nan], [0, 1e300, 1]],
    )
    rows = [{"train/global_step": 1234567, "eval/num_input_tokens_seen": 123456789, "eval/loss": 0.12345678}]
    data = page_data([record_in_memory(rows, tables={"ids": (columns, cells)}, directory=tmp_path)])
    assert data["tables"][0]["rows"] == [
        [1234567, 1764460800123, 0.123457],
        [{"n": str(-large)}, 20261130, "nan"],
        [0, 1e300, 1],
    ]
    assert trace(data, "eval/num_input_tokens_seen")["y"] == [123456789]
    assert data["runs"][0]["best"]["eval/loss"] == [0.123457, 1234567]


def test_what_only_the_summary_has_stands_side_by_side(tmp_path):
    rows = [{"train/global_step": 1, "train/loss": 0.5, "logged": 1.0, "nothing": None}]
    picture = {"_type": "image-file", "path": "picture.png"}
    first = {
        "_step": 3,
        "train/global_step": 1,
        "train/loss": 0.5,
        "test": {"acc": 0.912345678, "word": BOLD},
        "tweet": 2**53 + 1,
        "bad": math.nan,
        "yes": True,
        "sizes": [1, 2],
        "nothing else": None,
        "api_key": "x1",
        "seen": picture,
    }
    tables = {"answers": (["n"], [[1]])}
    runs = [
        record_in_memory(rows, summary=first, tables=tables, directory=tmp_path),
        record_in_memory(rows[:0], summary={"train/loss": 0.25, "test": {"acc": 1}, "text": "x" * 900}, run_id="b"),
    ]
    data = page_data(runs)
    assert data["final"] == [
        ["api_key", "<API_KEY>", None],
        ["bad", "nan", None],
        ["sizes", "[1, 2]", None],
        ["test.acc", 0.912346, 1],
        ["test.word", BOLD, None],
        ["text", None, "x" * 400 + " …"],
        ["train/loss", 0.5, 0.25],
        ["tweet", {"n": str(2**53 + 1)}, None],
        ["yes", "true", None],
    ]
    assert data["left_out"] == {"image": 1}


def test_what_has_no_place_is_counted():
    histogram = {"_type": "histogram", "values": [1], "bins": [0, 1]}
    rows = [
        {"a": "text", "b": [1, 2], "c": {"_type": "html-file"}, "d": {"_type": "table-file"}, "e": None, "_f": "own"},
        {"a": "text", "b": 10**400, "c": histogram, "d": histogram | {"values": [0]}},
    ]
    data = page_data([record_in_memory(rows, summary={"c": {"_type": "html-file"}, "a": "text"})] * 2)
    expected = {"text": 2, "list": 1, "html": 1, "histogram": 1, "int": 1}
    assert data["left_out"] == {kind: 2 * expected[kind] for kind in sorted(expected)}
    assert data["final"] == []


def test_columns_of_one_name_stay_apart(tmp_path):
    table = (["a", "a", "a (2)", "b", "a"], [[1, 2, 3, 4, 5]])
    run = record_in_memory([], tables={"doubles": table}, directory=tmp_path)
    assert run.table("doubles").columns == ("a", "a (3)", "a (2)", "b", "a (4)")
    (shown,) = page_data([run])["tables"]
    assert (shown["columns"], shown["rows"]) == (["a", "a (3)", "a (2)", "b", "a (4)"], [[1, 2, 3, 4, 5]])


def test_of_large_dicts_that_differ_what_differs_is_shown():
    names = [f"setting_number_{number:02d}" for number in range(30)]
    first = {name: number for number, name in enumerate(names)}
    second = first | {names[3]: "other", names[29]: -1}
    found = compare([{"model": first, "same": first}, {"model": second, "same": first}])
    assert found["differing"] == [[f"model.{names[3]}", "3", "other"], [f"model.{names[29]}", "29", "-1"]]
    assert [name for name, _ in found["equal"]] == ["model (28 that are the same)", "same"]
    assert found["equal"][0][1].startswith("setting_number_00: 0, setting_number_01: 1, ")
    # A dict that is small in one run and large in the other is the same dict.
    found = compare([{"model": first}, {"model": {names[0]: 0}}, {}])
    assert len(found["partial"]) == 25
    assert found["partial"][0] == [f"model ({30 - 24} more that differ)", found["partial"][0][1], None, None]
    assert found["partial"][1] == [f"model.{names[0]}", "0", "0", None]
    everything = compare(
        [{"labels": {str(one): one for one in range(999)}}, {"labels": {str(one): -one for one in range(1, 999)}}]
    )
    assert len(everything["differing"]) + len(everything["partial"]) == 25


def test_long_values_are_cut_where_they_differ():
    long = "x" * 500
    assert compare([{"p": long + "a"}, {"p": long + "b"}])["differing"] == [
        ["p", f"… {long[:100]}a", f"… {long[:100]}b"]
    ]
    found = compare([{"p": long + "a"}, {"p": long + "b"}, {"p": "y"}])["differing"][0][1:]
    assert [text[-12:] for text in found] == [" (variant 1)", " (variant 2)", " (variant 3)"]
    assert compare([{"p": long}, {}])["partial"] == [["p", f"{long[:400]} …", None]]


def test_pictures_are_embedded_once_small_and_without_what_else_their_files_tell(tmp_path):
    from PIL import Image

    large = tmp_path / "large.jpg"
    pixels = np.random.default_rng(0).integers(0, 255, size=(800, 1200, 3)).astype(np.uint8)
    exif = Image.Exif()
    exif[0x010E] = "a secret place"
    Image.fromarray(pixels).save(large, exif=exif)
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    pictures = PagePictures()
    assert [pictures.number_of_file(str(large)), pictures.number_of_file(str(large))] == [0, 0]
    assert [pictures.number_of_file(str(tmp_path / "broken.png")), pictures.number_of_file(None)] == [None, None]
    assert pictures.num_left_out == 2
    (text,) = pictures.texts
    assert len(text) < 12_000
    assert b"secret" not in base64.b64decode(text.partition(",")[2])


def test_a_page_is_written_into_a_directory_that_is_there(tmp_path):
    for output in (tmp_path, tmp_path / "no" / "page.html"):
        with pytest.raises(SettingError, match="a file in a directory"):
            write_report([record_in_memory([])], output)
    (tmp_path / "page.html").write_text("before")
    assert write_report([record_in_memory([])], tmp_path / "page.html").stat().st_size > 1_000_000
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["page.html"]
