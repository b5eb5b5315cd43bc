"""Metrics of other data sets than COCO at full precision, and evaluators of several data sets."""

import json

import numpy as np
import pytest
import torch
from mmdet.datasets import CocoDataset, ConcatDataset
from mmdet.evaluation import (
    CrowdHumanMetric,
    LVISMetric,
    MultiDatasetsEvaluator,
    OpenImagesMetric,
    OVCocoMetric,
    SemSegMetric,
    VOCMetric,
)
from mmengine.registry import init_default_scope

from sparse_mm.datasets.shape_scenes import CLASSES
from sparse_mm.datasets.shapes import write_shapes
from sparse_mm.engine.hosts import (
    metric_of,
    names_given,
    needs_whole_set,
    precise_metric,
    what_is_lost,
)
from sparse_mm.engine.search.evaluators import ScoringEvaluator
from tests.evaluation.test_full_precision import predict

NUM_IMAGES = 6


@pytest.fixture(scope='module')
def truth(tmp_path_factory):
    folder = tmp_path_factory.mktemp('shapes')
    path = folder / 'truth.json'
    write_shapes(path, folder / 'images', NUM_IMAGES, 96, seed=0)
    return path


def with_truth(path, image_ids):
    """Predictions, with the annotations that some metrics read from the samples."""
    content = json.loads(path.read_text())
    ids = sorted(category['id'] for category in content['categories'])
    samples = predict(path, image_ids)
    for sample in samples:
        found = [a for a in content['annotations'] if a['image_id'] == sample['img_id']]
        boxes = np.array([a['bbox'] for a in found], np.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        labels = [ids.index(a['category_id']) for a in found]
        truth = dict(bboxes=torch.tensor(boxes), labels=torch.tensor(labels))
        sample['gt_instances'] = truth
        sample['ignored_instances'] = {key: value[:0] for key, value in truth.items()}
    return samples


def compute(cls, samples, **settings):
    metric = cls(**settings)
    metric.dataset_meta = dict(classes=CLASSES)
    metric.process({}, samples)
    return metric.compute_metrics(metric.results)


def test_vocs_values_unrounded(truth):
    samples = with_truth(truth, range(NUM_IMAGES))
    settings = dict(metric='mAP', iou_thrs=[0.5, 0.7, 0.9])
    given = compute(VOCMetric, samples, **settings)
    ours = compute(precise_metric(VOCMetric), samples, **settings)
    assert ours.keys() == given.keys()
    for name, value in given.items():
        assert ours[name] == pytest.approx(value, abs=5.1e-4), name
    named = [value for name, value in ours.items() if name.startswith('AP')]
    assert ours['mAP'] == pytest.approx(np.mean(named))
    assert any(value != round(value, 3) for value in named)


def test_openimages_values_unrounded():
    rng = np.random.default_rng(0)
    results = []
    for _ in range(4):
        corners = rng.uniform(0, 50, (7, 2))
        boxes = np.hstack([corners, corners + 30]).astype(np.float32)
        truth = dict(labels=np.zeros(7, np.int64), bboxes=boxes, gt_is_group_ofs=np.zeros(7, bool))
        found = np.hstack([boxes + rng.uniform(-9, 9, (7, 4)), rng.uniform(0, 1, (7, 1))])
        results.append((truth, [found.astype(np.float32)]))

    def compute_on(cls):
        metric = cls(iou_thrs=[0.5, 0.7], ioa_thrs=[0.5, 0.7])
        metric.dataset_meta = dict(classes=('one',), dataset_type='oid_v6')
        return metric.compute_metrics(results)

    given, ours = compute_on(OpenImagesMetric), compute_on(precise_metric(OpenImagesMetric))
    assert ours.keys() == given.keys()
    for name, value in given.items():
        assert ours[name] == pytest.approx(value, abs=5.1e-4), name
    assert any(ours[name] != round(ours[name], 3) for name in ('AP50', 'AP70'))
    assert ours['mAP'] == pytest.approx(given['mAP'])


def test_what_rounds_and_is_used_as_it_is_says_so(tmp_path):
    said = what_is_lost(OVCocoMetric)
    assert 'OVCocoMetric is used as its package has it, and rounds to 3 decimals' in said
    assert 'its whole annotation file' in said
    assert 'annotation file' not in what_is_lost(CrowdHumanMetric)
    assert what_is_lost(precise_metric(VOCMetric)) == ''


def test_crowdhuman_pairs_all_images_with_its_file(tmp_path):
    """mmdet's metric fails with an assertion on a subset."""
    assert needs_whole_set(CrowdHumanMetric)
    (tmp_path / 'a.odgt').write_text('')
    metric = CrowdHumanMetric(ann_file=str(tmp_path / 'a.odgt'), metric=['AP', 'JI'])
    assert names_given(metric, {}) == ['crowd_human/mAP', 'crowd_human/JI']


def test_mmdets_miou_unrounded():
    torch.manual_seed(0)
    samples = [
        dict(
            pred_sem_seg=dict(sem_seg=torch.randint(0, 3, (1, 9, 9))),
            gt_sem_seg=dict(sem_seg=torch.randint(0, 3, (1, 9, 9))),
        )
        for _ in range(2)
    ]
    settings = dict(iou_metrics=['mIoU', 'mDice'])
    given = compute(SemSegMetric, samples, **settings)
    ours = compute(precise_metric(SemSegMetric), samples, **settings)
    assert ours.keys() == given.keys()
    for name, value in given.items():
        assert ours[name] == pytest.approx(value, abs=5.1e-3)
    assert ours['mIoU'] != round(ours['mIoU'], 2)


@pytest.mark.parametrize('settings', [dict(metric='bbox', classwise=True), dict(metric='proposal')])
def test_lvis_over_just_the_images_predicted(truth, tmp_path, settings, monkeypatch):
    pytest.importorskip('lvis', reason='needs lvis')
    monkeypatch.setattr(np, 'float', float, raising=False)  # the name that lvis 0.5.3 still uses
    content = json.loads(truth.read_text())
    for image in content['images']:
        image.update(neg_category_ids=[], not_exhaustive_category_ids=[])
    for category in content['categories']:
        category.update(frequency='f', image_count=NUM_IMAGES)
    path = tmp_path / 'lvis.json'
    path.write_text(json.dumps(content))
    settings = dict(settings, ann_file=str(path))
    whole = with_truth(truth, range(NUM_IMAGES))
    given = compute(LVISMetric, whole, **settings)
    ours = compute(precise_metric(LVISMetric), whole, **settings)
    assert ours.keys() == given.keys()
    for name, value in given.items():
        assert ours[name] == pytest.approx(value, abs=5.1e-4, nan_ok=True), name
    if 'bbox_AP50' in ours:
        assert ours['bbox_AP'] != round(ours['bbox_AP'], 3)
        part = compute(precise_metric(LVISMetric), with_truth(truth, range(2)), **settings)
        assert part['bbox_AP50'] > 0.8
    nothing = with_truth(truth, range(1))
    nothing[0]['pred_instances'] = {k: v[:0] for k, v in nothing[0]['pred_instances'].items()}
    empty = compute(precise_metric(LVISMetric), nothing, **settings)
    assert empty.keys() == ours.keys()
    assert set(empty.values()) == {0.0}


@pytest.fixture
def two_sets(tmp_path):
    """Two data sets with classes of their own, joined; and the evaluator of both."""
    init_default_scope('mmdet')
    sets, metrics = [], []
    for name, classes in (('a', CLASSES), ('b', CLASSES[::-1])):
        path = tmp_path / name / 'truth.json'
        write_shapes(path, tmp_path / name / 'images', 3, 96, seed=ord(name))
        meta = dict(classes=classes)
        sets.append(CocoDataset(ann_file=str(path), data_prefix=dict(img=''), metainfo=meta))
        metrics.append(dict(type='CocoMetric', ann_file=str(path), metric='bbox'))
    evaluator = dict(type='MultiDatasetsEvaluator', metrics=metrics, dataset_prefixes=['a', 'b'])
    return ConcatDataset(sets), evaluator


def predictions_of(evaluator):
    return [sample for m in evaluator['metrics'] for sample in predict(m['ann_file'], range(3))]


def test_each_of_several_data_sets_has_its_metric_and_prefix(two_sets):
    dataset, cfg = two_sets
    samples = predictions_of(cfg)
    host = MultiDatasetsEvaluator(cfg['metrics'], cfg['dataset_prefixes'])
    host.dataset_meta = dataset.metainfo
    host.process(samples, {})
    given = host.evaluate(len(dataset))
    ours = ScoringEvaluator(cfg, dataset)
    ours.process(samples, {})
    found, _ = ours.compute(range(len(dataset)))
    assert found.keys() == {name for name in given if 'copypaste' not in name}
    assert found.keys() >= {'a/coco/bbox_mAP', 'b/coco/bbox_mAP'}
    for name, value in found.items():
        assert value == pytest.approx(given[name], abs=5.1e-4), name
    assert found['a/coco/bbox_mAP'] != found['b/coco/bbox_mAP']
    assert metric_of(dict(val_evaluator=cfg, default_scope='mmdet')) == 'a/coco/bbox_mAP'


def test_a_part_of_several_data_sets(two_sets):
    dataset, cfg = two_sets
    samples = predictions_of(cfg)
    ours = ScoringEvaluator(cfg, dataset)
    ours.process([samples[i] for i in (0, 4, 5)], {})
    found, _ = ours.compute([0, 4, 5])
    assert found['a/coco/bbox_mAP_50'] > 0.8
    ours.process([samples[i] for i in (4, 5)], {})
    assert all(name.startswith('b/') for name in ours.compute([4, 5])[0])


def test_what_writes_predictions_keeps_the_others_in_their_places(two_sets):
    dataset, cfg = two_sets
    samples = predictions_of(cfg)
    cfg['metrics'][0] = dict(type='DumpDetResults', out_file_path='never.pkl')
    ours = ScoringEvaluator(cfg, dataset)
    ours.process(samples, {})
    assert {name.partition('/')[0] for name in ours.compute(range(6))[0]} == {'b'}
