"""Pictures of sparsity in validation, through the runner's visualizer."""

import cv2
import numpy as np
import pytest
import torch

from sparse_mm.deploy import DeployedBackbone
from sparse_mm.engine.hooks import SparsityVisualizationHook
from sparse_mm.errors import BadInputError
from tests.engine.search.toy import toy_runner


def pictures(tmp_path, **options):
    runner = toy_runner(tmp_path)
    unwanted = 'SparsityAdaptationHook', 'SparsitySearchHook', 'CheckpointHook'
    runner._hooks = [hook for hook in runner.hooks if type(hook).__name__ not in unwanted]
    runner.model.inner['body'].set_pruning_ratios(0.5)
    runner.register_hook(SparsityVisualizationHook(**options))
    runner.val()
    found = sorted(tmp_path.glob('*/vis_data/vis_image/*.png'))
    assert not runner.model.inner['body']._forward_pre_hooks  # leaves no hook behind
    return found


def test_each_image_of_the_chosen_batches_is_drawn(tmp_path):
    found = pictures(tmp_path, interval=2)  # batches of 4, 4 and 2 images
    names = [f'sparsity_val_0_{i}_0.png' for i in range(4)]
    assert [path.name for path in found] == [
        *names,
        'sparsity_val_2_0_0.png',
        'sparsity_val_2_1_0.png',
    ]
    drawn = [cv2.imread(str(path)) for path in found]
    assert all(picture.shape == (48, 96, 3) for picture in drawn)
    left, right = drawn[0][:, :48].astype(int), drawn[0][:, 48:].astype(int)
    # The right half is the left one, mixed with few colours, one for each number of layers.
    colours = {tuple(pixel) for pixel in (2 * right - left).reshape(-1, 3) // 4}
    assert 2 <= len(colours) <= 4 * 7
    assert not np.array_equal(drawn[0], drawn[1])


@pytest.mark.parametrize('interval', [0, -1, 1.5, None])
def test_a_wrong_interval_is_refused(interval):
    with pytest.raises(BadInputError, match='at least 1, not'):
        SparsityVisualizationHook(interval)


def test_a_model_without_sparse_vit_is_refused_at_the_start(tmp_path):
    runner = toy_runner(tmp_path)
    runner.model.inner.pop('body')
    with pytest.raises(BadInputError, match='no SparseViT backbones'):
        SparsityVisualizationHook().before_run(runner)


def test_layers_that_cannot_be_watched_are_refused_at_the_start(tmp_path):
    runner = toy_runner(tmp_path)
    hook = SparsityVisualizationHook()
    hook.before_run(runner)
    runner.cfg.compile = True  # the training step alone
    hook.before_run(runner)
    body = runner.model.inner['body']
    runner.model.inner['body'] = torch.compile(body, backend='eager')
    with pytest.raises(BadInputError, match=r'in PyTorch, and it is compiled; leave one'):
        hook.before_run(runner)
    runner.model.inner['body'] = body
    runner.model.inner['body'] = DeployedBackbone(runner.model.inner['body'], 'torch', 'bfloat16')
    with pytest.raises(BadInputError, match=r'another engine or precision computes'):
        hook.before_run(runner)
