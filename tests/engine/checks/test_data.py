"""Missing data sets are reported once each, with what to do."""

import json
import re

import pytest
from mmengine.config import Config

from sparse_mm.engine.checks import check_data


def config(dataset):
    return Config(dict(train_dataloader=dict(dataset=dataset)))


def leaf(root, **settings):
    return dict(type='mmdet.CocoDataset', data_root=str(root), **settings)


def test_data_sets_inside_wrappers_are_checked(tmp_path):
    missing = leaf(tmp_path, ann_file='a.json')
    for dataset in (
        missing,
        dict(type='RepeatDataset', times=2, dataset=missing),
        dict(type='ConcatDataset', datasets=[leaf(tmp_path), missing]),
    ):
        (problem,) = check_data(config(dataset), ('train',))
        assert re.search(r'CocoDataset \(train\) is missing.*a\.json', problem)
    (tmp_path / 'a.json').write_text('{"images": []}\n')
    assert check_data(config(missing), ('train', 'val')) == []


def test_absolute_paths_and_folders_are_checked(tmp_path):
    (tmp_path / 'a.json').write_text('[]')
    dataset = leaf('elsewhere', ann_file=f'{tmp_path}/a.json', data_prefix=dict(img='images'))
    (problem,) = check_data(config(dataset), ('train',))
    assert re.search("there is no 'elsewhere/images'", problem)


@pytest.mark.parametrize(
    ('kind', 'hint'),
    [
        ('CityscapesDataset', 'leftImg8bit/ and gtFine/.*CITYSCAPES_ROOT'),
        ('NuScenesDataset', r'nuscenes_infos_train\.pkl.*create_data\.py.*NUSCENES_ROOT'),
        ('ADE20KDataset', r'set data_root of train_dataloader\.dataset'),
    ],
)
def test_each_data_set_gets_a_hint_of_its_own(kind, hint):
    dataset = dict(type=kind, data_root='nowhere')
    (problem,) = check_data(config(dataset), ('train',))
    assert re.search(hint, problem)


def test_a_data_set_that_is_not_there_is_one_problem():
    split = dict(type='CocoDataset', data_root='nowhere', data_prefix=dict(img='pictures'))
    cfg = Config(
        dict(
            train_dataloader=dict(dataset=dict(split, ann_file='train.json')),
            val_dataloader=dict(dataset=dict(split, ann_file='val.json')),
        )
    )
    (problem,) = check_data(cfg, ('train', 'val'))
    assert "CocoDataset (train and val) is missing or incomplete: there is no 'nowhere/" in problem
    for part in ('train.json', 'pictures', 'val.json', 'COCO_ROOT'):
        assert problem.count(f'nowhere/{part}') == (part != 'COCO_ROOT')
        assert part in problem


def test_each_file_that_cannot_be_used_is_a_problem(tmp_path):
    for name in ('a.json', 'b.json'):
        (tmp_path / name).write_text('{"images": [')
    (tmp_path / 'c.json').write_text(json.dumps(dict(images=[])))
    dataset = dict(
        type='ConcatDataset',
        datasets=[leaf(tmp_path, ann_file=f'{name}.json') for name in 'abcd'],
    )
    problems = check_data(config(dataset), ('train',))
    assert len(problems) == 3
    for name, problem in zip('abd', problems, strict=True):
        assert f'{name}.json' in problem


def test_types_may_be_classes():
    class CocoDataset:
        pass

    class MyScenes(CocoDataset):
        pass

    class ShapesDataset(CocoDataset):
        pass

    (problem,) = check_data(config(dict(type=MyScenes, ann_file='a.json')), ('train',))
    assert 'MyScenes (train)' in problem
    assert 'COCO_ROOT' in problem
    assert check_data(config(dict(type=ShapesDataset, ann_file='a.json')), ('train',)) == []


def test_files_in_other_stores_are_left_to_the_host(tmp_path):
    far = dict(backend='far')
    remote = leaf('', ann_file='far/a.json', backend_args=far)
    assert check_data(config(remote), ('train',)) == []
    assert check_data(config(leaf('s3://bucket', ann_file='a.json')), ('train',)) == []
    assert check_data(config(leaf('', ann_file='https://host/a.json')), ('train',)) == []
    assert len(check_data(config(leaf('', ann_file='a.json', backend_args=None)), ('train',))) == 1


def test_pictures_in_another_store_beside_local_annotations(tmp_path):
    (tmp_path / 'a.json').write_text('[]')
    pipeline = [dict(type='LoadImageFromFile', backend_args=dict(backend='far'))]
    dataset = leaf(tmp_path, ann_file='a.json', data_prefix=dict(img='far'), pipeline=pipeline)
    assert check_data(config(dataset), ('train',)) == []
    (problem,) = check_data(config(dict(dataset, ann_file='b.json')), ('train',))
    assert 'b.json' in problem
    assert '/far' not in problem


def test_what_fetches_itself_is_not_missing():
    dataset = dict(type='CIFAR10', data_root='nowhere')
    assert check_data(config(dataset), ('train',)) == []
    assert len(check_data(config(dict(dataset, download=False)), ('train',))) == 1


def test_an_evaluators_own_annotations_are_checked(tmp_path):
    (tmp_path / 'a.json').write_text('[]')
    evaluators = [dict(type='CocoMetric', ann_file='data/coco/val.json'), dict(type='DumpResults')]
    cfg = Config(
        dict(
            val_dataloader=dict(dataset=leaf(tmp_path, ann_file='a.json')),
            val_evaluator=evaluators,
        )
    )
    (problem,) = check_data(cfg, ('val',))
    assert re.search("CocoMetric .val_evaluator. reads 'data/coco/val.json', which is not", problem)
    cfg.val_evaluator[0].ann_file = str(tmp_path / 'a.json')
    assert check_data(cfg, ('val',)) == []
