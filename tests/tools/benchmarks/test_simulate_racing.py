"""Simulated racing: no more images, worse candidates are dropped, results follow the seed."""

import pytest

from tools.benchmarks import simulate_racing
from tools.benchmarks.simulate_racing import EVALUATIONS, IMAGES, Landscape, search


@pytest.fixture(scope='module')
def world():
    return Landscape(0)


def test_the_images_that_are_spared_go_to_others(world, monkeypatch):
    told = []
    tell = simulate_racing.Evolution.tell

    def watch(self, candidate, score):
        told.append(candidate)
        tell(self, candidate, score)

    monkeypatch.setattr(simulate_racing.Evolution, 'tell', watch)
    assert search(world, 'random', 0, 0, 3, 0.8)[1] == 0
    assert len(told) == EVALUATIONS
    told.clear()
    score, dropped = search(world, 'random', 0, 12, 3, 0.8)
    assert 0.05 < dropped < 0.7
    images = len(told) * (dropped * 12 + (1 - dropped) * IMAGES)
    assert EVALUATIONS * IMAGES <= images + 1e-6 < (EVALUATIONS + 1) * IMAGES
    assert score <= world.optimum()
    assert search(world, 'random', 0, 12, 3, 0.8) == (score, dropped)


def test_without_noise_whatever_is_worse_is_dropped(world, monkeypatch):
    monkeypatch.setattr(simulate_racing, 'NOISE', 0.0)
    _, dropped = search(world, 'random', 0, 12, 3, 0.8)
    assert dropped > 0.7
