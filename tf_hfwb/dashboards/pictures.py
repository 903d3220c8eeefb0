"""Pictures as dashboards take them: files of a format that a browser shows."""

from __future__ import annotations

import io

import numpy as np

from tf_hfwb.dashboards.log_entries import Picture


def picture_of(array: np.ndarray) -> Picture:
    """A picture as PNG.

    Args:
        array: uint8 [height, width] or [height, width, channels], of 1, 3 or 4 channels.

    Example:
        >>> picture = picture_of(np.zeros((2, 3), np.uint8))
        >>> picture.format, picture.width, picture.height
        ('png', 3, 2)
    """
    from PIL import Image

    file = io.BytesIO()
    image = Image.fromarray(array[:, :, 0] if array.ndim == 3 and array.shape[2] == 1 else array)
    image.save(file, "PNG")
    return Picture(file.getvalue(), "png", *image.size)


def read_picture(path: str, caption: str = "") -> Picture | None:
    """A picture in a file; None where it cannot be read."""
    from PIL import Image

    try:
        with open(path, "rb") as file:
            data = file.read()
        with Image.open(io.BytesIO(data)) as image:
            width, height = image.size
            return Picture(data, str(image.format).lower(), width, height, caption)
    except (OSError, ValueError):
        return None
