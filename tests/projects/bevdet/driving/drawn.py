"""What the tests of the drawn driving data set share."""

import pickle

import pytest
from mmengine.registry import DATASETS

pytest.importorskip('mmdet3d', reason='needs mmdet3d')


SETTINGS = dict(num_train_scenes=1, num_val_scenes=6, frames=3, image_size=(160, 90), seed=3)
TINY = dict(num_train_scenes=1, num_val_scenes=1, frames=2, image_size=(64, 36), seed=0)


def dataset(root, split, **options):
    return DATASETS.build(
        dict(
            type='DrivingDataset',
            data_root=str(root),
            ann_file=f'nuscenes_infos_{split}.pkl',
            **{**SETTINGS, **options},
        )
    )


def infos(root, split):
    return pickle.loads((root / f'nuscenes_infos_{split}.pkl').read_bytes())['data_list']


def files(root):
    return {p.relative_to(root): p.read_bytes() for p in root.rglob('*') if p.is_file()}
