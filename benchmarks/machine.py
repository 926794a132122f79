"""The machine that is measured: what a figure is worth nothing without."""

import os
import platform
import statistics
import time
from datetime import datetime, timezone
from pathlib import Path

from eventflowdb.storage.folder import file_system_of

_FLUSHES = 300
_FLUSHED_BYTES = 4096


def describe(folder: Path) -> dict[str, str]:
    """The machine, and the disk that a folder is on."""
    return {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "file system": file_system_of(folder) or "unknown",
        "disk": f"4 KiB appended and flushed (fdatasync) in {_flush_microseconds(folder):.0f} us",
        "Python": platform.python_version(),
    }


def in_words(machine: dict[str, str]) -> str:
    """On one line."""
    return "; ".join([machine["date"], *[f"{name}: {text}" for name, text in machine.items() if name != "date"]])


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    models = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def _flush_microseconds(folder: Path) -> float:
    """The median of some hundred."""
    path, taken = folder / "flushed", []
    with path.open("wb", buffering=0) as file:
        for _ in range(_FLUSHES):
            began = time.perf_counter()
            file.write(os.urandom(_FLUSHED_BYTES))
            os.fdatasync(file.fileno())
            taken.append(time.perf_counter() - began)
    path.unlink()
    return 1e6 * statistics.median(taken)
