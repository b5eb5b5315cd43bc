"""Average precision by images: equal to an evaluation without each image."""

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO

from sparse_mm.datasets.shape_scenes import CLASSES
from sparse_mm.datasets.shapes import write_shapes
from sparse_mm.evaluation.coco_metric import FullPrecisionCocoMetric
from sparse_mm.search.score_errors import pseudo_values, standard_error

IMAGES = 24


@pytest.fixture(scope='module')
def evaluated(tmp_path_factory):
    """A metric, and its results for boxes that are near the true ones, or of nothing."""
    folder = tmp_path_factory.mktemp('shapes')
    write_shapes(folder / 'truth.json', folder / 'images', IMAGES, 96, seed=0)
    metric = FullPrecisionCocoMetric(ann_file=str(folder / 'truth.json'), metric=['bbox'])
    metric.dataset_meta = dict(classes=CLASSES)
    coco, rng = COCO(str(folder / 'truth.json')), np.random.default_rng(0)
    for image_id in range(IMAGES):
        found = coco.loadAnns(coco.getAnnIds(image_id))
        boxes = np.array([item['bbox'] for item in found] * 2)
        boxes[:, 2:] += boxes[:, :2]
        boxes += rng.normal(0, 2.5, boxes.shape)
        labels = rng.permutation([item['category_id'] - 1 for item in found] * 2)
        labels[: len(found)] = [item['category_id'] - 1 for item in found]
        instances = dict(
            bboxes=torch.tensor(boxes, dtype=torch.float32),
            scores=torch.tensor(rng.random(len(boxes)), dtype=torch.float32),
            labels=torch.tensor(labels),
        )
        sample = dict(img_id=image_id, ori_shape=(96, 96), pred_instances=instances)
        metric.process({}, [sample])
    return metric, metric.results


@pytest.mark.parametrize('name', ['bbox_mAP', 'bbox_mAP_75', 'bbox_mAP_s'])
@pytest.mark.parametrize('per_part', [1, 5])
def test_as_an_evaluation_of_the_other_images(evaluated, name, per_part):
    metric, results = evaluated
    parts = np.arange(IMAGES) // per_part
    assert 0.01 < metric.compute_metrics(results)[name] < 0.9
    found = metric.compute_without(name, results, parts)
    for part in range(parts.max() + 1):
        left = [result for result, own in zip(results, parts, strict=True) if own != part]
        assert found[part] == pytest.approx(metric.compute_metrics(left)[name], abs=1e-12)


def test_the_error_is_the_bootstraps(evaluated):
    metric, results = evaluated
    value = metric.compute_metrics(results)['bbox_mAP']
    without = metric.compute_without('bbox_mAP', results, np.arange(IMAGES))
    error = standard_error(pseudo_values(value, without))
    rng = np.random.default_rng(0)
    again = []
    for _ in range(60):
        chosen = [results[i] for i in rng.integers(0, IMAGES, IMAGES)]
        # The same image twice is two images.
        renamed = [
            (truth, {**prediction, 'img_id': number})
            for number, (truth, prediction) in enumerate(chosen)
        ]
        again.append(_evaluate_renamed(metric, chosen, renamed))
    assert error == pytest.approx(np.std(again), rel=0.35)


def _evaluate_renamed(metric, chosen, renamed):
    source = metric._coco_api
    copies = COCO()
    annotations = []
    for number, (_, prediction) in enumerate(chosen):
        for item in source.loadAnns(source.getAnnIds(prediction['img_id'])):
            annotations.append({**item, 'id': len(annotations) + 1, 'image_id': number})
    copies.dataset = dict(
        images=[dict(id=n, height=96, width=96) for n in range(len(chosen))],
        annotations=annotations,
        categories=source.dataset['categories'],
    )
    copies.createIndex()
    copies.get_cat_ids = lambda cat_names: sorted(copies.cats)
    metric._coco_api = copies
    try:
        return metric.compute_metrics(renamed)['bbox_mAP']
    finally:
        metric._coco_api = source


def test_what_has_no_such_value(evaluated):
    metric, results = evaluated
    parts = np.arange(IMAGES)
    metric.compute_metrics(results)
    assert metric.compute_without('bbox_AR@100', results, parts) is None
    metric.compute_metrics(results)
    assert metric.compute_without('segm_mAP', results, parts) is None
