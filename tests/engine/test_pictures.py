"""The part of an image that a test pipeline shows, and the mapping back to the image."""

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from sparse_mm.engine.pictures import (
    panel_size,
    read_picture,
    shown_picture,
    squeezed,
    through_test_pipeline,
)
from sparse_mm.errors import BadInputError

pytest.importorskip('mmpretrain')
pytest.importorskip('mmdet')
HEIGHT, WIDTH = 60, 300
CORNERS = np.array([[0.0, 0.0], [1.0, 1.0]])
LOAD = dict(type='LoadImageFromFile')
PILLOW = dict(type='ResizeEdge', scale=30, edge='short', backend='pillow', interpolation='bicubic')
CROP = [PILLOW, dict(type='CenterCrop', crop_size=30), dict(type='PackInputs')]
PAD = [
    dict(type='Resize', scale=(150, 100), keep_ratio=True),
    dict(type='Pad', size=(160, 50), pad_val=dict(img=(114, 114, 114))),
    dict(type='PackDetInputs', meta_keys=('img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]
FLIP = [dict(type='RandomFlip', prob=1.0, direction='horizontal'), dict(type='PackInputs')]
MAPPED = {  # corners of the model's input in the picture, (x, y)
    'mmpretrain, the middle': (CROP, (30, 30), [[120, 0], [180, 60]]),
    'mmdet, padded': (PAD, (50, 160), [[0, 0], [320, 100]]),
    'mmpretrain, mirrored': (FLIP, (60, 300), [[300, 0], [0, 60]]),
}


@pytest.fixture
def path(tmp_path):
    rng = np.random.default_rng(0)
    picture = cv2.resize(rng.integers(0, 255, (6, 30, 3), np.uint8), (WIDTH, HEIGHT))
    cv2.imwrite(str(tmp_path / 'a.png'), picture)
    return str(tmp_path / 'a.png')


def config(*pipeline, **settings):
    return Config(
        dict(test_dataloader=dict(dataset=dict(type='X', pipeline=list(pipeline))), **settings)
    )


def preprocessor(data, training):
    return dict(inputs=torch.stack([image.float() for image in data['inputs']]))


@pytest.mark.parametrize('name', MAPPED)
def test_the_way_back(name, path):
    steps, shape, expected = MAPPED[name]
    init_default_scope(name.partition(',')[0])
    seen = through_test_pipeline(path, config(LOAD, *steps), preprocessor)
    assert seen.original.shape == (HEIGHT, WIDTH, 3)
    assert seen.inputs.shape == (1, 3, *shape)
    assert seen.places(CORNERS) == pytest.approx(np.array(expected), abs=1.5)
    # The colour at a place is that of the original there.
    for point in np.random.default_rng(0).uniform(0.2, 0.4, (20, 2)):
        x, y = seen.places(point)
        column, row = (point * shape[::-1]).astype(int)
        if 2 < x < WIDTH - 2 and 2 < y < HEIGHT - 2:
            found = seen.inputs[0, :, row, column].flip(0).numpy()
            assert found == pytest.approx(seen.original[int(y), int(x)].astype(float), abs=30)


def test_pipelines_of_data_sets_that_hold_their_pictures_in_memory(path):
    init_default_scope('mmpretrain')
    seen = through_test_pipeline(path, config(*CROP[1:]), preprocessor)
    assert seen.inputs[0].permute(1, 2, 0).numpy() == pytest.approx(
        seen.original[15:45, 135:165].astype(float)  # RGB, as these data sets have it
    )
    assert seen.places(CORNERS) == pytest.approx(np.array([[135, 15], [165, 45]]), abs=1)


def test_squeezed(path):
    seen = squeezed(path, config(data_preprocessor=dict(mean=[1.0] * 3)), (30, 30))
    assert seen.inputs.shape == (1, 3, 30, 30)
    assert seen.places(CORNERS).tolist() == [[0, 0], [WIDTH, HEIGHT]]


def test_refusals(path, tmp_path):
    init_default_scope('mmpretrain')
    with pytest.raises(BadInputError, match=r"no\.png' does not exist or is not an image"):
        read_picture(str(tmp_path / 'no.png'))
    (tmp_path / 'text.png').write_text('text')
    with pytest.raises(BadInputError, match='is not an image'):
        read_picture(str(tmp_path / 'text.png'))
    with pytest.raises(BadInputError, match=r'cannot be run on a picture alone.*--shape H W'):
        other = dict(type='PackInputs', input_key='other')
        through_test_pipeline(path, config(LOAD, other), preprocessor)
    turned = config(LOAD, dict(type='Normalize', mean=[0.0] * 3, std=[1e3] * 3), *FLIP)
    with pytest.raises(BadInputError, match='in ways that cannot be drawn'):
        through_test_pipeline(path, turned, preprocessor)


def test_values_of_the_inputs_are_brought_to_the_picture(path):
    """Mirrored and halved: each value is drawn where its pixels come from, and nowhere else."""
    flip = [dict(type='RandomFlip', prob=1.0, direction='horizontal'), CROP[-1]]
    half = dict(type='Resize', scale=(WIDTH // 2, HEIGHT // 2), keep_ratio=False)
    shown = through_test_pipeline(path, config(LOAD, half, *flip), preprocessor)
    values = np.zeros(shown.inputs.shape[-2:], np.int32)
    values[:10, 100:] = 3  # upper right of what the model sees
    found = shown.on_original(values)
    assert found.shape == (HEIGHT, WIDTH)
    assert (found[:18, :98] == 3).all()
    assert (found[22:] == 0).all() and (found[:, 102:] == 0).all()


def test_pixels_outside_the_inputs_are_marked(path):
    shown = through_test_pipeline(path, config(LOAD, *CROP), preprocessor)
    found = shown.on_original(np.full((30, 30), 5))
    assert (found[1:-1, 122:178] == 5).all()
    assert (found[:, :118] == -1).all() and (found[:, 182:] == -1).all()


@pytest.mark.parametrize('to_rgb', [True, False])
def test_normalisation_is_undone(path, to_rgb):
    cfg = config(data_preprocessor=dict(mean=[100, 110, 120], std=[50, 60, 70], to_rgb=to_rgb))
    shown = squeezed(path, cfg, (HEIGHT, WIDTH))
    np.testing.assert_array_equal(shown_picture(shown.inputs[0], cfg), shown.original)


STRETCH = [dict(type='Resize', scale=(32, 24), keep_ratio=False), dict(type='PackInputs')]


@pytest.mark.parametrize('shape', [(3, 3), (1, 1), (2, 40), (90, 1), (5, 7)])
@pytest.mark.parametrize('steps', [CROP, STRETCH], ids=['crop', 'stretch'])
def test_pictures_of_a_few_pixels(tmp_path, shape, steps):
    init_default_scope('mmpretrain')
    picture = np.random.default_rng(0).integers(0, 255, (*shape, 3), np.uint8)
    cv2.imwrite(str(tmp_path / 'a.png'), picture)
    seen = through_test_pipeline(str(tmp_path / 'a.png'), config(LOAD, *steps), preprocessor)
    found = seen.on_original(np.full(seen.inputs.shape[-2:], 5))
    middle = found[shape[0] // 2, shape[1] // 2]
    assert middle == 5
    if steps is STRETCH:
        assert (found == 5).all()
        assert seen.places(CORNERS) == pytest.approx(np.array([[0, 0], shape[::-1]]), abs=0.3)


def test_a_picture_that_is_a_line_is_drawn_in_a_panel_of_some_width():
    assert panel_size((60, 90), 6) == (6, 4)
    assert panel_size((3000, 1), 6) == (6, 24)
    assert panel_size((1, 3000), 6) == (6, 1.5)


def write_all_kinds(folder):
    """The same picture in kinds of files that are not 8 bits of three colours."""
    pillow = pytest.importorskip('PIL.Image')
    rng = np.random.default_rng(0)
    colours = cv2.resize(rng.integers(0, 255, (4, 6, 3), np.uint8), (60, 40))
    cv2.imwrite(str(folder / 'deep.png'), colours.astype(np.uint16) * 257)
    cv2.imwrite(str(folder / 'grey.png'), colours[..., 0])
    picture = pillow.fromarray(colours[..., ::-1])
    picture.convert('RGBA').save(folder / 'rgba.png')
    picture.convert('P').save(folder / 'palette.png')
    picture.convert('CMYK').save(folder / 'cmyk.jpg')
    return colours[..., ::-1]


@pytest.mark.parametrize('name', ['deep.png', 'grey.png', 'rgba.png', 'palette.png', 'cmyk.jpg'])
def test_files_of_other_kinds(tmp_path, name):
    init_default_scope('mmpretrain')
    colours = write_all_kinds(tmp_path)
    seen = through_test_pipeline(str(tmp_path / name), config(LOAD, *STRETCH), preprocessor)
    assert seen.original.shape == (40, 60, 3)
    assert seen.inputs.shape == (1, 3, 24, 32)
    if name != 'grey.png':
        assert np.abs(seen.original.astype(int) - colours).mean() < 20
