"""What a set of pruning ratios means: a ratio for each block, and the windows it keeps.

A ratio is the share of a block's windows that is *not* computed. A ratio is read as the exact
decimal or simple fraction, not as its binary rounding: 0.8 of 260 windows prunes 208, not 209.
"""

import json
from collections.abc import Sequence
from fractions import Fraction
from numbers import Real
from pathlib import Path
from typing import Any, TypeAlias

from sparse_mm.errors import BadInputError

RatioSpec: TypeAlias = float | str | Sequence[float] | Sequence[Sequence[float]] | None
"""None (dense), one number, or a list with one number per stage, per pair of blocks or per block,
or a list per stage of these; or the path of a JSON file that holds any of them, or of a search's
result (``best.json``)."""

StageRatios: TypeAlias = tuple[tuple[Fraction, ...], ...]
"""One exact ratio for each block, block after block in each stage."""


def num_kept(num_windows: int, ratio: Fraction) -> int:
    """How many windows a block computes: ``num_windows * (1 - ratio)``, floor, at least 1."""
    if ratio.numerator == 0:
        return num_windows
    return max(1, num_windows * (ratio.denominator - ratio.numerator) // ratio.denominator)


def exact_ratio(ratio: float) -> Fraction:
    """The decimal or simple fraction that a float was written as."""
    return Fraction(float(ratio)).limit_denominator(10_000)


def parse_ratios(spec: RatioSpec, depths: Sequence[int]) -> StageRatios:
    """Reads ratios in any of their forms and checks them.

    Args:
        spec: See :data:`RatioSpec`. A pair is a block with regular and the next with shifted
            windows.
        depths: Blocks of each stage.

    Returns:
        One ratio for each block of each stage.

    Raises:
        BadInputError: A ratio is outside [0, 1), decreases inside a stage, or the number of ratios
            fits neither the stages nor the pairs nor the blocks; or the JSON file cannot be read.
    """
    given: Any = _read_json(spec) if isinstance(spec, str) else spec
    if given is None:
        given = 0
    if _is_number(given):
        given = [given]
    if not isinstance(given, Sequence) or not given:
        raise BadInputError(
            f'pruning_ratios must be a number, a list or the path of a JSON file, not {given!r}.'
        )
    if len(given) == 1 and _is_number(given[0]):
        given = list(given) * len(depths)
    per_stage = _split_into_stages(given, depths)
    ratios = tuple(
        tuple(_exact(ratio) for ratio in _spread_over_blocks(stage, depth, i))
        for i, (stage, depth) in enumerate(zip(per_stage, depths, strict=True))
    )
    for i, stage in enumerate(ratios):
        if list(stage) != sorted(stage):
            raise BadInputError(
                f'pruning_ratios of stage {i} decrease: {[float(ratio) for ratio in stage]}; the '
                'blocks of a stage share one ranking of the windows, so a later block can only '
                'keep fewer of them.'
            )
    return ratios


def _read_json(path: str) -> RatioSpec:
    try:
        spec = json.loads(Path(path).read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise BadInputError(
            f'pruning_ratios names the file {path!r}, which cannot be read as JSON: {error}'
        ) from error
    if isinstance(spec, dict):  # as the search writes them
        spec = spec.get('pruning_ratios')
    if isinstance(spec, str) or spec is None:
        raise BadInputError(
            f'The file {path!r} must hold a number, a list, or a search result with '
            '"pruning_ratios".'
        )
    return spec


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _exact(ratio: float) -> Fraction:
    if not _is_number(ratio) or not 0 <= ratio < 1:
        raise BadInputError(
            'pruning_ratios must be at least 0 and less than 1 (0.6 prunes 60 % of the windows), '
            f'not {ratio!r}.'
        )
    # 0.99996 would become 1, which is no ratio.
    return min(exact_ratio(ratio), Fraction(9_999, 10_000))


def _split_into_stages(spec: Sequence, depths: Sequence[int]) -> list[list]:
    """Gives each stage its own ratios: one, one per pair or one per block."""
    if any(not _is_number(item) for item in spec):  # a list per stage
        if len(spec) != len(depths):
            raise BadInputError(
                f'pruning_ratios has entries for {len(spec)} stages, the backbone has '
                f'{len(depths)} stages.'
            )
        for item in spec:
            if not _is_number(item) and not isinstance(item, (list, tuple)):
                raise BadInputError(
                    f'pruning_ratios of a stage are a number or a list of numbers, not {item!r}.'
                )
        return [[item] if _is_number(item) else list(item) for item in spec]
    pairs = [(depth + 1) // 2 for depth in depths]
    for counts in ([1] * len(depths), pairs, list(depths)):
        if len(spec) == sum(counts):
            ends = [sum(counts[: i + 1]) for i in range(len(counts))]
            return [list(spec[end - count : end]) for end, count in zip(ends, counts, strict=True)]
    raise BadInputError(
        f'pruning_ratios has {len(spec)} numbers; depths {tuple(depths)} take 1, {len(depths)} '
        f'(one per stage), {sum(pairs)} (one per pair of blocks) or {sum(depths)} (one per block).'
    )


def _spread_over_blocks(stage: list, depth: int, index: int) -> list:
    if len(stage) == 1:
        return stage * depth
    if len(stage) == depth:
        return stage
    if len(stage) == (depth + 1) // 2:
        return [ratio for ratio in stage for _ in range(2)][:depth]
    raise BadInputError(
        f'pruning_ratios of stage {index} has {len(stage)} numbers; its depth {depth} takes 1, '
        f'{(depth + 1) // 2} (one per pair of blocks) or {depth} (one per block).'
    )
