"""Replayed searches: the model of scores, and the command line around it."""

import csv
import importlib.util
import json
from random import Random

import numpy as np
import pytest

from sparse_mm.errors import BadInputError
from sparse_mm.search.cost import LatencyTable
from sparse_mm.search.space import RatioSpace
from tests.conftest import ROOT

TOOL = 'benchmarks/replay_searches.py'
CONFIG = ROOT / 'configs' / 'sparsevit_maskrcnn_shapes_deep.py'
SPACE = RatioSpace.build((2, 2, 6, 2))


@pytest.fixture(scope='module')
def tool():
    spec = importlib.util.spec_from_file_location('replay_searches', ROOT / 'tools' / TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def score(candidate):
    """Best where stage 2 prunes little and stage 3 about half."""
    first, second, *third, last = sum(candidate, ())
    return 0.7 - 0.1 * second - 0.2 * (third[0] - 0.5) ** 2 + 0.05 * first * third[2] - 0.02 * last


def write_history(path, seed, number=60, offset=0.0, noise=0.0, dense=False):
    """Scores of candidates as a search lists them, and one final score that must not count."""
    rng = Random(seed)
    rows = [(SPACE.draw(rng), 'population') for _ in range(number)] + [(SPACE.least, 'final')]
    rows = [(SPACE.least, 'dense')] * dense + rows
    with path.open('w', newline='') as file:
        writer = csv.writer(file)
        writer.writerow(['role', 'pruning_ratios', 'score'])
        for candidate, role in rows:
            value = score(candidate) + offset + rng.gauss(0, noise) + 9 * (role == 'final')
            writer.writerow([role, json.dumps(candidate), value])
    return str(path)


def fit(tool, *histories):
    return tool.ScoreModel(*tool.read_scores(histories, SPACE))


def test_the_model_finds_a_quadratic_function_whatever_the_images(tool, tmp_path):
    histories = [write_history(tmp_path / f'{i}.csv', i, offset=0.1 * i) for i in range(3)]
    model = fit(tool, *histories)
    assert model.error < 2e-3
    assert model.explained > 0.99
    candidates = [SPACE.draw(Random(100 + i)) for i in range(50)]
    differences = [model(c) - score(c) for c in candidates]
    assert np.ptp(differences) < 5e-3  # the same up to a constant


def test_what_it_leaves_unexplained_is_the_noise(tool, tmp_path):
    histories = [write_history(tmp_path / f'{i}.csv', i, 200, noise=0.01) for i in range(2)]
    assert fit(tool, *histories).error == pytest.approx(0.01, rel=0.15)


def test_shared_scores_count_once(tool, tmp_path):
    history = write_history(tmp_path / '0.csv', 0, 100, noise=0.01)
    assert len(tool.read_scores([history, history], SPACE)[0]) == 100
    assert fit(tool, history, history).error == fit(tool, history).error


def test_searches_on_the_same_images_share_a_constant(tool, tmp_path):
    same = [write_history(tmp_path / f'{i}.csv', i, dense=True) for i in range(2)]
    others = write_history(tmp_path / '2.csv', 2, dense=True, offset=0.1)
    sources = tool.read_scores([*same, others], SPACE)[2]
    assert set(sources[:-61]) == {0}
    assert set(sources[-61:]) == {1}


def test_the_space_and_the_budget_are_those_of_the_config(tmp_path, call_tool, refusal):
    space = RatioSpace.build((2, 2, 6, 2), (0.2, 0.4, 0.6), [0.6, 0.6, [0.4, 0.6], 0.6])
    rng = Random(0)
    path = tmp_path / 'limited.csv'
    with path.open('w', newline='') as file:
        writer = csv.writer(file)
        writer.writerow(['role', 'pruning_ratios', 'score'])
        rows = [(SPACE.least, 'dense')] + [(space.draw(rng), 'population') for _ in range(100)]
        for candidate, role in rows:
            writer.writerow([role, json.dumps(candidate), score(candidate) + rng.gauss(0, 0.003)])
    config = tmp_path / 'limited.py'
    config.write_text(
        f'_base_ = {str(CONFIG)!r}\n'
        'custom_hooks = _base_.custom_hooks\n'
        "custom_hooks[1].update(choices=[0.2, 0.4, 0.6], budget='macs=0.6..0.7',\n"
        '    stage_limits=[0.6, 0.6, [0.4, 0.6], 0.6], population=7)\n'
    )
    printed = call_tool(TOOL, config, path, '--evaluations', 10, '--seeds', 2)
    assert '100 scores' not in printed.splitlines()[0]  # equal candidates count once
    assert '0.6 to 0.7 of the dense MACs' in printed
    outside = write_history(tmp_path / 'outside.csv', 1, 200)
    assert 'search space' in refusal(TOOL, config, outside)


def test_settings_without_a_score_do_no_harm(tool, tmp_path):
    path = tmp_path / '0.csv'
    write_history(path, 0, 200, noise=0.01)
    whole = fit(tool, str(path))
    with path.open('a') as file:
        file.write('population,"[[0.8], [0.8], [0.8, 0.8, 0.8], [0.8]]",\n')  # memory ran out
    assert fit(tool, str(path)).error == whole.error


def test_a_search_that_has_just_begun_does_no_harm(tool, tmp_path):
    enough = write_history(tmp_path / '0.csv', 0, 200, noise=0.01)
    begun = write_history(tmp_path / '1.csv', 1, 1)
    assert fit(tool, enough, begun).error == pytest.approx(
        fit(tool, enough).error, rel=1e-4
    )  # the ridge grows


def test_prints_a_table(tmp_path, call_tool):
    history = write_history(tmp_path / '0.csv', 0, 200, noise=0.003)
    printed = call_tool(
        *(TOOL, CONFIG, history, '--budget', 'macs=0.6..0.7', 'macs=0.4..0.5'),
        *('--evaluations', 20, 60, '--seeds', 6),
    )
    rows = [line.split('|')[1:-1] for line in printed.splitlines() if line.startswith('| 0.')]
    assert [(row[0].strip()[:3], int(row[1])) for row in rows] == [
        ('0.6', 20),
        ('0.6', 60),
        ('0.4', 20),
        ('0.4', 60),
    ]
    best = max(map(score, SPACE)) - score(SPACE.least)  # whatever the budget
    for row in rows:
        random, evolution, gain = (float(cell.split('±')[0]) for cell in row[2:])
        assert gain == pytest.approx(evolution - random, abs=2e-4)
        assert -0.1 < random < best + 0.01
        assert -0.1 < evolution < best + 0.01


def test_the_surrogate_takes_part_where_it_is_named(tmp_path, call_tool):
    history = write_history(tmp_path / '0.csv', 0, 200, noise=0.003)
    printed = call_tool(
        *(TOOL, CONFIG, history, '--budget', 'macs=0.6..0.7', '--evaluations', 30),
        *('--seeds', 2, '--strategies', 'random', 'surrogate'),
    )
    header, _, row = (line.split('|')[2:-1] for line in printed.splitlines() if line[:1] == '|')
    names = [name.strip() for name in header]
    assert names == ['evaluations', 'random', 'surrogate', 'surrogate − random']
    random, surrogate, gain = (float(cell.split('±')[0]) for cell in row[1:])
    assert gain == pytest.approx(surrogate - random, abs=2e-4)
    assert surrogate > random


def write_table(path, dear):
    """A latency table in which the windows of one stage cost ten times those of the others."""
    windows = [256, 64, 16, 4]
    stages = []
    for i, (count, pairs) in enumerate(zip(windows, SPACE.num_pairs, strict=True)):
        kept = {max(1, count * (10 - tenths) // 10) for tenths in range(9)}
        price = (10 if i == dear else 1) / count / pairs
        pair = {k: k * price for k in kept}
        stages.append(dict(dense_ms=0.0, sparse_ms=0.0, pairs=[pair] * pairs))
    table = LatencyTable((448, 448), 2, 0.0, stages, windows, [32, 64, 128, 256])
    path.write_text(table.to_json())
    return path.name


def test_what_the_wrong_table_costs(tmp_path, call_tool, refusal):
    history = write_history(tmp_path / '0.csv', 0, 200, noise=0.001)
    first, second = (write_table(tmp_path / f'{stage}.json', stage) for stage in (0, 2))
    command = (TOOL, CONFIG, history, '--budget', 'latency=0.6', '--evaluations', 20)
    command += ('--seeds', 2, '--other-table', second)
    printed = call_tool(*command, '--latency-table', first)
    rows = [line.split('|')[2:-1] for line in printed.splitlines() if '.json |' in line][1:]
    assert [row[0].strip() for row in rows] == [first, second]
    ratios = [[float(ratio) for ratio in row[1].replace(',', ' ').split()] for row in rows]
    # Each prunes most where its own engine is slow, which helps the other little.
    assert ratios[0][0] >= 0.4 > ratios[0][1]
    assert min(ratios[1][2:5]) >= 0.3
    latencies = [[float(cell) for cell in row[3:]] for row in rows]
    assert max(latencies[0][0], latencies[1][1]) <= 0.6
    for own, found in zip(ratios, latencies, strict=True):
        stages = own[0], own[1], sum(own[2:5]) / 3, own[5]
        for dear, latency in zip((0, 2), found, strict=True):
            prices = [10 if i == dear else 1 for i in range(4)]
            kept = sum(price * (1 - share) for price, share in zip(prices, stages, strict=True))
            assert latency == pytest.approx(kept / 13, abs=0.03)  # windows are whole
    message = refusal(*(item if item != 'latency=0.6' else 'macs=0.6' for item in command))
    assert '--other-table is compared with --latency-table; give both' in message


def test_the_same_every_time(tmp_path, call_tool):
    history = write_history(tmp_path / '0.csv', 0, 200, noise=0.003)
    command = TOOL, CONFIG, history, '--budget', 'macs=0.6', '--evaluations', 20, '--seeds', 2
    assert call_tool(*command) == call_tool(*command)


def test_refusals(tool, tmp_path, refusal):
    few = write_history(tmp_path / 'few.csv', 0, 10)
    assert 'too few' in refusal(TOOL, CONFIG, few, '--budget', 'macs=0.6')
    none = write_history(tmp_path / 'none.csv', 0, 0)
    assert 'no scores' in refusal(TOOL, CONFIG, none, '--budget', 'macs=0.6')
    assert '--seeds' in refusal(TOOL, CONFIG, few, '--budget', 'macs=0.6', '--seeds', 0)
    lengths = refusal(TOOL, CONFIG, few, '--budget', 'macs=0.6', '--evaluations', 20, 0)
    assert 'evaluations of the search must be at least 1' in lengths  # before the fit refuses
    assert 'is not the history.csv' in refusal(TOOL, CONFIG, CONFIG, '--budget', 'macs=0.6')
    enough = write_history(tmp_path / 'enough.csv', 0, 200)
    assert '--latency-table' in refusal(TOOL, CONFIG, enough, '--budget', 'latency=0.6')
    assert 'cannot be met' in refusal(TOOL, CONFIG, enough, '--budget', 'macs=0.01')
    with pytest.raises(BadInputError, match='search space'):
        tool.read_scores([enough], RatioSpace.build((2, 2, 2, 2)))
