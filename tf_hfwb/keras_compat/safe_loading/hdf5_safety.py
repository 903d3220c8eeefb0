"""What may be in an HDF5 file of weights that somebody else wrote.

HDF5 can name other files, which the reader opens silently: by external and soft links, external storage, virtual
datasets and links of user-defined types. Their bytes would come back as weights. A file can also claim any size, by
compression and by values that were never written. Keras uses none of this: each weight lies in the file once,
uncompressed. So everything else is refused before any value is read.
"""

from __future__ import annotations

import contextlib
import math
import os
import pathlib
from collections.abc import Iterator
from typing import IO, Any

from tf_hfwb.errors import CorruptCheckpointError, TFHFWBError

_MOST_OBJECTS = 50_000
_DEEPEST = 256
_LARGEST_ATTRIBUTE = 64 << 10  # In bytes; HDF5's own limit unless a file asks for more.


def check_hdf5(source: str | os.PathLike[str] | IO[bytes] | Any, name: str | None = None) -> None:
    """Refuse an HDF5 file that holds anything else than arrays of numbers in groups, or less than it claims.

    Args:
        source: A path, a binary file, or an ``h5py.File`` that is open.
        name: What messages call it; the path, where it has one.

    Raises:
        CorruptCheckpointError: It holds something else, or cannot be read.
    """
    if name is None:
        name = os.fspath(source) if isinstance(source, (str, os.PathLike)) else str(getattr(source, "filename", "file"))
    with open_hdf5(source, name):
        pass


@contextlib.contextmanager
def open_hdf5(source: str | os.PathLike[str] | IO[bytes] | Any, name: str) -> Iterator[Any]:
    """An ``h5py.File`` that has been checked; see :func:`check_hdf5`.

    Raises:
        CorruptCheckpointError: It is refused, or what is done with it in the block fails.
    """
    import h5py

    try:
        if isinstance(source, h5py.File):
            _check_objects(source)
            yield source
            return
        if isinstance(source, (str, os.PathLike)) and not pathlib.Path(source).is_file():
            raise ValueError("it is not a regular file")
        with h5py.File(source, "r") as file:
            _check_objects(file)
            yield file
    except TFHFWBError:
        raise
    except Exception as error:  # h5py turns damage into errors of any kind.
        raise CorruptCheckpointError(
            f"{name} cannot be read with h5py {h5py.__version__}: {error}. Expected an HDF5 file of weights, as Keras "
            "writes it: arrays of numbers, whole, uncompressed, in this one file. Use another checkpoint, or copy this "
            "one again."
        ) from error


def _check_objects(file: Any) -> None:
    import h5py

    size = file.id.get_filesize()
    stored, seen = 0, {_address(file)}
    groups = [(file, 0)]
    while groups:
        group, depth = groups.pop()
        _check_attributes(group)
        if depth > _DEEPEST or len(seen) + len(group) > _MOST_OBJECTS:
            raise ValueError(f"it has more than {_DEEPEST} groups within each other or {_MOST_OBJECTS} objects")
        for key in group:
            # By the id, because h5py has no class for links of user-defined types. No link is followed.
            if group.id.links.get_info(key.encode()).type != h5py.h5l.TYPE_HARD:
                raise ValueError(f"{group.name}/{key} is a link to somewhere else")
            item = group[key]
            address = _address(item)
            if address in seen:
                raise ValueError(f"{group.name}/{key} is there under another name, too")
            seen.add(address)
            if isinstance(item, h5py.Group):
                groups.append((item, depth + 1))
            elif isinstance(item, h5py.Dataset):
                stored += _check_size(item)
            else:
                raise ValueError(f"{item.name} is neither a group nor an array")
            if stored > size:
                raise ValueError(f"its arrays claim {stored} bytes and more, and the file has {size}")


def _address(item: Any) -> int:
    import h5py

    return int(h5py.h5o.get_info(item.id).addr)


def _check_size(dataset: Any) -> int:
    """The bytes that an array takes in the file; refused unless all of its bytes are there."""
    if dataset.external or dataset.is_virtual:
        raise ValueError(f"the values of {dataset.name} lie elsewhere")
    if dataset.dtype.hasobject or dataset.dtype.names is not None:
        raise ValueError(f"{dataset.name} holds {dataset.dtype}, and not numbers")
    if dataset.id.get_create_plist().get_nfilters():
        raise ValueError(f"{dataset.name} is compressed, or filtered otherwise")
    _check_attributes(dataset)
    stored = int(dataset.id.get_storage_size())
    claimed = math.prod(dataset.shape or (0,)) * dataset.dtype.itemsize
    if claimed > stored:
        raise ValueError(f"{dataset.name} claims {claimed} bytes, of which {stored} are there")
    return stored


def _check_attributes(item: Any) -> None:
    for name in item.attrs:
        attribute = item.attrs.get_id(name)
        # h5py has no storage size for an empty attribute, as tf_model.h5 has for layers without weights.
        if attribute.shape is not None and math.prod(attribute.shape) * attribute.dtype.itemsize > _LARGEST_ATTRIBUTE:
            raise ValueError(f"the attribute {name!r} of {item.name} has more than {_LARGEST_ATTRIBUTE} bytes")
