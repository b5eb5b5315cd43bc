"""The error of a score, from the images' own scores."""

import math

import numpy as np
import pytest

from sparse_mm.errors import BadInputError
from sparse_mm.search.score_errors import (
    error_of_difference,
    pack,
    parts_of,
    pseudo_values,
    standard_error,
    unpack,
)


@pytest.mark.parametrize(
    ('images', 'parts', 'sizes'),
    [(0, 0, set()), (1, 1, {1}), (50, 50, {1}), (201, 101, {1, 2}), (5000, 200, {25})],
)
def test_parts_are_few_and_of_about_equal_size(images, parts, sizes):
    found = np.bincount(parts_of(images)) if images else np.array([], int)
    assert len(found) == parts
    assert found.sum() == images
    assert set(found.tolist()) == sizes


def test_of_a_mean_they_are_the_images_own_values():
    values = np.random.default_rng(0).normal(3, 1, 40)
    without = (values.sum() - values) / 39
    assert pseudo_values(values.mean(), without) == pytest.approx(values)
    assert standard_error(values) == pytest.approx(values.std(ddof=1) / math.sqrt(40))


def test_the_error_of_a_ratio_is_the_spread_over_other_images():
    # A mIoU of one class: a ratio of sums, no mean over images.
    rng = np.random.default_rng(0)

    def draw(number):
        union = rng.uniform(1, 3, number)
        return union * rng.uniform(0.3, 0.9, number), union

    inside, union = draw(100)
    without = (inside.sum() - inside) / (union.sum() - union)
    error = standard_error(pseudo_values(inside.sum() / union.sum(), without))
    again = [np.divide(*(part.sum() for part in draw(100))) for _ in range(2000)]
    assert error == pytest.approx(np.std(again), rel=0.15)


def test_a_difference_on_the_same_images_is_surer_than_either_score():
    rng = np.random.default_rng(0)
    hard = rng.normal(0, 1, 100)
    first, second = hard + rng.normal(0, 0.1, 100), hard + rng.normal(0, 0.1, 100)
    assert error_of_difference(first, second) < standard_error(first) / 4
    assert error_of_difference(first, first) == 0
    with pytest.raises(BadInputError, match='100 and 50 parts'):
        error_of_difference(first, second[:50])


def test_text_keeps_them_and_refuses_what_is_none():
    values = np.random.default_rng(0).normal(0.6, 0.2, 30)
    assert unpack(pack(values)) == pytest.approx(values, rel=1e-6)
    assert pack(unpack(pack(values))) == pack(values)
    assert pack(None) == pack(np.array([])) == pack(np.array([1.0, np.nan])) == ''
    assert unpack('') is None
    for text in ('?', 'AAA=', pack(values)[:-3], 'AADAfw=='):  # the last is NaN
        with pytest.raises(ValueError, match=r'values by images|buffer'):
            unpack(text)
    assert math.isnan(standard_error(np.array([1.0])))
