"""Times passes on a device: one from its start to its end, and many in a queue."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

from tools.benchmarks.gpu.sections import Section

ROUNDS = 5, 60  # the least and the most
WARM_UP = 8


def latencies_ms(
    section: Section, runs: Mapping[str, Callable[[], Any]], seconds: float
) -> dict[str, float]:
    """Times functions in turns: each begins on an idle device and is waited for.

    A queue of work would hide what the host takes, which is most of an eager pass in half
    precision.

    Args:
        section: Whose device it is.
        runs: What to time.
        seconds: About how long.

    Returns:
        Medians of the rounds.
    """
    for run in runs.values():
        for _ in range(1 if section.tiny else WARM_UP):
            run()
    times: dict[str, list[float]] = {name: [] for name in runs}
    least, most = (1, 1) if section.tiny else ROUNDS
    end = time.monotonic() + seconds
    for count in range(most):
        if count >= least and time.monotonic() > end:
            break
        for name, run in runs.items():
            section.wait()
            began = time.perf_counter()
            run()
            section.wait()
            times[name].append((time.perf_counter() - began) * 1e3)
    return {name: statistics.median(values) for name, values in times.items()}


def throughput_ms(section: Section, run: Callable[[], Any], count: int = 30) -> float:
    """Milliseconds of a pass when passes stand in a queue, one behind the other."""
    if section.tiny:
        count = min(count, 2)
    for _ in range(max(1, count // 6)):
        run()
    section.wait()
    began = time.perf_counter()
    for _ in range(count):
        run()
    section.wait()
    return (time.perf_counter() - began) * 1e3 / count
