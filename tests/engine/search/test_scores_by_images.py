"""Scores by images: kept with every evaluation, and used in the summary."""

import json
import math

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict

from sparse_mm.engine.search.evaluators import ScoringEvaluator
from sparse_mm.engine.search.records import Record
from sparse_mm.engine.search.settings import SearchSettings
from sparse_mm.engine.search.sparsity_search import SparsitySearch
from sparse_mm.engine.search.summary import compare, summarise
from sparse_mm.search.score_errors import pack
from tests.engine.search.toy import toy_runner


class Pictures(list):
    metainfo = dict(classes=('a', 'b', 'c'))  # noqa: RUF012


def scored(cfg, samples, name):
    evaluator = ScoringEvaluator(ConfigDict(cfg), Pictures(range(len(samples))))
    evaluator.process(samples, {})
    found, values = evaluator.compute(range(len(samples)), name)
    return found[name], values


def test_of_accuracy_right_or_wrong():
    pytest.importorskip('mmpretrain')
    right = [True, True, False, True, False, True]
    samples = [
        dict(pred_label=torch.tensor([1 if own else 2]), gt_label=torch.tensor([1]))
        for own in right
    ]
    score, values = scored(dict(type='mmpretrain.Accuracy'), samples, 'accuracy/top1')
    assert values.tolist() == [100.0 * own for own in right]
    assert score == pytest.approx(values.mean())


def test_of_segmentation_what_each_image_does_to_the_mean_over_classes():
    pytest.importorskip('mmseg')
    generator = torch.Generator().manual_seed(0)
    samples = []
    for _ in range(20):
        truth = torch.randint(0, 3, (1, 8, 8), generator=generator)
        wrong = torch.rand(1, 8, 8, generator=generator) < 0.3
        found = torch.where(wrong, (truth + 1) % 3, truth)
        samples.append(dict(pred_sem_seg=dict(data=found), gt_sem_seg=dict(data=truth)))
    cfg = dict(type='mmseg.IoUMetric', iou_metrics=['mIoU'])
    score, values = scored(cfg, samples, 'mIoU')
    assert len(values) == 20
    assert values.mean() == pytest.approx(score, abs=0.3)
    without, _ = scored(cfg, samples[:7] + samples[8:], 'mIoU')
    assert values[7] == pytest.approx(20 * score - 19 * without)


def test_metrics_that_do_not_allow_it_have_none():
    pytest.importorskip('mmpretrain')
    samples = [
        dict(pred_score=torch.eye(3)[i % 3], gt_label=torch.tensor([i % 3])) for i in range(6)
    ]
    cfg = dict(type='mmpretrain.AveragePrecision')
    evaluator = ScoringEvaluator(ConfigDict(cfg), Pictures(range(6)))
    evaluator.process([{**s, 'gt_score': s['pred_score']} for s in samples], {})
    found, values = evaluator.compute(range(6), 'multi-label/mAP')
    assert 'multi-label/mAP' in found
    assert values is None


@pytest.fixture
def searched(tmp_path):
    settings = SearchSettings.build(
        budget='macs=0.7',
        metric='toy/likelihood',
        evaluations=4,
        population=2,
        num_images=6,
        finalists=2,
        latency_seconds=0.5,
        image_size=(48, 48),
    )
    search = SparsitySearch(toy_runner(tmp_path), settings, tmp_path / 'search')
    search.prepare()
    return search, search.run()


def test_every_evaluation_keeps_them_and_the_summary_says_how_sure_it_is(searched):
    search, winners = searched
    winner = winners[0]
    for record in search.records.all:
        assert len(record.values) == record.num_images
        assert record.values.mean() == pytest.approx(record.score, rel=1e-6)
    lines = summarise(search, winners)
    uniform = search.beside(0, winner)['uniform']
    line = next(line for line in lines if line.startswith('winner '))
    assert f'winner {winner.score:.4f} ± {winner.error:.4f}' in line
    assert 'on the same 10 images' in line
    best = json.loads((search.folder / 'best.json').read_text())
    assert best['standard_error'] == winner.error
    assert best['uniform']['difference'] == winner.score - uniform.score
    difference = winner.values - uniform.values
    assert best['uniform']['error_of_difference'] == pytest.approx(
        difference.std(ddof=1) / math.sqrt(10)
    )


def record(ratio, score, values):
    return Record(((ratio,),), len(values), score, 'final', -1, 0, '', pack(np.array(values)))


def test_a_line_of_winner_and_uniform():
    winner = record(0.5, 0.6, [0.4, 0.6, 0.8])
    beside = dict(uniform=record(0.4, 0.5, [0.3, 0.5, 0.7]), dense=record(0.5, 0.6, [1, 1, 1]))
    (line,) = compare(winner, beside)
    assert line.startswith('winner 0.6000 ± 0.1155, uniform 0.5000 ± 0.1155; winner - uniform ')
    assert '+0.1000 ± 0.0000' in line  # all images have the same difference
    assert 'dense' not in line  # it is the winner itself
    unknown = dict(uniform=Record(((0.4,),), 3, 0.5, 'final', -1, 0))
    assert 'uniform 0.5000; winner - uniform +0.1000: all' in compare(winner, unknown)[0]
    assert compare(winner, {}) == []
