"""Evolution finds the optimum, never proposes a candidate twice, and always ends."""

from random import Random

import pytest

from sparse_mm.errors import BadInputError
from sparse_mm.search.evolution import STRATEGIES, Evolution, EvolutionSettings
from sparse_mm.search.space import RatioSpace

SPACE = RatioSpace.build((2, 2, 6, 2))


def unbounded(candidate):
    return 0.0


def run(evolution, score, stop=lambda evolution: False):
    """Runs ask and tell until no candidate is left; returns the candidates in order."""
    asked = []
    while candidates := evolution.ask():
        for candidate in candidates:
            asked.append(candidate)
            evolution.tell(candidate, score(candidate))
            if stop(evolution):
                return asked
    return asked


def toy(candidate):
    """Accuracy falls with each ratio at its own speed; the budget forces pruning."""
    speed = (3, 8, 1, 2)
    return -sum(s * r**2 for s, stage in zip(speed, candidate, strict=True) for r in stage)


def toy_excess(candidate):
    pruned = sum(map(sum, candidate))
    return max(2.4 - 1e-9 - pruned, 0.0)  # prune 2.4 in all


def test_one_at_a_time_is_mutated_or_crossed():
    settings = EvolutionSettings(60, 1, 4, 0.1, 'evolution', 0)
    mutated = []

    class Watched(RatioSpace):
        def mutate(self, candidate, rng, probability):
            mutated.append(candidate)
            return super().mutate(candidate, rng, probability)

    space = Watched(**{name: getattr(SPACE, name) for name in SPACE.__dataclass_fields__})
    assert len(run(Evolution(space, toy_excess, settings), toy)) == 60
    assert 15 < len(mutated) < 200


def test_evolution_beats_random_on_a_known_optimum():
    best = max((c for c in SPACE if not toy_excess(c)), key=toy)
    target = toy(best) - 0.02

    def evaluations(strategy, seed):
        settings = EvolutionSettings(1500, 50, 12, 0.1, strategy, seed)
        evolution = Evolution(SPACE, toy_excess, settings)
        found = run(evolution, toy, lambda e: max(e.scores.values()) >= target)
        return len(found)

    faster = [evaluations('evolution', seed) < evaluations('random', seed) for seed in range(10)]
    assert sum(faster) >= 9


@pytest.mark.parametrize('strategy', STRATEGIES)
def test_asks_within_the_budget_and_never_twice(strategy):
    evaluations = 100 if strategy == 'surrogate' else 300
    settings = EvolutionSettings(evaluations, 40, 10, 0.1, strategy, 3)
    evolution = Evolution(SPACE, toy_excess, settings)
    asked = run(evolution, toy)
    assert len(asked) == len(set(asked)) == evaluations
    assert all(candidate in SPACE and not toy_excess(candidate) for candidate in asked)
    best = max(asked, key=toy)
    assert toy(evolution.best()[0]) == pytest.approx(toy(best), abs=0.02)
    assert strategy == 'surrogate' or evolution.best()[0] == best
    assert 0 < evolution.feasible_draws <= evolution.draws


@pytest.mark.parametrize(
    ('strategy', 'evaluations', 'known'),
    [
        *(('evolution', 200, known) for known in (1, 39, 40, 41, 199)),
        *(('surrogate', 60, known) for known in (1, 12, 13, 59)),
    ],
)
def test_continues_from_any_point_as_if_never_interrupted(strategy, evaluations, known):
    settings = EvolutionSettings(evaluations, 40, 10, 0.1, strategy, 5)
    whole = run(Evolution(SPACE, toy_excess, settings), toy)
    scores = {candidate: toy(candidate) for candidate in whole[:known]}
    resumed = Evolution(SPACE, toy_excess, settings)
    again = run(resumed, lambda c: scores[c] if c in scores else toy(c))
    assert again == whole


def test_half_of_a_generation_mutates_and_half_crosses():
    settings = EvolutionSettings(120, 60, 10, 0.1, 'evolution', 0)
    evolution = Evolution(SPACE, unbounded, settings)
    for candidate in evolution.ask():
        evolution.tell(candidate, toy(candidate))
    parents = evolution.best(10)
    offspring = evolution.ask()
    assert len(offspring) == 60

    def is_crossed(child):
        pools = [set().union(*(p[i] for p in parents)) for i in range(4)]
        return all(set(stage) <= pool for stage, pool in zip(child, pools, strict=True))

    assert all(is_crossed(child) for child in offspring[30:])
    assert not all(is_crossed(child) for child in offspring[:30])


@pytest.mark.parametrize('strategy', STRATEGIES)
def test_small_spaces_are_exhausted_and_the_search_ends(strategy):
    space = RatioSpace.build((2, 2), choices=(0, 0.3, 0.5))
    evolution = Evolution(space, unbounded, EvolutionSettings(100, 10, 3, strategy=strategy))
    assert sorted(run(evolution, lambda c: -sum(map(sum, c)))) == sorted(space)


@pytest.mark.parametrize('strategy', STRATEGIES)
def test_rare_settings_are_walked_to(strategy):
    # One in 120 285 draws: only the sparsest setting fits.
    most = sum(map(sum, SPACE.most)) - 1e-9
    evolution = Evolution(
        SPACE,
        lambda c: max(most - sum(map(sum, c)), 0.0),
        EvolutionSettings(5, 5, 2, strategy=strategy),
    )
    assert run(evolution, toy) == [SPACE.most]


def test_an_impossible_budget_is_refused():
    evolution = Evolution(SPACE, lambda c: 1.0, EvolutionSettings(5, 5, 2))
    with pytest.raises(BadInputError, match='No setting was found within the budget'):
        evolution.ask()


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(evaluations=0), 'evaluations of the search must be at least 1'),
        (dict(population=0), 'population'),
        (dict(parents=0), 'parents'),
        (dict(mutation=0), 'mutation must be above 0'),
        (dict(strategy='grid'), "'evolution' or 'random', not 'grid'"),
    ],
)
def test_refused_settings(options, message):
    with pytest.raises(BadInputError, match=message):
        EvolutionSettings(**options)


def test_global_random_numbers_are_untouched():
    import random

    before = random.getstate()
    run(Evolution(SPACE, toy_excess, EvolutionSettings(60, 20, 5)), toy)
    assert random.getstate() == before
    assert Random('a').random() == Random('a').random()
