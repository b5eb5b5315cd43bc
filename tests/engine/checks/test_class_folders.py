"""Class folders: one for each class, and the same ones in each split."""

import re

import pytest
from mmengine.config import Config

from sparse_mm.engine.checks import check_data


@pytest.fixture
def folders(tmp_path):
    def make(split, *names):
        for name in names:
            (tmp_path / split / name).mkdir(parents=True)
            (tmp_path / split / name / 'a.jpg').touch()
        return tmp_path

    return make


def problems(root, kind='ImageNet', splits=('train', 'val'), head=None, **settings):
    cfg = Config(
        {
            f'{split}_dataloader': dict(
                dataset=dict(
                    type=kind, data_root=str(root), data_prefix=split, **settings.get(split, {})
                )
            )
            for split in splits
        }
    )
    if head is not None:
        cfg.model = dict(head=dict(num_classes=head))
    return check_data(cfg, splits)


def named(*names):
    return dict(metainfo=dict(classes=names))


def test_pictures_that_lie_flat(folders, tmp_path):
    folders('train', 'a', 'b')
    (tmp_path / 'val').mkdir()
    (tmp_path / 'val' / 'ILSVRC2012_val_00000001.JPEG').touch()
    (problem,) = problems(tmp_path, splits=('val',))
    assert re.search(r"val set has no folder for each class in '.*/val': move each", problem)
    # Forms that the host reads are accepted: labels from a file, or no labels.
    assert problems(tmp_path, splits=('val',), val=dict(with_label=False)) == []
    (tmp_path / 'val.txt').touch()
    assert problems(tmp_path, splits=('val',), val=dict(ann_file='val.txt')) == []


def test_imagenets_own_list_of_labels(tmp_path):
    (tmp_path / 'val').mkdir()
    dataset = dict(type='mmpretrain.ImageNet', data_root=str(tmp_path), split='val')
    cfg = Config(dict(val_dataloader=dict(dataset=dataset)))
    assert len(check_data(cfg, ('val',))) == 1
    (tmp_path / 'meta').mkdir()
    (tmp_path / 'meta' / 'val.txt').touch()
    assert check_data(cfg, ('val',)) == []


def test_a_subset_of_the_classes(folders):
    root = folders('train', 'a', 'b')
    (problem,) = problems(root, splits=('train',))
    assert 'has 2 class folders' in problem
    assert 'names 1000 classes' in problem
    assert 'metainfo=dict(classes=[…]) of train_dataloader.dataset' in problem
    assert problems(root, splits=('train',), train=named('a', 'b')) == []
    (root / 'names.txt').write_text('a\nb\nc\n')
    (problem,) = problems(root, splits=('train',), train=dict(classes=str(root / 'names.txt')))
    assert 'names 3 classes' in problem


def test_splits_with_different_folders(folders):
    folders('train', 'a', 'b', 'c')
    root = folders('val', 'a', 'c')
    (problem,) = problems(root, 'CustomDataset')
    assert 'different class folders (b), and would number' in problem
    folders('val', 'b')
    assert problems(root, 'CustomDataset') == []


def test_a_head_with_too_few_classes(folders):
    root = folders('train', 'a', 'b', 'c')
    (problem,) = problems(root, 'CustomDataset', ('train',), head=2)
    assert 'has 3 classes, and the head of the model 2; set num_classes' in problem
    assert problems(root, 'CustomDataset', ('train',), head=5) == []
