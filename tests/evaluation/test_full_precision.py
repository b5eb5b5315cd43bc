"""The metrics that score candidates: the hosts' values, unrounded, over the predicted images."""

import numpy as np
import pytest
import torch
from mmdet.evaluation import CocoMetric
from mmengine.config import Config
from mmengine.registry import init_default_scope
from pycocotools.coco import COCO

from sparse_mm.datasets.shape_scenes import CLASSES
from sparse_mm.datasets.shapes import write_shapes
from sparse_mm.engine.search.evaluators import _full_precision
from sparse_mm.errors import BadInputError
from sparse_mm.evaluation.coco_metric import FullPrecisionCocoMetric
from tests.conftest import ROOT


@pytest.fixture(scope='module')
def truth(tmp_path_factory):
    folder = tmp_path_factory.mktemp('shapes')
    path = folder / 'truth.json'
    write_shapes(path, folder / 'images', 6, 96, seed=0)
    return path


def predict(path, image_ids):
    """Boxes near the true ones."""
    coco = COCO(str(path))
    rng = np.random.default_rng(0)
    samples = []
    for image_id in image_ids:
        found = coco.loadAnns(coco.getAnnIds(image_id))
        boxes = np.array([item['bbox'] for item in found], np.float32)
        boxes[:, 2:] += boxes[:, :2]
        boxes += rng.normal(0, 1.5, boxes.shape)
        labels = [coco.getCatIds().index(item['category_id']) for item in found]
        instances = dict(
            bboxes=torch.tensor(boxes, dtype=torch.float32),
            scores=torch.tensor(rng.random(len(found)), dtype=torch.float32),
            labels=torch.tensor(labels),
        )
        samples.append(dict(img_id=image_id, ori_shape=(96, 96), pred_instances=instances))
    return samples


def evaluate(cls, path, image_ids):
    metric = cls(ann_file=str(path), metric='bbox')
    metric.dataset_meta = dict(classes=CLASSES)
    metric.process({}, predict(path, image_ids))
    return metric.compute_metrics(metric.results)


def test_the_hosts_values_unrounded(truth):
    ours = evaluate(FullPrecisionCocoMetric, truth, range(6))
    host = evaluate(CocoMetric, truth, range(6))
    for name in ('bbox_mAP', 'bbox_mAP_50', 'bbox_mAP_75'):
        assert ours[name] == pytest.approx(host[name], abs=5.1e-4)
    assert ours['bbox_mAP'] != round(ours['bbox_mAP'], 3)


def test_only_predicted_images_count(truth):
    whole, part = (evaluate(FullPrecisionCocoMetric, truth, range(n)) for n in (6, 2))
    assert part['bbox_mAP_50'] > 0.8
    # The host's metric counts the four other images as missed.
    assert evaluate(CocoMetric, truth, range(2))['bbox_mAP_50'] < 0.7 * part['bbox_mAP_50']
    assert whole['bbox_mAP_50'] > 0.8


def test_nothing_found_is_zero(truth):
    metric = FullPrecisionCocoMetric(ann_file=str(truth), metric='bbox')
    metric.dataset_meta = dict(classes=CLASSES)
    (sample,) = predict(truth, [0])
    sample['pred_instances'] = {k: v[:0] for k, v in sample['pred_instances'].items()}
    metric.process({}, [sample])
    assert metric.compute_metrics(metric.results)['bbox_mAP'] == 0


def test_without_objects_there_is_no_value_whether_or_not_something_is_found(truth):
    found = []
    for kept in None, 0:
        metric = FullPrecisionCocoMetric(ann_file=str(truth), metric='bbox', classwise=True)
        metric.dataset_meta = dict(classes=CLASSES)
        (sample,) = predict(truth, [0])
        instances = sample['pred_instances']
        sample['pred_instances'] = {k: v[:kept] for k, v in instances.items()}
        metric.process({}, [sample])
        found.append(metric.compute_metrics(metric.results))
    something, nothing = found
    assert something['bbox_mAP_l'] == -1  # all objects are small or medium
    assert list(something) == list(nothing)
    for name, value in something.items():
        assert (nothing[name] == -1) == (value == -1), name
        assert np.isnan(nothing[name]) == np.isnan(value), name


def test_the_search_uses_them_in_the_configs_scope():
    cfg = Config.fromfile(ROOT / 'configs' / 'sparsevit_maskrcnn_shapes.py')
    init_default_scope(cfg.default_scope)
    assert _full_precision(cfg.val_evaluator)['type'] is FullPrecisionCocoMetric


@pytest.mark.parametrize(
    'settings',
    [
        dict(metric='bbox', classwise=True),
        dict(metric='bbox', metric_items=['mAP_50', 'AR@100']),
        dict(metric=['bbox', 'proposal']),
    ],
)
def test_every_setting_gives_the_hosts_items(truth, settings):
    found = {}
    for cls in CocoMetric, FullPrecisionCocoMetric:
        metric = cls(ann_file=str(truth), **settings)
        metric.dataset_meta = dict(classes=CLASSES)
        metric.process({}, predict(truth, range(6)))
        found[cls] = metric.compute_metrics(metric.results)
    host, ours = found.values()
    assert set(ours) == set(host)
    for name, value in host.items():
        assert ours[name] == pytest.approx(value, abs=5.1e-4, nan_ok=True), name


@pytest.mark.parametrize(
    ('settings', 'sentence'),
    [
        (dict(format_only=True, outfile_prefix='x'), 'format_only=True'),
        (dict(metric_items=['mAP_60']), "'mAP_60'"),
    ],
)
def test_settings_without_a_score_get_a_sentence(truth, settings, sentence):
    metric = FullPrecisionCocoMetric(ann_file=str(truth), metric='bbox', **settings)
    metric.dataset_meta = dict(classes=CLASSES)
    metric.process({}, predict(truth, [0]))
    with pytest.raises(BadInputError, match=sentence):
        metric.compute_metrics(metric.results)
