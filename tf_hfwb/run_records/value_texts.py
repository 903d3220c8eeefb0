"""What a run has logged, as short texts for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tf_hfwb.errors import SettingError
from tf_hfwb.run_records.run_record import RunRecord
from tf_hfwb.tracking.log_items import MEDIA_TYPE, flatten

_SHORTENED = 200  # Characters of a text or list.


def short_summary(run: RunRecord) -> dict[str, Any]:
    """The summary of a run by one name each: numbers as they are, histograms, tables and media as short texts.

    Args:
        run: The run.
    """
    return {name: _short_value(run, name, value) for name, value in sorted(flatten(run.summary).items())}


def describe_media(value: Mapping[str, Any]) -> str:
    """What a logged histogram, image or the like is, in a few words.

    Example:
        >>> describe_media({"_type": "histogram", "values": [1, 2], "bins": [-0.125, 0, 0.25]})
        'histogram: 2 bins, -0.125 to 0.25'
        >>> describe_media({"_type": "image-file", "path": "media/images/digit_0.png"})
        'image: media/images/digit_0.png'
    """
    kind = str(value[MEDIA_TYPE])
    if kind == "histogram":
        packed = value.get("packedBins")
        if isinstance(packed, Mapping):
            first, count = packed.get("min", 0), packed.get("count", 0)
            return f"histogram: {count} bins, {first:.4g} to {first + count * packed.get('size', 0):.4g}"
        bins = value.get("bins") or [0, 0]
        return f"histogram: {len(bins) - 1} bins, {bins[0]:.4g} to {bins[-1]:.4g}"
    files = value.get("filenames")
    if isinstance(files, list):
        return f"{kind.replace('/', ', ')}: {len(files)} files"
    return f"{kind.removesuffix('-file')}: {value.get('path', 'no file')}"


def _short_value(run: RunRecord, name: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        if name in run.table_names():
            return f"table: {_rows_in_words(run, name)}, see tf-hfwb table RUN {name}"
        return describe_media(value)
    if isinstance(value, (str, list)) and len(text := str(value)) > _SHORTENED:
        return f"{text[:_SHORTENED]}..."
    return value


def _rows_in_words(run: RunRecord, key: str) -> str:
    try:
        return f"{len(run.table(key).rows)} rows"
    except SettingError:
        return "its file is missing"
