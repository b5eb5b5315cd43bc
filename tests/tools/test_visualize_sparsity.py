"""Pictures of how many layers computed each window, beside the predictions."""

import cv2
import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate

from sparse_mm.engine.command_line import read_config
from sparse_mm.engine.inspection import build_model
from sparse_mm.engine.pictures import through_test_pipeline
from sparse_mm.models import SparseViT
from tests.tools.sparse_models import CONFIGS, write_model
from tools.analysis_tools.half_size import KEPT_RATIO, at_half_size, gmacs

TOOL = 'analysis_tools/visualize_sparsity.py'


@pytest.fixture
def files(tmp_path):
    def write(scope):
        pytest.importorskip(scope, reason=f'needs {scope}')
        return write_model(tmp_path, scope)

    return write


@pytest.mark.parametrize('scope', CONFIGS)
def test_windows_are_coloured_beside_what_the_model_finds(files, call_tool, tmp_path, scope):
    inputs = files(scope)
    log = call_tool(TOOL, *inputs, '--ratios', '0', '--out', 'found/dense.png', '--score-thr', 0)
    assert 'written: found/dense.png (on average 100% of the 4 layers' in log
    log = call_tool(TOOL, *inputs, '--ratios', '[0.6, 0.5]', '--out', 'found/sparse.png')
    assert '100%' not in log
    dense, sparse = (cv2.imread(str(tmp_path / f'found/{n}.png')) for n in ('dense', 'sparse'))
    assert dense.shape[1] > 2 * dense.shape[0] / 1.2  # two panels beside each other
    left = slice(dense.shape[0] // 4, -dense.shape[0] // 4), slice(50, dense.shape[1] // 3)
    # Dense, all is mixed with viridis' yellow: little blue. Sparse, some is not.
    assert (dense[left][..., 0] > dense[left][..., 1]).mean() < 0.01
    assert (sparse[left][..., 0] > sparse[left][..., 1]).mean() > 0.05


@pytest.mark.parametrize('scope', CONFIGS)
def test_the_dense_model_at_half_size_is_drawn_beside_it(files, call_tool, tmp_path, scope):
    inputs = files(scope)
    call_tool(TOOL, *inputs, '--out', 'two.png', '--ratios', 0.75)
    call_tool(TOOL, *inputs, '--out', 'three.png', '--half-size')
    two, three = (cv2.imread(str(tmp_path / f'{name}.png')) for name in ('two', 'three'))
    assert three.shape[1] == pytest.approx(1.5 * two.shape[1], rel=0.01)


def test_half_of_the_size_costs_about_as_much_as_a_quarter_of_the_windows():
    backbone = SparseViT(embed_dims=32, num_heads=(1, 2, 4, 8), window_size=7).eval()
    full, half = torch.zeros(1, 3, 448, 448), torch.zeros(1, 3, 224, 224)
    dense_at_half = gmacs(backbone, half)
    backbone.set_pruning_ratios(KEPT_RATIO)
    assert 0.8 < gmacs(backbone, full) / dense_at_half < 1.25


def test_boxes_at_half_size_are_in_the_originals_pixels(files, tmp_path):
    image, config, _ = files('mmdet')
    cfg = read_config(str(tmp_path / config))
    model = build_model(cfg)
    shown = through_test_pipeline(str(tmp_path / image), cfg, model.data_preprocessor)
    small = at_half_size(shown, model.data_preprocessor)
    assert [2 * side for side in small.packed['inputs'].shape[1:]] == [66, 100]
    corners = np.array([[0.0, 0.0], [0.5, 0.5]])
    sides = [np.array(one.packed['inputs'].shape[:0:-1]) for one in (shown, small)]
    seen = [
        side / np.array(one.inputs.shape[:-3:-1])
        for side, one in zip(sides, (shown, small), strict=True)
    ]
    for corner in corners:
        places = [
            one.places(corner * share) for one, share in zip((shown, small), seen, strict=True)
        ]
        assert np.allclose(places[0], places[1], atol=0.5)
    found = model.test_step(pseudo_collate([small.packed]))[0]
    assert found.pred_instances.bboxes[:, 2].max() > 45 or not len(found.pred_instances)


def test_a_folder_gives_a_picture_for_each_and_names_what_is_none(
    files, call_tool, refusal, tmp_path
):
    image, config, weights = files('mmpretrain')
    folder = tmp_path / 'pictures'
    folder.mkdir()
    for name in ('a.png', 'a.jpg', 'b.png'):
        cv2.imwrite(str(folder / name), cv2.imread(str(tmp_path / image)))
    (folder / 'notes.txt').write_text('not a picture')
    log = call_tool(TOOL, 'pictures', config, weights, '--out', 'drawn')
    assert log.startswith('written: drawn, 3 images (on average ') and log.count('written') == 1
    names = sorted(path.name for path in (tmp_path / 'drawn').iterdir())
    assert names == ['a.jpg.png', 'a.png.png', 'b.png']
    (folder / 'c.png').write_text('not a picture')
    message = refusal(TOOL, 'pictures', config, weights, '--out', 'again', '--shape', 64, 96)
    assert '1 of 4 files are not images' in message and 'c.png' in message
    assert len(list((tmp_path / 'again').iterdir())) == 3


def test_refusals(files, refusal, tmp_path):
    image, config, weights = files('mmpretrain')
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'text.png').write_text('no picture')
    plain = tmp_path / 'plain.py'
    plain.write_text(
        "_base_ = './config.py'\nmodel = dict(head=dict(in_channels=512),\n"
        "    backbone=dict(_delete_=True, type='ResNet', depth=18))\n"
    )
    for arguments, said in (
        (('no.png', config, weights), "'no.png' does not exist or is not an image"),
        (('text.png', config, weights), 'is not an image'),
        (('empty', config, weights), "'empty' has no pictures"),
        ((image, 'no.py', weights), 'no.py'),
        ((image, config, 'no.pth'), 'no.pth'),
        ((image, 'plain.py', weights), 'no SparseViT backbones'),
        ((image, config, weights, '--out', 'x.txt'), '--out must name a picture'),
        ((image, config, weights, '--ratios', '[1.5]'), 'less than 1'),
        ((image, config, weights, '--shape', 0, 64), '--shape must be two numbers'),
        ((image, config, weights, '--score-thr', 2), '--score-thr must be between 0 and 1'),
    ):
        assert said in refusal(TOOL, *arguments), arguments
