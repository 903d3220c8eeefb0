"""Pictures of tables, embedded small."""

from __future__ import annotations

import base64
import io
import os

_SIDE = 96  # Pixels of the longer side.
_BUDGET = 1_500_000  # Characters of all pictures of a page.
_LARGEST_FILE = 50_000_000


class PagePictures:
    """The pictures of a page. A picture that several rows show is embedded once."""

    def __init__(self) -> None:
        self.texts: list[str] = []  # As data URLs, in the order of their numbers.
        self.num_left_out = 0
        self._numbers: dict[str, int | None] = {}
        self._room = _BUDGET

    def number_of_file(self, path: str | None) -> int | None:
        """The number of the picture in a file.

        Args:
            path: The file; None if it is not on this machine.

        Returns:
            None if it cannot be read, or does not fit into the page any more.
        """
        if path is None:
            self.num_left_out += 1
            return None
        if path not in self._numbers:
            self._numbers[path] = self._embed(path)
        if self._numbers[path] is None:
            self.num_left_out += 1
        return self._numbers[path]

    def _embed(self, path: str) -> int | None:
        text = _small(path)
        if text is None or len(text) > self._room:
            return None
        self._room -= len(text)
        self.texts.append(text)
        return len(self.texts) - 1


def _small(path: str) -> str | None:
    """The picture as a data URL, of its pixels only: what else the file tells stays out."""
    from PIL import Image, UnidentifiedImageError

    if os.path.getsize(path) > _LARGEST_FILE:
        return None
    try:
        with Image.open(path) as picture:
            picture.draft("RGB", (2 * _SIDE, 2 * _SIDE))
            is_tiny = max(picture.size) <= _SIDE
            pixels = picture.convert("RGBA" if "A" in picture.getbands() or "transparency" in picture.info else "RGB")
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError):
        return None
    pixels.thumbnail((_SIDE, _SIDE))
    file = io.BytesIO()
    format_ = "PNG" if is_tiny else "WEBP"
    pixels.save(file, format_, **({"optimize": True} if is_tiny else {"quality": 80}))
    return f"data:image/{format_.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"
