"""What was hoped for and predicted, beside what the tables say."""

from dataclasses import dataclass
from typing import Any

from tools.benchmarks.gpu.record import Row

# (section, mode, precision, backbone): where a row of the tables is found.
Place = tuple[str, str, str, str]


@dataclass(frozen=True)
class Target:
    """A ratio of two rows of one run.

    Attributes:
        what: In words.
        slow: The row to be faster than.
        fast: The row that is to be faster.
        by: How many times, at least.
        predicted: How many times, by tracing without a GPU and a roofline of an H100; None where
            nothing was predicted.
        column: Of the rows: ``'latency_ms'``, or ``'queued_ms'`` for throughput.
    """

    what: str
    slow: Place
    fast: Place
    by: float
    predicted: float | None
    column: str = 'latency_ms'


def _of_dense(
    section: str, mode: str, precision: str, goals: dict[str, tuple[float, float | None]]
) -> list[Target]:
    return [
        Target(
            f'{section}, {mode}, {precision}: {name} against our own dense',
            (section, mode, precision, 'dense'),
            (section, mode, precision, name),
            *goal,
        )
        for name, goal in goals.items()
    ]


B4 = 'swin_t_batch_4'
TARGETS = [
    *_of_dense(B4, 'graph', 'bf16', {'middle': (1.35, 1.26), '60 %': (1.85, 1.6)}),
    *_of_dense('compiled', 'compile', 'bf16', {'middle': (1.35, 1.38), '60 %': (1.85, 1.89)}),
    *_of_dense(B4, 'eager', 'fp32', {'middle': (1.38, 1.39), '60 %': (2.1, 2.21)}),
    *_of_dense('swin_l', 'graph', 'bf16', {'middle': (1.4, 1.42), '60 %': (1.95, 1.98)}),
    *(
        Target(
            f'{B4}: {name}, graph, bf16 against mmdet, eager, amp bf16',
            (B4, 'eager', 'amp bf16', 'mmdet Swin'),
            (B4, 'graph', 'bf16', name),
            *goal,
        )
        for name, goal in {'middle': (2.5, 2.5), '60 %': (3.5, 3.2)}.items()
    ),
    Target(
        'classifiers, eager, fp32: images per second of SparseFormer-T against Swin-T',
        ('classifiers', 'eager', 'fp32', 'torchvision Swin-T'),
        ('classifiers', 'eager', 'fp32', 'SparseFormer-T'),
        1.75,
        None,
        'queued_ms',
    ),
]


def compare(sections: dict[str, Any]) -> list[Row]:
    """A row for each target: what was found, or that it was not measured.

    Args:
        sections: Of the record.
    """
    rows = []
    for target in TARGETS:
        slow, fast = (_find(sections, place, target.column) for place in (target.slow, target.fast))
        row: Row = dict(target=target.what, at_least=target.by, predicted=target.predicted)
        if slow is None or fast is None:
            rows.append(dict(row, found=None, met='not measured'))
        else:
            found = slow / fast
            rows.append(dict(row, found=found, met='yes' if found >= target.by else 'no'))
    return rows


def _find(sections: dict[str, Any], place: Place, column: str) -> float | None:
    section, *wanted = place
    for row in sections.get(section, {}).get('rows', []):
        if [row.get(key) for key in ('mode', 'precision', 'backbone')] == wanted:
            return float(row[column])
    return None
