"""How much of the image is skipped, when padding is not counted."""

import json

import pytest

from tests.conftest import ROOT

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
