"""The summary of a search: how much of a score is noise."""

import re
from random import Random
from types import SimpleNamespace

import pytest

from sparse_mm.engine.search.records import Record
from sparse_mm.engine.search.summary import describe_noise
from sparse_mm.search.space import RatioSpace

SPACE = RatioSpace.build((2, 2, 6, 2))


def searched(number, noise):
    """As much of a search as the line needs: scores on 50 images, some on more, one without."""
    rng = Random(0)
    candidates = list(dict.fromkeys(SPACE.draw(rng) for _ in range(number)))
    records = [
        Record(c, 50, 0.66 - 0.02 * sum(map(sum, c)) + rng.gauss(0, noise), 'population', 0, 1)
        for c in candidates
    ]
    records += [Record(c, 100, 9.0, 'final', -1, 0) for c in candidates[::3]]
    records.append(Record(SPACE.most, 50, float('-inf'), 'population', 0, 1, 'out of memory'))
    return SimpleNamespace(
        space=SPACE,
        records=SimpleNamespace(all=records),
        settings=SimpleNamespace(num_images=50),
        scorer=SimpleNamespace(num_images=lambda wanted: wanted),
    )


@pytest.mark.parametrize('noise', [0.02, 0.002])
def test_the_noise_is_that_of_scores_around_their_trend(noise):
    (line,) = describe_noise(searched(120, noise))
    found = re.search(r'a score on 50 images is about ([\d.e-]+) off .*of 120 scores', line)
    assert float(found[1]) == pytest.approx(noise, rel=0.3)


def test_too_few_scores_do_not_tell():
    assert describe_noise(searched(15, 0.01)) == []
