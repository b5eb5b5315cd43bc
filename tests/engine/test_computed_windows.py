"""Which windows the layers computed, compared with the tokens that really changed."""

import numpy as np
import pytest
import torch

from sparse_mm.engine.computed_windows import (
    BackbonePass,
    WindowRecorder,
    join_crops,
    paint_layers,
)
from sparse_mm.errors import BadInputError
from sparse_mm.models import SparseViT, SparseViTV2

RATIOS = [[0.7, 0.7], [0.5, 0.5, 0.7, 0.7]]


def small(kind=SparseViT, **more):
    if kind is SparseViTV2:
        arch = dict(embed_dims=8, depths=[2, 4], num_heads=[1, 2], extra_norm_every_n_blocks=6)
        sizes = dict(window_size=[4, 4], img_size=64, out_indices=(1,))
        return kind(arch=arch, **sizes, pruning_ratios=RATIOS).eval()
    return kind(
        embed_dims=8, depths=(2, 4), num_heads=(1, 2), strides=(4, 2), window_size=4,
        out_indices=(1,), pruning_ratios=RATIOS, **more
    ).eval()  # fmt: skip


def changed_counts(backbone, images):
    """How many blocks changed the token of each pixel, found without the recorder."""
    batch, _, height, width = images.shape
    counts = np.zeros((batch, height, width), int)
    size, handles = [(0, 0)], []

    def note(module, args):
        size[0] = args[1]

    def compare(stride):
        def hook(module, args, out):
            rows, columns = size[0]
            changed = (out != args[0]).any(1)[: batch * rows * columns]
            changed = changed.view(batch, rows, columns).numpy()
            for y in range(height):
                for x in range(width):
                    counts[:, y, x] += changed[:, y // stride, x // stride]

        return hook

    for stage, stride in zip(backbone.stages, (4, 8), strict=True):
        handles.append(stage.register_forward_pre_hook(note))
        handles += [block.register_forward_hook(compare(stride)) for block in stage.blocks]
    backbone(images)
    for handle in handles:
        handle.remove()
    return counts


@pytest.mark.parametrize('kind', [SparseViT, SparseViTV2])
@pytest.mark.parametrize('size', [(64, 64), (50, 70)])  # the second pads patches, windows, merging
@torch.no_grad()
def test_counts_are_those_of_the_layers_that_changed_a_pixel(kind, size):
    backbone = small(kind)
    for parameter in backbone.parameters():
        parameter.add_(torch.randn_like(parameter) / 10)
    images = torch.randn(3, 3, *size)
    images[0, :, :20, :20] *= 9  # each image has its important windows elsewhere
    images[1, :, 24:48, 40:60] *= 9
    expected = changed_counts(backbone, images)
    recorder = WindowRecorder(backbone)
    backbone(images)
    recorder.remove()
    backbone(images)  # no longer recorded
    (one,) = recorder.passes
    assert recorder.layers == len(one.blocks) == 6
    found = one.layer_counts()
    np.testing.assert_array_equal(found, expected)
    assert found.min() < found.max()
    different = {one.tobytes() for one in found}
    assert len(different) > 1  # each image has windows of its own


def test_crops_of_a_sliding_test_are_put_where_they_were():
    backbone, window, stride = small(), (32, 32), (24, 20)
    images = torch.randn(2, 3, 40, 50)
    recorder = WindowRecorder(backbone)
    with torch.no_grad():
        for top in (0, 8):
            for left in (0, 18):
                backbone(images[:, :, top : top + 32, left : left + 32])
    recorder.remove()
    counts = join_crops(recorder.passes, (40, 50), window, stride)
    first, last = (recorder.passes[i].layer_counts() for i in (0, -1))
    np.testing.assert_array_equal(counts[:, :8, :18], first[:, :8, :18])
    np.testing.assert_array_equal(counts[:, 32:, 32:], last[:, 24:, 14:])
    assert (counts[:, :32, :32] >= first).all()
    with pytest.raises(BadInputError, match=r'4 images .* not 1'):
        join_crops(recorder.passes, (40, 50))


def test_a_picture_smaller_than_the_sliding_window_is_one_crop():
    one = BackbonePass(torch.zeros(1, 3, 20, 30))
    assert join_crops([one], (20, 30), (32, 32), (24, 24)).shape == (1, 20, 30)


def test_colours_tell_few_layers_from_many_and_what_is_not_seen():
    image = np.full((1, 3, 3), 100, np.uint8)
    none, every, unseen = paint_layers(image, np.array([[0, 12, -1]]), 12)[0].astype(int)
    assert every[0] > none[0] and every[1] > none[1] + 50  # yellow, violet
    assert unseen.tolist() == [25, 25, 25]


def test_a_model_without_sparse_vit_is_refused():
    with pytest.raises(BadInputError, match='no SparseViT backbones'):
        WindowRecorder(torch.nn.Linear(2, 2))
