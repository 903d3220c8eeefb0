"""A plot of trials as a picture: one axis for each hyperparameter and objective, one line for each trial."""

from __future__ import annotations

import html
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

# In pixels.
_HEIGHT, _BETWEEN, _MARGIN = 340, 150, 60


@dataclass(frozen=True)
class Axis:
    """One axis.

    Attributes:
        name: What stands above it.
        values: The value of each line; None where it has none.
    """

    name: str
    values: Sequence[Any]

    @property
    def is_numeric(self) -> bool:
        """Whether it has a scale."""
        return all(_is_number(value) for value in self.values if value is not None)

    def places(self) -> list[float | None]:
        """The height of each value, from 0 at the bottom to 1; None where there is none."""
        known = [value for value in self.values if value is not None]
        if not self.is_numeric:
            words = sorted({str(value) for value in known})
            return [None if one is None else words.index(str(one)) / max(1, len(words) - 1) for one in self.values]
        scale = math.log10 if self.is_logarithmic else float
        low, high = (scale(end(known)) for end in (min, max)) if known else (0.0, 0.0)
        span = high - low
        return [None if one is None else (scale(one) - low) / span if span else 0.5 for one in self.values]

    @property
    def is_logarithmic(self) -> bool:
        """Whether the values are positive and spread over more than a factor of 20."""
        known = [value for value in self.values if value is not None]
        return self.is_numeric and bool(known) and min(known) > 0 and max(known) / min(known) > 20

    def ticks(self) -> list[tuple[float, str]]:
        """Heights with the text beside them: every word, or a few numbers."""
        there = [(place, one) for place, one in zip(self.places(), self.values, strict=True) if place is not None]
        if not self.is_numeric:
            return sorted({(place, str(one)) for place, one in there})
        texts = {place: f"{one:.3g}" for place, one in sorted(there, key=lambda pair: pair[0])}
        places = list(texts)
        chosen = {places[round(i * (len(places) - 1) / 4)] for i in range(5)} if places else set()
        return [(place, texts[place]) for place in sorted(chosen)]


def draw(axes: Sequence[Axis], best: Collection[int]) -> str:
    """The picture, as SVG that needs nothing else.

    Args:
        axes: The axes from left to right. Lines are coloured by the last one.
        best: The lines that are drawn thick.

    Returns:
        The picture; empty where there is no line.

    Example:
        >>> picture = draw([Axis("rate", [0.1, 0.01]), Axis("objective", [1.0, 2.0])], best=[0])
        >>> picture.count("<polyline"), "rate" in picture
        (2, True)
    """
    if not axes or not axes[0].values:
        return ""
    # What is not finite has no height.
    axes = [Axis(axis.name, [None if _is_infinite(value) else value for value in axis.values]) for axis in axes]
    width = 2 * _MARGIN + _BETWEEN * max(1, len(axes) - 1)
    size = f'viewBox="0 0 {width} {_HEIGHT + 2 * _MARGIN}" font-family="sans-serif" font-size="11"'
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" {size}>']
    places = [axis.places() for axis in axes]
    lines = range(len(axes[0].values))
    for line in sorted(lines, key=lambda one: one in best):  # The best ones on top.
        points = [(_x(i), _y(place)) for i, of_axis in enumerate(places) if (place := of_axis[line]) is not None]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        last = places[-1][line]
        hue = 250 if last is None else round(250 - 220 * last)
        stroke = 4 if line in best else 1.2
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="hsl({hue},75%,45%)" stroke-width="{stroke}" opacity="0.8"/>'
        )
    for i, axis in enumerate(axes):
        parts += _axis(axis, _x(i))
    return "\n".join([*parts, "</svg>"])


def _axis(axis: Axis, x: float) -> list[str]:
    name = html.escape(axis.name)
    parts = [f'<line x1="{x}" y1="{_y(1)}" x2="{x}" y2="{_y(0)}" stroke="#444"/>']
    parts.append(f'<text x="{x}" y="{_MARGIN - 18}" text-anchor="middle" font-weight="bold">{name}</text>')
    for place, text in axis.ticks():
        parts.append(f'<text x="{x + 4}" y="{_y(place) + 4:.1f}" fill="#222">{html.escape(text)}</text>')
    return parts


def _x(axis: int) -> float:
    return _MARGIN + axis * _BETWEEN


def _y(place: float) -> float:
    return _MARGIN + (1 - place) * _HEIGHT


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_infinite(value: Any) -> bool:
    return _is_number(value) and not math.isfinite(value)
