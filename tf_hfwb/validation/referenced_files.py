"""Checks that the files that the JSON of a transformers model names lie beside it.

transformers opens whatever file is named, wherever it is: a tokenizer's vocabulary, a shard of the weights.
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping
from typing import Any

from tf_hfwb.errors import UnsafeModelError, WeightsError

# Keys whose values a tokenizer or image processor opens. save_pretrained does not write such keys.
_ENDINGS = ("_file", "_spm")
_KEYS = ("vocab", "merges")
_UNUSED = ("special_tokens_map_file", "added_tokens_file")
# Keys of lists of files, of which the one for the version of transformers is opened.
_VERSIONS = ("fast_tokenizer_files", "configuration_files")


def is_beside(name: Any) -> bool:
    """Whether it is the name of a file, without a path in front of it."""
    return isinstance(name, str) and name not in ("", ".", "..") and not set(name) & set("/\\\0")


def shards_of(index_file: str) -> list[str]:
    """The files that an index of weights names.

    Raises:
        WeightsError: It is not an index, or names a file that does not lie beside it.
    """
    try:
        with open(index_file, encoding="utf-8") as stream:
            names = set(json.load(stream)["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise WeightsError(
            f"{index_file} is not an index of shards: {error!r}. Expected JSON with a weight_map from the name of each "
            "tensor to its file. Download or save the checkpoint again."
        ) from error
    outside = [name for name in names if not is_beside(name)]
    if outside:
        raise WeightsError(
            f"{index_file} names the file {outside[0]!r}. Expected shards that lie beside it, by their names alone. "
            "Download or save the checkpoint again."
        )
    return sorted(names)


def check_processing(path: pathlib.Path) -> None:
    """Refuse a tokenizer or image processor that would open files which do not lie beside it.

    Args:
        path: The directory.

    Raises:
        UnsafeModelError: One of its JSON files names such a file.
        ValueError: One is not JSON.
    """
    for file in ("tokenizer_config.json", "preprocessor_config.json", "config.json"):
        if not (path / file).is_file():
            continue
        values = json.loads((path / file).read_text(encoding="utf-8"))
        if isinstance(values, dict):
            for key, name in _files_elsewhere(values, file, has_fast_tokenizer=(path / "tokenizer.json").is_file()):
                raise UnsafeModelError(
                    f"{path / file} names the file {name!r} as its {key}. Expected the files of a tokenizer or image "
                    f"processor beside it, as save_pretrained writes them. Take {key} out of it; or, if you trust "
                    "whoever made it, load it with transformers, and pass it as processing_class."
                )


def _files_elsewhere(values: Mapping[str, Any], file: str, *, has_fast_tokenizer: bool) -> list[tuple[str, Any]]:
    """The files that would be opened elsewhere, with their keys."""
    found: list[tuple[str, Any]] = []
    for key, value in values.items():
        if key in _VERSIONS:
            found += [(key, name) for name in (value if isinstance(value, list) else [value]) if not is_beside(name)]
        elif file == "config.json" or key in _UNUSED or (key == "tokenizer_file" and not has_fast_tokenizer):
            continue
        elif isinstance(value, str) and (key.endswith(_ENDINGS) or key in _KEYS):
            found.append((key, value))
    return found
