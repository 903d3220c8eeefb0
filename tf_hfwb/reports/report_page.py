"""``write_report``: one HTML page of runs that needs nothing but a browser."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import os
import pathlib
import string
import time
from collections.abc import Sequence
from typing import Any

import tf_hfwb
from tf_hfwb.errors import SettingError
from tf_hfwb.reports.checkpoint_rows import checkpoint_rows
from tf_hfwb.reports.config_comparison import compare
from tf_hfwb.reports.final_values import count_left_out, final_values
from tf_hfwb.reports.layer_panels import layer_panels
from tf_hfwb.reports.logged_values import read_values
from tf_hfwb.reports.machine_charts import machine_charts
from tf_hfwb.reports.metric_charts import metric_charts
from tf_hfwb.reports.page_pictures import PagePictures
from tf_hfwb.reports.page_tables import page_tables
from tf_hfwb.reports.run_overview import overviews
from tf_hfwb.run_records.run_record import RunRecord

_PAGE = pathlib.Path(__file__).parent / "page"
_PLOTLY = _PAGE / "plotly" / "plotly-cartesian.min.js"  # The part of it with curves and heat maps: a third.
# In the order in which they run; the plots' library comes before the last one.
_SCRIPTS = ("elements.js", "theme.js", "data_table.js", "sections.js", "charts.js", "layers.js")


def write_report(runs: Sequence[RunRecord], output: str | os.PathLike[str]) -> pathlib.Path:
    """Write a page with the curves, tables, checkpoints and configurations of runs.

    The page holds all it needs, and loads nothing. Data are text there, whatever markup they have. Secrets in
    configurations and texts are masked.

    Args:
        runs: One or more, in the order of the page.
        output: The file. One that is there is replaced.

    Returns:
        Its path.

    Raises:
        SettingError: ``output`` cannot be a file.
    """
    path = pathlib.Path(output).expanduser()
    if path.is_dir() or not path.parent.is_dir():
        raise SettingError(
            "output", os.fspath(output), expected="a file in a directory that is there", advice="Name another one."
        )
    _write(path, _fill_in(page_data(runs)))
    return path


def page_data(runs: Sequence[RunRecord]) -> dict[str, Any]:
    """All that the page shows of the runs, as JSON has it."""
    values = [read_values(run) for run in runs]
    pictures = PagePictures()
    return {
        "version": tf_hfwb.__version__,
        "made": time.time(),
        "runs": overviews(runs, values),
        "charts": metric_charts(values) + machine_charts(runs),
        "layers": layer_panels(values),
        "final": final_values(runs, values),
        "left_out": count_left_out(runs, values),
        "tables": page_tables(runs, pictures),
        "pictures": pictures.texts,
        "pictures_left_out": pictures.num_left_out,
        "checkpoints": checkpoint_rows(runs),
        "config": compare([run.config for run in runs]),
    }


def _fill_in(data: dict[str, Any]) -> str:
    names = [run["name"] for run in data["runs"]]
    title = names[0] if len(names) == 1 else f"{len(names)} runs"
    first = "\n".join((_PAGE / name).read_text(encoding="utf-8") for name in _SCRIPTS)
    library = _PLOTLY.read_text(encoding="utf-8")
    last = (_PAGE / "start.js").read_text(encoding="utf-8")
    return string.Template((_PAGE / "page.html").read_text(encoding="utf-8")).substitute(
        title=html.escape(title.encode(errors="replace").decode()),
        hashes=" ".join(map(_hash, (first, library, last))),
        style=(_PAGE / "page.css").read_text(encoding="utf-8"),
        data=_json(data),
        scripts=first,
        library=library,
        start=last,
    )


def _hash(script: str) -> str:
    """What allows this script to run, and no other."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _json(data: dict[str, Any]) -> str:
    """JSON that ends no script element: "<" in it is written as an escape."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _write(path: pathlib.Path, text: str) -> None:
    """Write the file as a whole: a page that was there stays until the new one is complete."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8", newline="")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
