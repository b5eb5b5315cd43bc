"""Random numbers: the same after a resume, different on each rank and in each step."""

from types import SimpleNamespace

import pytest
import torch

from sparse_mm.engine.hooks import StepSeedHook, step_seed_hook


@pytest.fixture
def draws(monkeypatch):
    def draw(rank, iteration, seed=3):
        monkeypatch.setattr(step_seed_hook, 'get_rank', lambda: rank)
        runner = SimpleNamespace(seed=seed, iter=iteration)
        hook, found = StepSeedHook(), []
        for seeds in (
            lambda: hook.before_train_epoch(runner),
            lambda: hook.before_train_iter(runner, 0),
        ):
            seeds()
            found.append(torch.rand(1).item())
        return found

    return draw


def test_a_step_draws_the_same_whatever_ran_before(draws):
    first = draws(0, 7)
    torch.rand(5)
    assert draws(0, 7) == first


def test_steps_ranks_and_seeds_draw_others(draws):
    keys = [(rank, step, seed) for rank in range(4) for step in range(5) for seed in (0, 1)]
    found = [value for key in keys for value in draws(*key)]
    assert len(set(found)) == 2 * len(keys)
