"""How much of the image is skipped, when padding is not counted."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmdet.registry import DATASETS

from sparse_mm.datasets.shapes import ShapesDataset
from tests.conftest import ROOT
from tools.analysis_tools.window_usage import UsageCounter, boxes_of, covered, token_shares

# 128 x 160 pixels are 32 x 40, 16 x 20, 8 x 10 and 4 x 5 tokens.
CONFIG = """
_base_ = {base!r}
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(160, 128), keep_ratio=False),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape',
                                          'scale_factor'))]
test_dataloader = dict(dataset=dict(num_images=2, pipeline=test_pipeline,
    ann_file='scenes/test.json', data_prefix=dict(img='scenes/test')))
"""
PADDING = [1 - 32 * 40 / (35 * 42), 1 - 16 * 20 / (21 * 21), 1 - 8 * 10 / 14**2, 1 - 4 * 5 / 7**2]


@pytest.fixture
def config(tmp_path):
    path = tmp_path / 'config.py'
    path.write_text(CONFIG.format(base=str(ROOT / 'configs/sparsevit_maskrcnn_shapes_dense.py')))
    return path


def usage(call_tool, config, *options):
    out = call_tool('analysis_tools/window_usage.py', config, '--json', '--images', 2, *options)
    return json.loads(out.strip().splitlines()[-1])


def test_dense_skips_nothing_but_reaches_over_padding(call_tool, config):
    rows = usage(call_tool, config)
    assert [row['padding'] for row in rows] == pytest.approx(PADDING)
    assert all(row['windows_skipped'] == row['image_skipped'] == 0 for row in rows)


def test_padding_is_not_sold_as_sparsity(call_tool, config):
    rows = usage(call_tool, config, '--ratios', '[0.5, 0.5, 0.5, 0.0]')
    # 30, 9, 4 and 1 windows, of which 15, 4, 2 and 1 are kept.
    assert [row['windows_skipped'] for row in rows] == pytest.approx([0.5, 5 / 9, 0.5, 0])
    # Padded windows rank low, so less of the image is skipped than of the windows.
    for row in rows[1:3]:
        assert 0 < row['image_skipped'] < row['windows_skipped']
    text = call_tool(
        *('analysis_tools/window_usage.py', config, '--images', 1, '--ratios', '[0.5, 0, 0, 0]')
    )
    assert '| 1 | 12.9% | 50.0% |' in text


def test_a_model_that_reads_texts_is_not_built_whole(call_tool, config, tmp_path):
    path = tmp_path / 'texts.py'
    path.write_text(
        "_base_ = './config.py'\n"
        "model = dict(type='GLIP', language_model=dict(type='BertModel', name='nowhere'))\n"
    )
    rows = usage(call_tool, path, '--ratios', '[0.5, 0.5, 0.5, 0.0]')
    assert [row['windows_skipped'] for row in rows] == pytest.approx([0.5, 5 / 9, 0.5, 0])


@DATASETS.register_module()
class WholeImageObjects(ShapesDataset):
    """Every object is as large as its image."""

    def get_data_info(self, index):
        info = super().get_data_info(index)
        whole = [0, 0, info['width'], info['height']]
        return {**info, 'instances': [dict(one, bbox=whole) for one in info['instances']]}


def test_objects_are_counted(call_tool, config):
    rows = usage(call_tool, config)
    assert all(row['objects_skipped'] == 0 for row in rows)
    ratios = '--ratios', '[0.5, 0.5, 0.5, 0.0]'
    small = usage(call_tool, config, *ratios)
    assert any(row['objects_skipped'] != pytest.approx(row['image_skipped']) for row in small)
    # Objects as large as the image lose what it loses.
    large = '--cfg-options', 'test_dataloader.dataset.type=WholeImageObjects'
    for row in usage(call_tool, config, *ratios, *large):
        assert row['objects_skipped'] == pytest.approx(row['image_skipped'])
    assert 'objects' in call_tool('analysis_tools/window_usage.py', config, '--images', 1)


def test_a_token_is_as_much_of_an_object_as_its_pixels():
    inside = covered(np.array([[2.0, 0.0, 8.0, 4.0], [-3.0, 6.0, 4.0, 99.0]]), 7, 10)
    shares = token_shares(inside, (2, 3), (4, 4))  # 8 x 12 pixels, of which 7 x 10 are there
    assert shares.tolist() == [[0.5, 1, 0], [0.25, 0, 0]]
    # What does not fill a token at the edge belongs to none.
    assert token_shares(inside, (1, 2), (4, 4)).tolist() == [[0.5, 1]]


PLAIN = dict(ori_shape=(128, 160), img_shape=(128, 160))


def found(instance=None, **meta):
    """What boxes an image of 128 x 160 pixels has, which was 64 x 80."""
    resized = dict(ori_shape=(64, 80), img_shape=(128, 160), scale_factor=(2.0, 2.0))
    sample = dict(
        inputs=torch.zeros(3, 128, 160),
        data_samples=SimpleNamespace(metainfo={**resized, **meta}),
    )
    instances = [dict(bbox=[1, 2, 3, 4]) if instance is None else instance]
    dataset = SimpleNamespace(get_data_info=lambda index: {'instances': instances})
    return boxes_of(dataset, 0, sample)


def test_boxes_are_those_of_the_annotation_resized_as_the_image():
    assert found().tolist() == [[2, 4, 6, 8]]
    assert found(img_shape=(160, 160)).tolist() == [[2, 4, 6, 8]]  # padded at the bottom
    assert found(scale_factor=2.0).tolist() == [[2, 4, 6, 8]]
    unequal = dict(ori_shape=(128, 80), scale_factor=(2.0, 1.0))
    assert found(**unequal).tolist() == [[2, 2, 6, 4]]


@pytest.mark.parametrize(
    'change',
    [
        dict(flip=True),
        dict(img_shape=(100, 160)),  # cropped
        dict(pad_param=np.array([0.0, 0.0, 4.0, 4.0])),  # centred
        dict(instance=dict(bbox_3d=[0] * 7)),
        dict(instance=dict(bbox=[0] * 8)),  # rotated
        dict(instance=dict(bbox=[1, 2, 3, 4], ignore_flag=1)),
    ],
)
def test_boxes_that_are_elsewhere_are_not_counted(change):
    assert found(**change) is None


def test_samples_without_boxes_have_no_column():
    image = torch.zeros(3, 128, 160)
    assert boxes_of(None, 0, dict(inputs=image)) is None
    assert boxes_of(None, 0, dict(img=image)) is None
    assert boxes_of(None, 0, (image, 3)) is None
    assert boxes_of(None, 0, dict(inputs=dict(img=image[None]))) is None
    plain = dict(inputs=dict(img=image), data_samples=SimpleNamespace(metainfo=PLAIN))
    assert boxes_of([plain], 0, plain) is None
    counter = UsageCounter(1)
    counter.computed, counter.real, counter.window_area, counter.tokens = [1], [1], [2], [2]
    assert [sorted(row) for row in counter.rows()] == [
        ['image_skipped', 'padding', 'windows_skipped']
    ]
