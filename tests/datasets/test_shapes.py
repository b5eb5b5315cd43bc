import json

import numpy as np
import pytest
from mmengine.registry import DATASETS
from pycocotools import mask as coco_mask

from sparse_mm.datasets.shape_scenes import CLASSES, draw_scene
from sparse_mm.datasets.shapes import write_shapes
from sparse_mm.errors import BadInputError


def test_scenes_follow_from_their_seed():
    image, instances = draw_scene((1, 0, 5), 128)
    again, instances_again = draw_scene((1, 0, 5), 128)
    other, _ = draw_scene((1, 0, 6), 128)
    assert np.array_equal(image, again)
    assert len(instances) == len(instances_again)
    assert not np.array_equal(image, other)


def test_scenes_are_mostly_empty_and_objects_do_not_share_pixels():
    covered, counts, labels = [], [], set()
    for number in range(30):
        image, instances = draw_scene((1, 0, number), 224)
        assert image.shape == (224, 224, 3)
        total = np.sum([instance.mask for instance in instances], axis=0)
        assert total.max() <= 1
        covered.append(total.mean())
        counts.append(len(instances))
        labels |= {instance.label for instance in instances}
    assert np.mean(covered) < 0.15
    assert min(counts) >= 1
    assert labels == set(range(len(CLASSES)))


def test_masks_are_exact():
    # Where an object is, the picture differs from the same scene's ground in colour.
    image, instances = draw_scene((1, 0, 1), 224)
    for instance in instances:
        inside = image[instance.mask].astype(float).mean(0)
        grown = np.pad(instance.mask, 6)
        ring = np.zeros_like(grown)
        for dy, dx in ((-6, 0), (6, 0), (0, -6), (0, 6)):
            ring |= np.roll(grown, (dy, dx), (0, 1))
        ring = ring[6:-6, 6:-6] & ~np.any([i.mask for i in instances], axis=0)
        outside = image[ring].astype(float).mean(0)
        assert np.abs(inside - outside).max() > 20


def dataset(root, **settings):
    return DATASETS.build(
        dict(
            type='ShapesDataset',
            **{'num_images': 3, 'size': 96, 'seed': 7, **settings},
            ann_file=f'{root}/annotations/train.json',
            data_prefix=dict(img=f'{root}/train'),
        )
    )


def test_drawn_on_first_use_then_kept(tmp_path, capfd):
    found = dataset(tmp_path)
    assert len(found) == 3
    assert found.metainfo['classes'] == CLASSES
    assert '3/3' in capfd.readouterr().err
    picture = tmp_path / 'train' / '000001.jpg'
    before = picture.stat().st_mtime_ns
    dataset(tmp_path)
    assert picture.stat().st_mtime_ns == before
    _, instances = draw_scene((1, 7, 1), 96)
    info = found.get_data_info(1)
    assert [i['bbox_label'] for i in info['instances']] == [i.label for i in instances]
    for given, instance in zip(info['instances'], instances, strict=True):
        assert np.array_equal(coco_mask.decode(given['mask']).astype(bool), instance.mask)


def test_unfinished_scenes_are_drawn_again(tmp_path):
    write_shapes(tmp_path / 'a.json', tmp_path / 'a', 2, 64, 0)
    whole = (tmp_path / 'a' / '000001.jpg').read_bytes()
    (tmp_path / 'a.json').unlink()  # as after a kill: annotations are written last
    (tmp_path / 'a' / '000001.jpg').write_bytes(whole[:100])
    write_shapes(tmp_path / 'a.json', tmp_path / 'a', 2, 64, 0)
    assert (tmp_path / 'a' / '000001.jpg').read_bytes() == whole
    assert [p.name for p in tmp_path.glob('a.json*')] == ['a.json']


def test_other_scenes_are_not_written_over(tmp_path):
    dataset(tmp_path)
    before = json.loads((tmp_path / 'annotations' / 'train.json').read_text())
    with pytest.raises(BadInputError, match=r'holds other scenes .* delete the file or set'):
        dataset(tmp_path, num_images=4)
    assert json.loads((tmp_path / 'annotations' / 'train.json').read_text()) == before


def test_pictures_show_one_shape_each_and_follow_from_the_seed():
    def build(seed):
        return DATASETS.build(
            dict(type='ShapePictures', num_images=24, size=64, seed=seed, pipeline=[])
        )

    dataset = build(0)
    first = dataset[0]
    assert first['img'].shape == (64, 64, 3)
    assert {dataset[i]['gt_label'] for i in range(24)} == set(range(len(CLASSES)))
    assert np.array_equal(first['img'], build(0)[0]['img'])
    assert not np.array_equal(first['img'], build(1)[0]['img'])


def quarter_turns(image, mask):
    """Where the bright half of a disk lies: 0 is right, 1 is down."""
    image = image.mean(axis=2)
    bright = mask & (image > image[mask].mean())
    (up, left), (y, x) = (np.argwhere(part).mean(axis=0) for part in (mask, bright))
    return round(np.arctan2(y - up, x - left) / (np.pi / 2)) % 4


def test_disks_point_where_their_class_says():
    settings = dict(type='PointingPictures', num_images=24, size=64, radii=(0.1, 0.3), pipeline=[])
    dataset = DATASETS.build(settings)
    assert dataset.metainfo['classes'] == ('right', 'down', 'left', 'up')
    assert {dataset[i]['gt_label'] for i in range(24)} == {0, 1, 2, 3}
    for i in range(24):
        assert quarter_turns(dataset[i]['img'], dataset[i]['mask']) == dataset[i]['gt_label']
    assert np.array_equal(dataset[3]['img'], DATASETS.build(settings)[3]['img'])
    with pytest.raises(BadInputError, match=r'radii must rise from 0\.062'):
        DATASETS.build(dict(settings, radii=(0.05, 0.3)))


def test_a_pair_of_disks_counts_as_same_or_opposite():
    settings = dict(type='PointingPairs', num_images=48, size=64, radii=(0.1, 0.25), pipeline=[])
    coarse, fine = DATASETS.build(settings), DATASETS.build(dict(settings, fine=True))
    assert coarse.metainfo['classes'] == ('same', 'opposite')
    names = fine.metainfo['classes']
    assert {fine[i]['gt_label'] for i in range(48)} == set(range(len(names))) == {0, 1, 2, 3}
    for i in range(48):
        image, mask = coarse[i]['img'], coarse[i]['mask']
        left, right = mask.copy(), mask.copy()
        left[:, 32:] = right[:, :32] = False
        left, right = quarter_turns(image, left), quarter_turns(image, right)
        assert coarse[i]['gt_label'] == int(left != right)
        ways = {0: 'right', 2: 'left'}
        assert names[fine[i]['gt_label']] == f'{ways[left]}, {ways[right]}'
        assert np.array_equal(image, fine[i]['img'])
    with pytest.raises(BadInputError, match=r'radii must rise from 0\.062.* to 0\.25'):
        DATASETS.build(dict(settings, radii=(0.1, 0.3)))
