"""Scenes that need resolution."""

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS, init_default_scope

from sparse_mm.datasets.small_object_scenes import draw_small_objects
from sparse_mm.errors import BadInputError
from tests.conftest import ROOT

SCENES = [draw_small_objects((1, 0, number), 896) for number in range(4)]


def test_few_small_objects_apart_from_each_other_on_most_windows_nothing():
    again, _ = draw_small_objects((1, 0, 0), 896)
    assert np.array_equal(SCENES[0][0], again)
    assert not np.array_equal(SCENES[0][0], SCENES[1][0])
    for image, instances in SCENES:
        assert image.shape == (896, 896, 3)
        assert 3 <= len(instances) <= 8
        total = np.sum([instance.mask for instance in instances], axis=0)
        assert total.max() == 1
        windows = total.reshape(32, 28, 32, 28).any((1, 3))  # of 7 tokens at stride 4
        assert windows.mean() < 0.05
        for instance in instances:
            rows, columns = np.nonzero(instance.mask)
            sides = np.ptp(rows) + 1, np.ptp(columns) + 1
            assert 5 <= min(sides) <= max(sides) <= 49
            assert instance.mask.sum() > 20


def test_the_ground_is_as_busy_as_the_objects():
    for image, instances in SCENES:
        objects = np.any([instance.mask for instance in instances], axis=0)
        assert image[~objects].std() > 0.5 * image[objects].std()


def test_at_half_the_resolution_the_patterns_are_gone():
    # Only the contrast of their fine stripes distinguishes triangles from stones.
    def contrast(factor):
        found = []
        for image, instances in SCENES:
            small = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
            for instance in instances:
                if instance.label == 2:
                    mask = cv2.erode(instance.mask.astype(np.uint8), np.ones((5, 5)))
                    mask = cv2.resize(mask, small.shape[1::-1], interpolation=cv2.INTER_NEAREST)
                    found.append(small[mask.astype(bool)].std(0).mean())
        return np.mean(found)

    assert contrast(0.5) < 0.6 * contrast(1)


def build(root, **settings):
    return DATASETS.build(
        dict(
            type='ShapesDataset',
            num_images=2,
            size=96,
            ann_file=f'{root}/a.json',
            data_prefix=dict(img=f'{root}/a'),
            **settings,
        )
    )


def test_the_data_set_draws_them_and_takes_no_others_for_them(tmp_path):
    found = build(tmp_path, small_objects=(2, 3))
    _, instances = draw_small_objects((1, 0, 1), 96, (2, 3))
    assert [i['bbox_label'] for i in found.get_data_info(1)['instances']] == [
        instance.label for instance in instances
    ]
    build(tmp_path, small_objects=[2, 3])
    for other in (None, (1, 3)):
        with pytest.raises(BadInputError, match='holds other scenes'):
            build(tmp_path, small_objects=other)


@pytest.mark.parametrize('kind', ['dense', 'half', 'narrow', 'adapt', 'finetune', ''])
def test_configs(kind):
    name = f'sparsevit_maskrcnn_small_shapes{"_" if kind else ""}{kind}.py'
    cfg = Config.fromfile(ROOT / 'configs' / name)
    factor = 2 if kind == 'half' else 1
    for split, size in (('train', 448), ('val', 896), ('test', 896)):
        dataset = cfg[f'{split}_dataloader'].dataset
        assert dataset.size == size
        (resize,) = [t for t in dataset.pipeline if t.type == 'Resize']
        assert resize.scale == (size // factor, size // factor)
    seeds = [cfg[f'{split}_dataloader'].dataset.seed for split in ('train', 'val', 'test')]
    assert seeds == ([0, 2, 2] if kind == 'finetune' else [0, 1, 2])
    assert cfg.val_evaluator.ann_file == cfg.val_dataloader.dataset.ann_file
    assert cfg.test_evaluator.ann_file == cfg.test_dataloader.dataset.ann_file
    assert cfg.param_scheduler[1].end == cfg.train_cfg.max_epochs
    init_default_scope('mmdet')
    assert MODELS.build(cfg.model)
