"""An image processor in the graph: from the bytes of a picture to the pixels that a model takes."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

_BILINEAR, _BICUBIC = 2, 3  # As Pillow numbers them.
_REACH = {_BILINEAR: 1.0, _BICUBIC: 2.0}  # How far a pixel's weight goes.
_FIXED = 1 << 22  # Pillow's weights are whole numbers of this part.
_KNOWN = {
    *("do_convert_rgb", "do_resize", "size", "resample", "do_center_crop", "crop_size"),
    *("do_rescale", "rescale_factor", "do_normalize", "image_mean", "image_std"),
    *("image_processor_type", "processor_class", "data_format", "input_data_format", "return_tensors"),
}
_ACCEPTED = 0.5  # Of a level, in the mean over a picture.
_SIZES = [(31, 17), (64, 64), (240, 319), (2, 5)]  # Of the pictures that are compared.


class UnsupportedProcessorError(Exception):
    """There is no construction of the image processor in TensorFlow's operations; the message says why."""


class PicturesInGraph:
    """An image processor as TensorFlow operations: decoding, resizing, cutting out the middle, scaling.

    The pixels are the same to the bit as those of Pillow, with which image processors resize: its weights are rounded,
    and so are the values between its two passes. Only where Pillow 13 and newer resizes the height first, because that
    shrinks a picture more, do some differ by one of 256 levels.

    Args:
        processor: An image processor of transformers.

    Attributes:
        sides: The height and the width of what it makes.

    Raises:
        UnsupportedProcessorError: It has unknown options, or its pixels differ.
    """

    def __init__(self, processor: Any) -> None:
        options = json.loads(processor.to_json_string()) if hasattr(processor, "to_json_string") else {}
        if "image_processor_type" not in options:
            raise UnsupportedProcessorError(f"{type(processor).__name__} is no image processor")
        unknown = [name for name, value in options.items() if name not in _KNOWN and value not in (None, False)]
        if unknown:
            raise UnsupportedProcessorError(f"it has options that are not known: {', '.join(unknown)}")
        self._options = {name: value for name, value in options.items() if value is not None}
        self._size = self._sides("size") if self._options.get("do_resize") else None
        self._crop = self._sides("crop_size") if self._options.get("do_center_crop") else None
        if self._size is None:
            raise UnsupportedProcessorError("it does not resize, so pictures of a batch may differ in size")
        self.sides = self._crop or self._size
        if self._crop is not None and any(c > s for c, s in zip(self._crop, self._size, strict=True)):
            raise UnsupportedProcessorError(f"it cuts out {self._crop}, which is more than {self._size}")
        if self._options.get("resample") not in _REACH:
            raise UnsupportedProcessorError(f"it resizes by the method {self._options.get('resample')} of Pillow")
        self._compare(processor)

    def __call__(self, image_bytes: Any) -> Any:
        """The pixels.

        Args:
            image_bytes: Pictures in a format that TensorFlow decodes (JPEG, PNG, GIF, BMP) [batch].

        Returns:
            ``pixel_values`` [batch, 3, height, width].
        """
        import tensorflow as tf

        spec = tf.TensorSpec([*self.sides, 3], tf.float32)
        pixels = tf.map_fn(self._picture, image_bytes, fn_output_signature=spec)
        return tf.transpose(pixels, [0, 3, 1, 2])

    def _sides(self, name: str) -> tuple[int, int]:
        size = self._options.get(name)
        if not isinstance(size, dict) or set(size) != {"height", "width"}:
            raise UnsupportedProcessorError(f"its {name} is {size}, and not a height and a width")
        return size["height"], size["width"]

    def _picture(self, encoded: Any) -> Any:
        import tensorflow as tf

        # The two ways to decode a JPEG differ by some levels; Pillow uses this one.
        levels = tf.cond(
            tf.io.is_jpeg(encoded),
            lambda: tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE"),
            lambda: tf.io.decode_image(encoded, channels=3, expand_animations=False),
        )
        pixels = self._resize(tf.ensure_shape(levels, [None, None, 3]))
        if self._crop is not None and self._size is not None:
            top, left = ((s - c) // 2 for s, c in zip(self._size, self._crop, strict=True))
            pixels = pixels[top : top + self._crop[0], left : left + self._crop[1]]
        if self._options.get("do_rescale"):
            pixels *= self._options["rescale_factor"]
        if self._options.get("do_normalize"):
            pixels = (pixels - self._options["image_mean"]) / self._options["image_std"]
        return pixels

    def _resize(self, levels: Any) -> Any:
        """Resize as Pillow does: to the new width first, then to the new height."""
        import tensorflow as tf

        height, width = self._size or (0, 0)
        pixels = tf.cast(levels, tf.float64)
        for size in (width, height):
            pixels = tf.transpose(pixels, [1, 0, 2])  # The side to resize comes first.
            others = tf.shape(pixels)[1:]
            weights = _weights(tf.shape(pixels)[0], size, self._options["resample"])
            sums = tf.sparse.sparse_dense_matmul(weights, tf.reshape(pixels, [tf.shape(pixels)[0], -1]))
            pixels = tf.clip_by_value(tf.floor(sums / _FIXED + 0.5), 0.0, 255.0)
            pixels = tf.reshape(pixels, tf.concat([[size], others], 0))
        return tf.ensure_shape(tf.cast(pixels, tf.float32), [height, width, 3])

    def _compare(self, processor: Any) -> None:
        import tensorflow as tf

        pictures = examples()
        ours = self(tf.constant([tf.io.encode_png(picture).numpy() for picture in pictures])).numpy()
        theirs = np.asarray(processor(images=pictures, return_tensors="np")["pixel_values"])
        if ours.shape != theirs.shape:
            raise UnsupportedProcessorError(f"its pixels have the shape {theirs.shape[1:]}, not {ours.shape[1:]}")
        level = self._options["rescale_factor"] if self._options.get("do_rescale") else 1.0
        if self._options.get("do_normalize"):
            level /= max(self._options["image_std"])
        difference = float(np.max(np.mean(np.abs(ours - theirs), axis=(1, 2, 3)))) / level
        if difference > _ACCEPTED:
            raise UnsupportedProcessorError(f"the pixels of a picture are {difference:.1f} of 256 levels apart")


def _weights(old: Any, new: int, method: int) -> Any:
    """The weight of each old position in each new one: a sparse matrix [new, old] of whole numbers."""
    import tensorflow as tf

    scale = tf.cast(old, tf.float64) / new
    stretch = tf.maximum(scale, 1.0)
    reach = _REACH[method] * stretch
    center = (tf.range(new, dtype=tf.float64) + 0.5) * scale
    first = tf.maximum(tf.cast(center - reach + 0.5, tf.int64), 0)
    end = tf.minimum(tf.cast(center + reach + 0.5, tf.int64), tf.cast(old, tf.int64))
    places = first[:, None] + tf.range(tf.reduce_max(end - first))
    distance = tf.abs((tf.cast(places, tf.float64) - center[:, None] + 0.5) / stretch)
    if method == _BILINEAR:
        weights = tf.maximum(1.0 - distance, 0.0)
    else:  # Keys's, with a slope of -0.5.
        near = (1.5 * distance - 2.5) * distance**2 + 1.0
        far = ((-0.5 * distance + 2.5) * distance - 4.0) * distance + 2.0
        weights = tf.where(distance < 1.0, near, tf.where(distance < 2.0, far, 0.0))
    is_there = places < end[:, None]
    weights = tf.where(is_there, weights, 0.0)
    weights *= _FIXED / tf.reduce_sum(weights, axis=1, keepdims=True)
    rounded = tf.sign(weights) * tf.floor(tf.abs(weights) + 0.5)
    rows = tf.broadcast_to(tf.range(new, dtype=tf.int64)[:, None], tf.shape(places))
    indices = tf.stack([rows[is_there], places[is_there]], axis=1)
    return tf.SparseTensor(indices, rounded[is_there], [new, tf.cast(old, tf.int64)])


def sides_of(model: Any) -> tuple[int, int] | None:
    """The height and the width of the pictures that a model is made for; None when its configuration does not say."""
    size = getattr(model.config, "image_size", None)
    if size is None:
        return None
    height, width = size if isinstance(size, (list, tuple)) else (size, size)
    return int(height), int(width)


def examples() -> list[np.ndarray]:
    """Pictures of several sizes [height, width, 3]: a slope of colours, with noise."""
    random = np.random.default_rng(0)
    pictures = []
    for height, width in _SIZES:
        slope = np.linspace(0, 200, height)[:, None, None] + np.linspace(0, 40, width)[None, :, None]
        pictures.append(np.clip(slope + random.normal(0, 30, [height, width, 3]), 0, 255).astype(np.uint8))
    return pictures
