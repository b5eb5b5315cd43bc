"""Which cheap score predicts the finetuned metric: correlations, errors, the command line."""

import json
import math

import numpy as np
import pytest

from sparse_mm.search.score_errors import pack
from tests.engine.search.toy import write_toy
from tools.benchmarks.proxies import errors_of, rank_correlation, table

TOOL = 'benchmarks/proxies.py'
SETTINGS = [((a,), (b, b)) for a in (0.0, 0.5, 0.75) for b in (0.0, 0.5)]


def test_rank_correlation_is_spearmans():
    values = [1, 5, 2, 9]
    assert rank_correlation(values, [math.exp(v) for v in values]) == pytest.approx(1)
    assert rank_correlation(values, [-v for v in values]) == pytest.approx(-1)
    # As scipy.stats.spearmanr gives it, with equal values.
    assert rank_correlation([1, 2, 2, 3, 4], [1, 3, 2, 2, 5]) == pytest.approx(0.7631578947)
    assert math.isnan(rank_correlation(values, [1, 1, 1, 1]))


def test_pairing_removes_what_images_have_in_common():
    rng = np.random.default_rng(0)
    images = rng.normal(size=200)
    scores = [
        dict(value=0.0, by_images=pack(images + 0.1 * rng.normal(size=200))) for _ in range(6)
    ]
    single, apart, paired = errors_of(scores)
    assert single == pytest.approx(1 / math.sqrt(200), rel=0.2)
    assert apart == pytest.approx(single * math.sqrt(2), rel=0.1)
    assert paired == pytest.approx(0.1 * math.sqrt(2 / 200), rel=0.2)
    assert errors_of([*scores, dict(value=0.0, by_images='')]) is None


def test_correlations_within_groups_of_enough_settings():
    values = [1, 2, 3, 4, 5, 50, 40, 30, 20, 10, 7]
    scores = {'m on 25': [dict(value=v, by_images='') for v in values]}
    groups = ['a'] * 5 + ['b'] * 5 + ['']
    _, _, row = table(scores, [*range(10), -1], lambda index: groups[index])
    cells = [cell.strip() for cell in row.split('|')[1:-1]]
    assert cells[2:4] == ['1.00', '-1.00']
    assert 0 < float(cells[1]) < 1


@pytest.fixture
def files(tmp_path):
    write_toy(tmp_path)
    for number, ratios in enumerate(SETTINGS):
        name = '_'.join('-'.join(f'{100 * r:.0f}' for r in stage) for stage in ratios)
        for seed, extra in ((0, 0.0), (1, 0.5)):
            folder = tmp_path / 'finetuned' / f'tune_{name}_{seed}'
            folder.mkdir(parents=True)
            metrics = {'toy/likelihood': number + extra}
            (folder / 'metrics.json').write_text(json.dumps(metrics))
    return 'toy.py', 'weights.pth', '--finetuned', 'finetuned', '--images', 4, 10


def test_scores_each_setting_once(files, call_tool, tmp_path):
    printed = call_tool(TOOL, *files)
    rows = [line for line in printed.splitlines() if line.startswith('|')]
    assert 'all (6)' in rows[0]
    assert [row.split('|')[1].strip() for row in rows[2:]] == [
        *('toy/likelihood on 4', 'toy/likelihood on 10', 'loss on 4', 'loss on 10')
    ]
    state = json.loads((tmp_path / 'finetuned' / 'proxies.json').read_text())
    likelihood = state['scores']['toy/likelihood on 10']
    loss = state['scores']['loss on 10']
    assert len(likelihood) == len(SETTINGS)
    assert len({score['value'] for score in likelihood.values()}) > 1
    for ratios, score in likelihood.items():  # the toy's metric is its loss
        assert loss[ratios]['value'] == pytest.approx(score['value'], abs=1e-5)
    # Kept scores are used again.
    for score in likelihood.values():
        score['value'] = 0.0
    (tmp_path / 'finetuned' / 'proxies.json').write_text(json.dumps(state))
    again = call_tool(TOOL, *files)
    (row,) = (line for line in again.splitlines() if line.startswith('| toy/likelihood on 10'))
    assert row.split('|')[2].strip() == 'nan'


def test_refusals(files, refusal, tmp_path):
    assert 'at least 2' in refusal(TOOL, *files[:-2], 1)
    assert 'at most 10, the number of validation' in refusal(TOOL, *files[:-1], 11)
    assert "has no 'toy/other'" in refusal(TOOL, *files, '--metric', 'toy/other')
    assert 'compare_searches.py' in refusal(TOOL, *files[:3], 'elsewhere')
    (tmp_path / 'finetuned' / 'proxies.json').write_text('{"weights": "others", "scores": {}}')
    assert 'another checkpoint' in refusal(TOOL, *files)
    (tmp_path / 'finetuned' / 'proxies.json').write_text('{')
    assert 'cannot be read' in refusal(TOOL, *files)
