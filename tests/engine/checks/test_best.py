"""Misspelt names of metrics for the best checkpoint are reported before training."""

import re

import pytest
from mmengine.config import Config

from sparse_mm.engine.checks import check_best


def check(evaluator, best, **more):
    hooks = dict(checkpoint=dict(type='CheckpointHook', save_best=best))
    cfg = dict(val_cfg=dict(), val_evaluator=evaluator, default_hooks=hooks)
    return check_best(Config({**cfg, **more}))


# A metric of each evaluator, and a misspelt one.
GIVEN = [
    (dict(type='CocoMetric'), 'coco/bbox_mAP_50', 'coco/bbox_map'),
    (dict(type='CocoMetric', metric=['bbox', 'segm']), 'coco/segm_mAP', 'segm_mAP'),
    (dict(type='CocoMetric', classwise=True), 'coco/cat_precision', 'coco/cat_AP'),
    (dict(type='CocoMetric', metric='proposal'), 'coco/AR@100', 'coco/bbox_mAP'),
    (dict(type='CocoMetric', metric='proposal_fast'), 'coco/AR@7', 'coco/AR_7'),
    (dict(type='CocoMetric', metric_items=['mAP']), 'coco/bbox_mAP', 'coco/bbox_mAP_50'),
    (dict(type='FullPrecisionCocoMetric', prefix='mine'), 'mine/bbox_mAP', 'coco/bbox_mAP'),
    (dict(type='CocoPanopticMetric'), 'coco_panoptic/PQ_th', 'coco/PQ'),
    (dict(type='LVISMetric', metric=['bbox', 'segm']), 'lvis/segm_APr', 'lvis/bbox_mAP'),
    (dict(type='LVISMetric', metric='proposal'), 'lvis/AR@300', 'lvis/AR@100'),
    (dict(type='VOCMetric'), 'pascal_voc/AP50', 'voc/mAP'),
    (dict(type='VOCMetric', metric='recall'), 'pascal_voc/AR@100', 'pascal_voc/mAP'),
    (dict(type='mmdet.CityScapesMetric'), 'cityscapes/AP@50', 'cityscapes/AP50'),
    (dict(type='OpenImagesMetric'), 'openimages/mAP', 'open_images/mAP'),
    (dict(type='CrowdHumanMetric', metric='MR'), 'crowd_human/mMR', 'crowd_human/mAP'),
    (dict(type='IoUMetric'), 'mIoU', 'mIOU'),
    (dict(type='IoUMetric', iou_metrics=['mFscore']), 'mRecall', 'mIoU'),
    (dict(type='SemSegMetric', prefix='seg'), 'seg/aAcc', 'aAcc'),
    (dict(type='Accuracy', topk=(1, 5)), 'accuracy/top5', 'accuracy/top3'),
    (dict(type='SingleLabelMetric', items=['recall']), 'single-label/recall', 'single-label/f1'),
    (dict(type='MultiLabelMetric', thr=0.3), 'multi-label/recall_thr-0.30', 'multi-label/mAP'),
    (dict(type='AveragePrecision'), 'multi-label/mAP', 'mAP'),
    (
        dict(type='NuScenesMetric'),
        'NuScenes metric/pred_instances_3d_NuScenes/NDS',
        'NuScenes metric/NDS',
    ),
]


@pytest.mark.parametrize(('evaluator', 'right', 'wrong'), GIVEN)
def test_names_of_each_evaluator(evaluator, right, wrong):
    assert check(evaluator, right) == []
    (problem,) = check(evaluator, [right, wrong])
    assert f'save_best={wrong!r}, and the val_evaluator gives no such value' in problem


def test_the_nearest_name_and_some_others_are_named():
    (problem,) = check(dict(type='CocoMetric'), 'coco/bbox_map50')
    assert re.search(r"did you mean 'coco/bbox_mAP_50'\? It gives coco/bbox_mAP, coco/", problem)


def test_early_stopping_and_schedulers_look_values_up_too():
    (problem,) = check(
        dict(type='Accuracy'),
        'auto',
        custom_hooks=[
            dict(type='EarlyStoppingHook', monitor='top1'),
            dict(type='EarlyStoppingHook', monitor='accuracy/top1'),
        ],
        param_scheduler=dict(type='ReduceOnPlateauLR', monitor='loss'),
    )
    assert "EarlyStoppingHook has monitor='top1'" in problem
    schedulers = [dict(type='ReduceOnPlateauLR', monitor='accuracy')]
    (problem,) = check(dict(type='Accuracy'), None, param_scheduler=schedulers)
    assert "ReduceOnPlateauLR has monitor='accuracy'" in problem


def test_several_metrics_and_several_data_sets():
    both = [dict(type='Accuracy'), dict(type='SingleLabelMetric')]
    assert check(both, 'single-label/recall') == []
    joined = dict(
        type='MultiDatasetsEvaluator',
        dataset_prefixes=['day', 'night'],
        metrics=[dict(type='CocoMetric'), dict(type='CocoMetric')],
    )
    assert check(joined, 'night/coco/bbox_mAP') == []
    assert len(check(joined, 'coco/bbox_mAP')) == 1


def test_unknown_metrics_are_not_checked():
    assert check(dict(type='OwnMetric'), 'anything') == []
    assert check([dict(type='Accuracy'), dict(type='OwnMetric')], 'anything') == []
    assert check(dict(type='CocoMetric', format_only=True), 'anything') == []
    assert check(dict(type='Accuracy'), 'anything', val_cfg=None) == []
