"""Pixels of any range as images."""

from __future__ import annotations

from typing import Any

import numpy as np


def is_picture(pixels: np.ndarray) -> bool:
    """Whether one sample's values can be shown as an image: [height, width], or with 1, 3 or 4 channels at the end."""
    return (pixels.ndim == 2 and min(pixels.shape) > 3) or (pixels.ndim == 3 and pixels.shape[-1] in (1, 3, 4))


def to_picture(pixels: np.ndarray) -> np.ndarray:
    """An image as uint8 [height, width] or [height, width, channels].

    Values up to 1 are fractions of white, values up to 255 are bytes, and any other range is stretched.

    Example:
        >>> to_picture(np.array([[0.0, 0.5], [1.0, 0.25]])).tolist()
        [[0, 128], [255, 64]]
        >>> to_picture(np.array([[-1.0, 0.0], [1.0, 0.0]])).tolist()
        [[0, 128], [255, 128]]
    """
    if pixels.dtype == np.uint8:
        return pixels
    values = np.nan_to_num(pixels.astype(np.float32))
    low, high = float(values.min(initial=0.0)), float(values.max(initial=0.0))
    if low >= 0 and high > 1 and high <= 255:
        return np.rint(values).astype(np.uint8)
    if low < 0 or high > 1:
        values = (values - low) / max(high - low, 1e-9)
    return np.floor(values * 255 + 0.5).astype(np.uint8)


def unprocess_picture(values: np.ndarray, processing_class: Any) -> np.ndarray:
    """Turn the pixel values that an image processor made back into an image.

    Args:
        values: [channels, height, width], as transformers' models take it.
        processing_class: The image processor; without one the range is stretched.
    """
    pixels = np.moveaxis(values.astype(np.float32), 0, -1)
    processor = getattr(processing_class, "image_processor", processing_class)
    mean, deviation = getattr(processor, "image_mean", None), getattr(processor, "image_std", None)
    if mean is not None and deviation is not None and getattr(processor, "do_normalize", True):
        pixels = np.clip(pixels * np.asarray(deviation) + np.asarray(mean), 0.0, 1.0)
    return to_picture(pixels)
