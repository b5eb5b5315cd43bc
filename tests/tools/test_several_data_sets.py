"""Joined data sets with a metric each: trained, searched and tested by the command lines."""

import json
import pickle

import pytest

from sparse_mm.datasets.shapes import write_shapes
from tests.hosts.bases import MMDET

TWO_SETS = (
    MMDET
    + """
custom_imports = dict(imports=['sparse_mm'])
small = dict(evaluations=2, population=2, parents=1, num_images=2, finalists=1)
custom_hooks = [
    dict(type='SparsityAdaptationHook', begin=0, end=1),
    dict(type='SparsitySearchHook', at=1, budget='macs=0.9', **small,
        metric='second/coco/bbox_mAP')]
model['backbone'].update(type='SparseViT')
model['test_cfg'] = dict(rcnn=dict(score_thr=1e-4, max_per_img=5))
one = dict(type='CocoDataset', ann_file='truth.json', data_prefix=dict(img='images/'),
    metainfo=classes, pipeline=test, test_mode=True)
val_dataloader = dict(num_workers=0, dataset=dict(
    _delete_=True, type='ConcatDataset', datasets=[
        dict(data_root='data/', indices=3, **one), dict(data_root='more/', **one)]))
test_dataloader = val_dataloader
val_evaluator = dict(
    _delete_=True, type='MultiDatasetsEvaluator', dataset_prefixes=['first', 'second'],
    metrics=[dict(type='CocoMetric', ann_file=f'{folder}/truth.json', metric=['bbox', 'segm'])
        for folder in ('data', 'more')])
test_evaluator = val_evaluator
train_cfg = dict(max_epochs=2, val_interval=2)
"""
)


@pytest.mark.slow
def test_each_is_judged_by_its_own_metric(tmp_path, call_tool, refusal):
    pytest.importorskip('mmdet', reason='needs mmdet')
    (tmp_path / 'config.py').write_text(TWO_SETS)
    for folder, seed in (('data', 0), ('more', 1)):
        write_shapes(tmp_path / folder / 'truth.json', tmp_path / folder / 'images', 4, 96, seed)
    swapped = 'val_evaluator.metrics.1.ann_file=data/nowhere.json'
    said = refusal('train.py', 'config.py', '--work-dir', 'no', '--cfg-options', swapped)
    assert 'set val_evaluator.metrics.1.ann_file to the annotations' in said

    log = call_tool('train.py', 'config.py', '--work-dir', 'run')
    assert 'is finetuned from here on' in log
    for name in ('first/coco/bbox_mAP', 'second/coco/segm_mAP'):
        assert name in log
    best = json.loads((tmp_path / 'run' / 'sparsity_search' / 'best.json').read_text())
    assert best['metric'] == 'second/coco/bbox_mAP'

    trained = 'config.py', 'run/epoch_2.pth', '--work-dir'
    call_tool(
        *('search.py', *trained, 'found', '--metric', 'first/coco/segm_mAP'),
        *('--budget', 'macs=0.9', '--evaluations', '2'),
    )
    best = json.loads((tmp_path / 'found' / 'sparsity_search' / 'best.json').read_text())
    assert best['metric'] == 'first/coco/segm_mAP'
    said = refusal('search.py', *trained, 'found2', '--metric', 'coco/bbox_mAP')
    assert 'second/coco/bbox_mAP' in said

    log = call_tool('test.py', *trained, 'test', '--out', 'found.pkl')
    assert 'first/coco/segm_mAP' in log
    assert len(pickle.loads((tmp_path / 'found.pkl').read_bytes())) == 7
    log = call_tool('test.py', *trained, 'tta', '--tta')
    assert 'second/coco/bbox_mAP' in log
    assert 'segm_mAP' not in log  # mmdet merges only the boxes of mirrored images
