"""The memory that a training, an evaluation or a prediction takes, as metrics."""

from __future__ import annotations

import contextlib
import gc
import pathlib
from collections.abc import Callable
from dataclasses import dataclass

from tf_hfwb.errors import SettingError
from tf_hfwb.keras_compat import Host

_STATUS = pathlib.Path("/proc/self/status")
_CLEAR = pathlib.Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class _Use:
    """Bytes in use now, and the most that were since the peak was forgotten."""

    now: int
    peak: int


class MemoryMetrics:
    """Measures stages by their beginning and end; the system counts the peak, so nothing runs in between.

    The metrics are those of transformers' ``Trainer``, in bytes: ``train_mem_cpu_alloc_delta`` is how much more is in
    use at the end of the training than at its beginning, and ``train_mem_cpu_peaked_delta`` how much more than at the
    end there was in its course. ``_gpu_`` is the same of all GPUs, where TensorFlow computes. What the constructor of
    the trainer took is in the metrics of the first stage after it.

    Args:
        is_on: Whether to measure.
        host: The model.

    Raises:
        SettingError: This system does not tell the memory of a process.
    """

    def __init__(self, is_on: bool, host: Host) -> None:
        if is_on and not _STATUS.exists():
            raise SettingError(
                "skip_memory_metrics",
                False,
                expected="True on this system: what a process uses is read from /proc, as Linux has it",
            )
        self._host = host
        self._of_constructor: dict[str, int] = {}

    def begin(self, stage: str, is_on: bool) -> Callable[[], dict[str, int]]:
        """Begin a stage.

        Args:
            stage: The first word of its metrics: ``"init"``, ``"train"``, ``"eval"`` or ``"test"``.
            is_on: Whether to measure it.

        Returns:
            What ends the stage and returns its metrics, none if it is not measured.
        """
        if not is_on:
            return dict
        before = self._measure(forget_peaks=True)

        def end() -> dict[str, int]:
            found: dict[str, int] = {}
            for kind, use in self._measure().items():
                begun = before[kind]
                # Where the system cannot forget a peak, an older one hides all that are lower.
                peak = use.peak if use.peak > begun.peak else max(use.now, begun.now)
                found[f"{stage}_mem_{kind}_alloc_delta"] = use.now - begun.now
                found[f"{stage}_mem_{kind}_peaked_delta"] = max(0, peak - use.now)
            if stage == "init":
                self._of_constructor = found | {f"before_init_mem_{kind}": use.now for kind, use in before.items()}
                return {}
            found, self._of_constructor = self._of_constructor | found, {}
            return found

        return end

    def _measure(self, *, forget_peaks: bool = False) -> dict[str, _Use]:
        gc.collect()
        uses = {"cpu": _memory_of_process(forget_peaks)}
        if self._host.keras.backend.backend() == "tensorflow":
            uses |= _memory_of_gpus(forget_peaks)
        return uses


def _memory_of_process(forget_peak: bool) -> _Use:
    if forget_peak:
        with contextlib.suppress(OSError):
            _CLEAR.write_text("5")
    lines = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines() if ":" in line)
    return _Use(*(1024 * int(lines[name].split()[0]) for name in ("VmRSS", "VmHWM")))


def _memory_of_gpus(forget_peaks: bool) -> dict[str, _Use]:
    import tensorflow as tf

    names = [device.name for device in tf.config.list_logical_devices("GPU")]
    if not names:
        return {}
    if forget_peaks:
        for name in names:
            tf.config.experimental.reset_memory_stats(name)
    each = [tf.config.experimental.get_memory_info(name) for name in names]
    return {"gpu": _Use(*(sum(info[part] for info in each) for part in ("current", "peak")))}
