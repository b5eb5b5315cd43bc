"""What a search found, in a few lines."""

import math
from collections.abc import Mapping

from sparse_mm.engine.inspection import device_of
from sparse_mm.engine.search.records import Record
from sparse_mm.engine.search.sparsity_search import SparsitySearch
from sparse_mm.search.surrogate import fitted_noise

MIN_SCORES = 20  # for a trend of which something is left over


def summarise(search: SparsitySearch, winners: Mapping[int, Record]) -> list[str]:
    """What was found, in a few lines.

    Args:
        search: Which has run.
        winners: What it found.
    """
    dense = search.records.find(search.dense, winners[0].num_images)
    lines = []
    records = search.records
    if records.loaded:
        lines.append(
            f'{records.loaded} of {len(records.all)} scores taken from {records.loaded_from}'
        )
    if dense is not None and math.isfinite(dense.score):
        lines.append(f'dense: {search.settings.score_name} {with_error(dense)}')
    for index, budget in enumerate(search.settings.budgets):
        if index not in winners:
            lines.append(f'{budget}: no winner, because no setting within it has a score')
            continue
        record = winners[index]
        described = search.report.describe(record)
        costs = f'{described["macs"]:.3f} of the MACs'
        if 'latency' in described:
            costs += f', {described["latency"]:.3f} of the latency'
        if 'measured_latency' in described:
            measured = f'{described["measured_latency"]:.3f}'
            by_table = 'latency' in described
            costs += (
                f' (measured whole: {measured})'
                if by_table
                else f', {measured} of the latency (measured whole)'
            )
        ratios = [list(stage) for stage in record.ratios]
        lines.append(
            f'{budget}: {search.settings.score_name} {with_error(record)}, {costs}, {ratios}'
        )
        lines += compare(record, search.beside(index, record))
        if described.get('measured_latency', 0) > 1.1 * described.get('latency', float('inf')):
            lines.append(
                'measured whole, this winner is more than 10 % slower than the sum of its '
                'components: measure longer (latency_seconds), on a quieter machine'
            )
    lines += describe_noise(search)
    device = device_of(search.backbone)
    lines.append(f'costs of {search.report.describe(winners[0])["costs_of"]} on {device}')
    lines.append(f'results: {search.folder}/best.json, history.csv, pareto.png')
    return lines


def with_error(record: Record) -> str:
    """A score, and its standard error where that is known: ``0.634 ± 0.004``."""
    return _plus_minus(f'{record.score:.4f}', record.error)


def compare(winner: Record, beside: Mapping[str, Record]) -> list[str]:
    """How much better a winner is than others on the same images, and how sure that is.

    Args:
        winner: A score.
        beside: Others on the same images, by their names.

    Returns:
        One line; none where there is nothing to compare.
    """
    others = {name: other for name, other in beside.items() if other.ratios != winner.ratios}
    if not others:
        return []
    scores = [f'winner {with_error(winner)}']
    scores += [f'{name} {with_error(other)}' for name, other in others.items()]
    gains = [
        f'winner - {name} '
        + _plus_minus(f'{winner.score - other.score:+.4f}', winner.error_beside(other))
        for name, other in others.items()
    ]
    return [
        f'{", ".join(scores)}; {", ".join(gains)}: all on the same {winner.num_images} images, on '
        'which the winner was chosen'
    ]


def _plus_minus(score: str, error: float) -> str:
    return f'{score} ± {error:.4f}' if math.isfinite(error) else score


def describe_noise(search: SparsitySearch) -> list[str]:
    """How far scores deviate from their trend over the ratios: the noise of a score.

    Returns:
        One line; none where there are too few scores to tell.
    """
    images = search.scorer.num_images(search.settings.num_images)
    scores = {
        record.ratios: record.score
        for record in search.records.all
        if record.num_images == images and math.isfinite(record.score)
    }
    if len(scores) < max(MIN_SCORES, 3 * sum(search.space.num_pairs)):
        return []
    noise = fitted_noise(search.space, scores)
    return [
        f'noise: a score on {images} images is about {noise:.2g} off the trend over the ratios (of '
        f'{len(scores)} scores); between two settings smaller differences say nothing'
    ]
