"""Times recorded on a busy machine give the quiet machine's ratios."""

from random import Random

import pytest

from sparse_mm.search.estimate import (
    StoppingRule,
    fastest_eighth,
    part_times,
    pass_times,
    shared_by_threads,
    spread,
)

RATIOS = [0.0, 0.2, 0.4, 0.6, 0.8]


def quiet_pass(ratio):
    """Milliseconds of twelve modules; only blocks get cheaper with the ratio."""
    parts = {('block', i): 2.0 + 6.0 * (1 - ratio) / (1 + i % 4) for i in range(8)}
    return {**parts, **{('stage', i): 1.0 + 0.3 * i for i in range(4)}}


def recorded(rounds, seed, noise=0.02, preempted=0.0, slow_share=0.0):
    """Rounds in which modules are pre-empted for a time slice, and some are slow as a whole."""
    rng = Random(seed)
    result = []
    for _ in range(rounds):
        factor = 1.6 if rng.random() < slow_share else 1.0
        passes = []
        for ratio in RATIOS:
            timed = {}
            for part, ms in quiet_pass(ratio).items():
                ms *= factor * (1 + abs(rng.gauss(0, noise)))
                # The longer a module runs, the likelier it is pre-empted, for 4 to 12 ms.
                if rng.random() < 1 - (1 - preempted) ** ms:
                    ms += rng.uniform(4, 12)
                timed[part] = ms
            passes.append(timed)
        result.append(passes)
    return result


def errors(rounds):
    """How far the ratios to dense are from the quiet ones."""
    found = pass_times(rounds)
    true = [sum(quiet_pass(ratio).values()) for ratio in RATIOS]
    return [abs((a / found[0]) / (b / true[0]) - 1) for a, b in zip(found, true, strict=True)]


@pytest.mark.parametrize('seed', range(5))
@pytest.mark.parametrize(
    'load',
    [
        dict(),
        dict(preempted=0.05),
        dict(preempted=0.12),
        dict(preempted=0.12, slow_share=0.5),
        dict(noise=0.1, preempted=0.05),
    ],
)
def test_bursts_change_ratios_by_less_than_a_tenth(seed, load):
    assert max(errors(recorded(40, seed, **load))) < 0.1
    more = recorded(160, seed, **load)
    assert spread(more) < 0.1
    assert max(errors(more)) < 0.06


def test_the_burdened_passes_would_have(seed=0):
    """The recordings are noisy: means of whole passes are far off."""
    rounds = recorded(40, seed, preempted=0.12)
    whole = [
        sum(sum(passes[i].values()) for passes in rounds) / len(rounds) for i in range(len(RATIOS))
    ]
    true = [sum(quiet_pass(ratio).values()) for ratio in RATIOS]
    assert whole[0] > 1.5 * true[0]


def test_a_quiet_machine_is_known_and_a_hopeless_one_too():
    assert spread(recorded(40, 0)) < 0.01
    assert spread(recorded(8, 0, noise=2.0, preempted=0.5)) > 0.1
    assert spread(recorded(3, 0)) == float('inf')


def test_parts_are_estimated_one_by_one():
    """Neither of the two passes is undisturbed, but each module was in one of them."""
    rounds = [[{'a': 1.0, 'b': 9.0}], [{'a': 9.0, 'b': 2.0}]]
    assert part_times(rounds) == [{'a': 1.0, 'b': 2.0}]
    assert pass_times(rounds) == [3.0]


def test_fastest_eighth():
    assert fastest_eighth([100, 1, 2, 3, 4, 5, 6, 50, 7]) == pytest.approx(1.5)
    assert fastest_eighth([2.0]) == 2
    assert fastest_eighth([5, 3, 9, 8, 7]) == 3


class TestStopping:
    rule = StoppingRule(seconds=10, repeats=(5, 100))

    def test_between_the_least_and_the_most_rounds(self):
        assert not self.rule.done(4, 99.0, 0.0)
        assert self.rule.done(100, 0.1, 0.5)

    def test_a_stable_estimate_ends_it_early(self):
        assert self.rule.done(20, 2.0, 0.005)
        assert not self.rule.done(20, 2.0, 0.02)

    def test_an_unstable_one_continues_but_not_for_ever(self):
        assert self.rule.done(20, 10.0, 0.03)
        assert not self.rule.done(20, 10.0, 0.2)
        assert not self.rule.done(20, 39.0, 0.2)
        assert self.rule.done(20, 40.0, 0.2)

    def test_one_that_is_hopeless_ends_when_the_time_is_over(self):
        rule = StoppingRule(seconds=10, repeats=(5, 100), hopeless=0.1)
        assert rule.done(20, 10.0, 0.2)
        assert not rule.done(20, 9.0, 0.2)
        assert not rule.done(20, 10.0, 0.08)
        assert not StoppingRule(seconds=0.1, repeats=(5, 100), hopeless=0.1).done(20, 5.0, 0.2)

    def test_a_short_time_is_not_a_reason_to_give_up(self):
        assert not StoppingRule(seconds=0.1, repeats=(5, 100)).done(20, 5.0, 0.2)


def test_threads_share_windows_not_what_each_block_does_once():
    one = {kept: 0.5 + 0.1 * kept for kept in (100, 60, 20)}
    assert shared_by_threads(one, 4) == pytest.approx({100: 3.0, 60: 2.0, 20: 1.0})
    assert shared_by_threads(one, 1) == pytest.approx(one)
    assert shared_by_threads({7: 2.0}, 2) == {7: 2.0}  # nothing is known of one setting alone
    slower = shared_by_threads({10: 1.0, 5: 1.2}, 2)  # noise: fewer windows never take longer
    assert all(0 < ms <= 1.2 for ms in slower.values())
