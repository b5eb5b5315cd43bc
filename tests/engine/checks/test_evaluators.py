"""An evaluator that reads annotations by itself reads those of its data set."""

import json
import pickle

import pytest
from mmengine.config import Config

from sparse_mm.engine.checks import check_data


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
    assert f"such as 'b'; set {split}_evaluator.ann_file" in problem


def test_the_same_file_and_what_holds_it(tmp_path):
    write(tmp_path / 'mine.json', 'a.jpg', 'b.jpg')
    write(tmp_path / 'more.json', 'val/a.png', 'b.jpg', 'c.jpg')
    (tmp_path / 'link.json').symlink_to(tmp_path / 'mine.json')
    for name in ('mine.json', 'link.json', 'more.json'):
        evaluator = dict(type='CocoMetric', ann_file=str(tmp_path / name))
        assert problems(evaluator, 'mine.json', data_root=str(tmp_path)) == []
    # No file of COCO's form, and sets that are joined, are left to the host.
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
