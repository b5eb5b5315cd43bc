"""Estimates latencies from measurements on a busy machine.

Other programs can only make a pass longer: it is pre-empted for some milliseconds, or caches and
memory are shared for a while. So the fastest eighth of a component's times is the best estimate.
The components are estimated one by one: on a busy machine hardly any whole pass is undisturbed,
but most of its components are. The difference between two halves of the rounds says how far the
estimate can be trusted. Nothing here measures; recorded times go in, numbers come out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, inf
from statistics import mean

# If two halves of the rounds disagree by more, a table cannot be trusted.
NOISY = 0.1

Pass = Mapping[tuple, float]
Rounds = Sequence[Sequence[Pass]]  # for each round and setting, the milliseconds of each component


def fastest_eighth(values: Sequence[float]) -> float:
    """Mean of the fastest eighth, of the fastest one at least."""
    fastest = sorted(values)[: ceil(len(values) / 8)]
    return sum(fastest) / len(fastest)


def part_times(rounds: Rounds) -> list[dict[tuple, float]]:
    """For each setting, the milliseconds of each component."""
    return [
        {part: fastest_eighth([timed[part] for timed in passes]) for part in passes[0]}
        for passes in zip(*rounds, strict=True)
    ]


def pass_times(rounds: Rounds) -> list[float]:
    """For each setting, the milliseconds of a whole pass: the sum of its components."""
    return [sum(parts.values()) for parts in part_times(rounds)]


def spread(rounds: Rounds) -> float:
    """How far the estimates of two halves of the rounds, every other one, disagree.

    Returns:
        The largest relative difference of a whole pass, over the settings. Infinite with fewer than
        four rounds.
    """
    if len(rounds) < 4:
        return inf
    halves = pass_times(rounds[::2]), pass_times(rounds[1::2])
    return max(max(a, b) / min(a, b) - 1 for a, b in zip(*halves, strict=True))


def shared_by_threads(times: Mapping[int, float], threads: int) -> dict[int, float]:
    """Converts times of one thread to those of several threads.

    Threads divide the windows among them, but not the fixed work of a block, such as calling
    operators. The fixed work is the value at zero windows of a line through the times.

    Args:
        times: Milliseconds of one thread by the number of windows that are kept.
        threads: How many there will be.
    """
    center, middle = mean(times), mean(times.values())
    variance = sum((kept - center) ** 2 for kept in times)
    covariance = sum((kept - center) * (ms - middle) for kept, ms in times.items())
    slope = max(0.0, covariance / variance) if variance else 0.0
    alone = min(max(0.0, middle - slope * center), min(times.values()))
    return {kept: alone + (ms - alone) / threads for kept, ms in times.items()}


@dataclass(frozen=True)
class StoppingRule:
    """When to stop measuring.

    Attributes:
        seconds: About how long to measure.
        repeats: The least and the most rounds.
        stable: A spread at which measuring ends before the time is over.
        tolerable: A larger spread makes measuring go on after it.
        patience: At the latest, after so many times ``seconds``,
        at_least: but not before so many seconds.
        hopeless: A spread that ends measuring once the time is over.
    """

    seconds: float
    repeats: tuple[int, int]
    stable: float = 0.01
    tolerable: float = 0.04
    patience: float = 4.0
    at_least: float = 10.0
    hopeless: float = inf

    def done(self, rounds: int, elapsed: float, spread: float) -> bool:
        """Whether to stop after so many rounds and seconds, with such a spread."""
        least, most = self.repeats
        if rounds < least or rounds >= most:
            return rounds >= most
        if elapsed >= max(self.patience * self.seconds, self.at_least):
            return True
        if elapsed >= max(self.seconds, self.at_least) and self.hopeless < spread < inf:
            return True
        return spread <= (self.stable if elapsed < self.seconds else self.tolerable)
