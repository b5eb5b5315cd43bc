"""Settings without a score, and budgets within which none has one."""

import json
import math

import pytest

from sparse_mm.engine.search.scorer import CandidateScorer, Score
from sparse_mm.engine.search.settings import SearchSettings
from sparse_mm.engine.search.sparsity_search import SparsitySearch
from sparse_mm.engine.search.summary import summarise
from sparse_mm.errors import BadInputError
from tests.engine.search.toy import toy_runner


@pytest.mark.parametrize(
    ('metric', 'value', 'counts'),
    [
        ('coco/bbox_mAP_s', -1.0, False),
        ('city/coco/AR@100', -1.0, False),
        ('coco/bbox_mAP_s', 0.0, True),
        ('toy/likelihood', -1.0, True),
        ('toy/MAPE', -1.0, True),
    ],
)
def test_an_average_over_no_objects_is_no_score(metric, value, counts, monkeypatch):
    scorer = object.__new__(CandidateScorer)
    scorer.metric, scorer.sign = metric, 1
    monkeypatch.setattr(scorer, '_metrics', lambda *args: ({metric: value}, None))
    monkeypatch.setattr(scorer, '_loader', lambda number: None)
    score = scorer.score(((0.5,),), 4)
    assert math.isfinite(score.value) == counts
    assert ('no objects' in score.failure) != counts


def prepared(folder, runner, budgets, strategy='evolution'):
    """A search in which settings with less than 0.6 of the MACs have no score."""
    settings = SearchSettings.build(
        budget=budgets,
        metric='toy/likelihood',
        evaluations=6,
        population=3,
        strategy=strategy,
        num_images=4,
        finalists=2,
        latency_seconds=0.5,
        image_size=(48, 48),
    )
    search = SparsitySearch(runner, settings, folder)
    search.prepare()
    score = search.scorer.score

    def scored(candidate, num_images):
        if search.costs.cost(candidate, 'macs') < 0.6:
            return Score(-math.inf, 'the evaluator gave no toy/likelihood')
        return score(candidate, num_images)

    search.scorer.score = scored
    return search


@pytest.mark.parametrize('strategy', ['evolution', 'surrogate'])
def test_a_further_budget_without_scores_costs_no_other_its_winner(tmp_path, strategy):
    runner = toy_runner(tmp_path)
    search = prepared(tmp_path / 'search', runner, ['macs=0.65..0.95', 'macs=0.4..0.45'], strategy)
    winners = search.run()
    assert set(winners) == {0}
    assert math.isfinite(winners[0].score)
    best = json.loads((tmp_path / 'search' / 'best.json').read_text())
    assert best['pruning_ratios'] == [list(stage) for stage in winners[0].ratios]
    # One population alone was scored for it.
    tight = [r for r in search.records.all if (r.role, r.budget) == ('population', 1)]
    assert len(tight) == 3
    lines = summarise(search, winners)
    assert '0.4 to 0.45 of the dense MACs: no winner, because no setting within it has a score' in (
        lines
    )
    # The same once more, from its file.
    again = prepared(tmp_path / 'search', runner, ['macs=0.65..0.95', 'macs=0.4..0.45'], strategy)
    assert again.run() == winners
    assert again.records.loaded == len(search.records.all)


def test_the_first_budget_needs_a_score(tmp_path):
    search = prepared(
        tmp_path / 'search', toy_runner(tmp_path), ['macs=0.4..0.45', 'macs=0.65..0.95']
    )
    said = r'none of the \d+ settings that were scored has a finite toy/likelihood .*0\.45 of the'
    with pytest.raises(BadInputError, match=said + '.*allow a higher budget'):
        search.run()
    assert len(search.records.all) <= 5  # dense, uniform, one generation
