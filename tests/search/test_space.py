"""Mutation and crossover keep every constraint, for any space."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparse_mm.errors import BadInputError
from sparse_mm.models.ratios import parse_ratios
from sparse_mm.search.space import RatioSpace

SWIN_T = (2, 2, 6, 2)


@st.composite
def spaces(draw):
    depths = draw(st.lists(st.integers(1, 18), min_size=1, max_size=5))
    choices = draw(st.sets(st.sampled_from([i / 20 for i in range(20)]), min_size=1))
    low = min(choices)
    limits = [draw(st.floats(low, 1)) for _ in depths]
    return depths, RatioSpace.build(depths, sorted(choices), limits), limits


@settings(max_examples=60, deadline=None)
@given(spaces(), st.integers(0, 2**32), st.floats(0.01, 1))
def test_operators_stay_in_the_space(drawn, seed, probability):
    depths, space, limits = drawn
    rng = Random(seed)
    first, second = space.draw(rng), space.draw(rng)
    mutated = space.mutate(first, rng, probability)
    crossed = space.cross(first, second, rng)
    walked = [space.step(first, rng, up) for up in (True, False)]
    candidates = [first, second, mutated, crossed, *(w for w in walked if w), *space.uniform()]
    for candidate in [*candidates, space.least, space.most]:
        assert candidate in space
        for stage, limit in zip(candidate, limits, strict=True):
            assert all(ratio <= limit for ratio in stage)
        # The backbone accepts every candidate of the search.
        ratios = parse_ratios(list(map(list, candidate)), depths)
        assert [len(stage) for stage in ratios] == depths


def test_a_step_moves_one_gene_and_ends_at_the_edge():
    space = RatioSpace.build(SWIN_T)
    rng = Random(0)
    candidate, count = space.least, 0
    while (stepped := space.step(candidate, rng, up=True)) is not None:
        assert sum(map(sum, stepped)) == pytest.approx(sum(map(sum, candidate)) + 0.1)
        candidate, count = stepped, count + 1
    assert (candidate, count) == (space.most, 8 * 6)


def test_ratios_that_keep_equally_many_windows_are_one():
    space = RatioSpace.build(SWIN_T).distinct([256, 64, 16, 4])  # 448 x 448 pixels
    assert space.choices[:3] == RatioSpace.build(SWIN_T).choices[:3]
    assert space.choices[3] == (0.0, 0.1, 0.3, 0.6)  # 4, 3, 2, 1 windows
    # Uniform ratios keep the windows that they kept before.
    assert space.uniform()[5] == ((0.5,), (0.5,), (0.5, 0.5, 0.5), (0.3,))
    assert space.distinct([256, 64, 16, 1]).choices[3] == (0.0,)


def test_sizes():
    assert len(RatioSpace.build(SWIN_T)) == 120_285  # by hand, for Swin-T
    small = RatioSpace.build((2, 5), choices=(0, 0.2, 0.4), stage_limits=(0.2, (0.2, 0.4)))
    assert small.num_pairs == (1, 3)
    assert len(list(small)) == len(set(small)) == len(small) == 2 * 4
    assert len(RatioSpace.build((2, 2, 18, 2)).draw(Random(0))[2]) == 9


def test_mutation_and_crossing_reach_everything():
    space = RatioSpace.build((2, 4), choices=(0, 0.3, 0.6))
    rng = Random(1)
    start = space.least
    assert {space.mutate(start, rng, 0.5) for _ in range(2000)} == set(space)
    crossed = {space.cross(space.least, space.most, rng) for _ in range(200)}
    assert crossed == {((a,), pair) for a in (0, 0.6) for pair in ((0, 0), (0, 0.6), (0.6, 0.6))}


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(choices=[0, 1.0]), 'at least 0 and less than 1'),
        (dict(choices=[]), 'at least 0 and less than 1'),
        (dict(choices=['a']), 'at least 0 and less than 1'),
        (dict(stage_limits=[0.5]), 'stage_limits has 1 entries, the backbone has 4'),
        (dict(stage_limits=[0.5, (0.61, 0.69), 0.5, 0.5]), 'leave stage 1 no ratio'),
    ],
)
def test_refusals(options, message):
    with pytest.raises(BadInputError, match=message):
        RatioSpace.build(SWIN_T, **options)


def test_reading_candidates():
    space = RatioSpace.build((2, 4))
    assert space.read([[0.1], [0.2, 0.3]]) == ((0.1,), (0.2, 0.3))
    with pytest.raises(BadInputError, match='not in the search space'):
        space.read([[0.1], [0.3, 0.2]])
