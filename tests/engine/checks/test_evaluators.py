"""An evaluator that reads annotations by itself reads those of its data set."""

import json
import pickle

import pytest
from mmengine.config import Config

from sparse_mm.engine.checks import check_data, needs_cuda


def write(path, *names, first=1):
    images = [dict(id=i, file_name=name) for i, name in enumerate(names, first)]
    path.write_text(json.dumps(dict(images=images, annotations=[], categories=[])))


def problems(evaluator, ann_file, kind='CocoDataset', split='val', **dataset):
    return check_data(
        Config(
            {
                f'{split}_dataloader': dict(dataset=dict(type=kind, ann_file=ann_file, **dataset)),
                f'{split}_evaluator': evaluator,
            }
        ),
        (split,),
    )


@pytest.mark.parametrize('kind', ['CocoMetric', 'mmdet.CocoPanopticMetric', 'LVISMetric'])
@pytest.mark.parametrize('split', ['val', 'test'])
def test_cocos_annotations_beside_own_data(kind, split, tmp_path):
    write(tmp_path / 'mine.json', 'a.jpg', 'b.jpg')
    write(tmp_path / 'coco.json', 'a.jpg', '000000000285.jpg', 'c.jpg')
    evaluator = [dict(type='DumpResults'), dict(type=kind, ann_file=str(tmp_path / 'coco.json'))]
    (problem,) = problems(evaluator, str(tmp_path / 'mine.json'), split=split)
    assert f'({split}_evaluator) reads' in problem
    assert 'lacks 1 of the 2 images of the data set' in problem
    assert f"such as 'b'; set {split}_evaluator.1.ann_file" in problem


def test_the_same_file_and_what_holds_it(tmp_path):
    write(tmp_path / 'mine.json', 'a.jpg', 'b.jpg')
    write(tmp_path / 'more.json', 'val/a.png', 'b.jpg', 'c.jpg')
    (tmp_path / 'link.json').symlink_to(tmp_path / 'mine.json')
    for name in ('mine.json', 'link.json', 'more.json'):
        evaluator = dict(type='CocoMetric', ann_file=str(tmp_path / name))
        assert problems(evaluator, 'mine.json', data_root=str(tmp_path)) == []
    # Other files than COCO's, and joined sets, are left to the host.
    (tmp_path / 'other.json').write_text('[]')
    evaluator = dict(type='CocoMetric', ann_file=str(tmp_path / 'other.json'))
    assert problems(evaluator, 'mine.json', data_root=str(tmp_path)) == []


def test_info_files(tmp_path):
    for name in 'ab':
        infos = dict(metainfo={}, data_list=[name])
        (tmp_path / f'{name}.pkl').write_bytes(pickle.dumps(infos))
    (tmp_path / 'copy.pkl').write_bytes((tmp_path / 'a.pkl').read_bytes())
    for name, count in (('a', 0), ('copy', 0), ('b', 1)):
        evaluator = dict(type='MonoNuScenesMetric', ann_file=str(tmp_path / f'{name}.pkl'))
        found = problems(evaluator, str(tmp_path / 'a.pkl'), 'NuScenesDataset')
        assert len(found) == count
        assert all('differs from' in problem for problem in found)


def joined(tmp_path, *evaluated, prefixes=('a', 'b')):
    """The problems of two joined data sets, judged by metrics that read these files."""
    write(tmp_path / 'a.json', '1.jpg', '2.jpg')
    write(tmp_path / 'b.json', '3.jpg', '4.jpg', first=7)
    sets = [dict(type='CocoDataset', ann_file=str(tmp_path / f'{name}.json')) for name in 'ab']
    sets[1] = dict(type='RepeatDataset', times=2, dataset=sets[1])
    evaluator = dict(
        type='MultiDatasetsEvaluator',
        metrics=[dict(type='CocoMetric', ann_file=str(tmp_path / name)) for name in evaluated],
        dataset_prefixes=list(prefixes),
    )
    dataset = dict(type='ConcatDataset', datasets=sets)
    return check_data(
        Config(dict(val_dataloader=dict(dataset=dataset), val_evaluator=evaluator)), ('val',)
    )


def test_each_of_several_data_sets_is_judged_by_its_own_annotations(tmp_path):
    assert joined(tmp_path, 'a.json', 'b.json') == []
    swapped = joined(tmp_path, 'b.json', 'a.json')
    assert len(swapped) == 2
    for number, problem in enumerate(swapped):
        assert 'lacks 2 of the 2 images of the data set' in problem
        assert f'set val_evaluator.metrics.{number}.ann_file' in problem
    (problem,) = joined(tmp_path, 'a.json', 'nowhere.json')
    assert 'set val_evaluator.metrics.1.ann_file' in problem


@pytest.mark.parametrize(
    ('evaluated', 'prefixes', 'said'),
    [
        (['a.json'], ['a'], '1 metrics and 1 dataset_prefixes for 2 joined'),
        (['a.json', 'b.json'], ['a'], '2 metrics and 1 dataset_prefixes for 2 joined'),
    ],
)
def test_a_metric_for_each_of_several_data_sets(evaluated, prefixes, said, tmp_path):
    (problem,) = joined(tmp_path, *evaluated, prefixes=prefixes)
    assert said in problem


def test_a_metric_of_a_list_is_named_by_its_number(tmp_path):
    write(tmp_path / 'mine.json', 'a.jpg')
    evaluator = [dict(type='CocoMetric'), dict(type='CocoMetric', ann_file='nowhere.json')]
    (problem,) = problems(evaluator, str(tmp_path / 'mine.json'))
    assert 'set val_evaluator.1.ann_file' in problem


def test_only_the_hosts_metric_needs_cuda_to_join_boxes_in_cameras():
    loader = dict(dataset=dict(type='NuScenesDataset', box_type_3d='Camera'))
    cfg = Config(dict(test_dataloader=loader, test_evaluator=dict(type='NuScenesMetric')))
    assert needs_cuda(cfg, 'test')
    assert not needs_cuda(cfg, 'val')
    cfg.test_evaluator.type = 'MonoNuScenesMetric'
    assert not needs_cuda(cfg, 'test')
    lidar = dict(dataset=dict(type='NuScenesDataset', box_type_3d='LiDAR'))
    assert not needs_cuda(Config(dict(cfg, test_dataloader=lidar)), 'test')
