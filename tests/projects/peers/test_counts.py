"""The peers' parameters and MACs at full size, compared with their papers' figures."""

import pytest
from mmengine.registry import MODELS

import projects.peers  # noqa: F401, registers them
from tools.benchmarks.counting import count


@pytest.mark.parametrize(
    ('settings', 'shape', 'gmacs', 'millions'),
    [
        (dict(type='Perceiver'), (224, 224), 353.14, 44.91),
        (dict(type='PerceiverIO'), (224, 224), 184.68, 48.65),
        (dict(type='NLI3D'), (128, 256, 256), 359.10, 54.39),
        (dict(type='SlowFast'), (32, 256, 256), 106.51, 53.77),
        (dict(type='TimeSformer'), (8, 224, 224), 195.83, 121.57),
        (dict(type='ViViT'), (32, 224, 224), 283.34, 115.06),
        (dict(type='TorchvisionModel', name='swin3d_t'), (32, 224, 224), 87.76, 28.16),
        (dict(type='TorchvisionModel', name='mvit_v1_b'), (16, 224, 224), 70.60, 36.61),
    ],
    ids=str,
)
def test_counts(settings, shape, gmacs, millions):
    found = count(MODELS.build(settings), (1, 3, *shape))
    assert found.macs / 1e9 == pytest.approx(gmacs, abs=0.005)
    assert found.params / 1e6 == pytest.approx(millions, abs=0.005)
    assert found.mixing_macs == 0


@pytest.mark.parametrize(
    ('settings', 'frames', 'gmacs', 'millions'),
    [
        (dict(type='NLI3D', depth=50), 128, 282, 35.3),
        (dict(type='SlowFast', depth=50, fusion_frames=7), 32, 65.7, 34.6),
    ],
    ids=str,
)
def test_smaller_ones_against_their_own_papers(settings, frames, gmacs, millions):
    found = count(MODELS.build(settings), (1, 3, frames, 256, 256))
    assert found.macs / 1e9 == pytest.approx(gmacs, rel=0.002)
    assert found.params / 1e6 == pytest.approx(millions, rel=0.005)


@pytest.mark.parametrize(
    ('tokenizer', 'gmacs', 'paper'),
    [
        ('patches', 1.46, 1.4),
        ('early_patches', 1.67, 1.7),
        ('convolutions', 2.16, 2.2),
        ('swin', 2.04, 2.0),
    ],
)
def test_other_ways_to_few_tokens(tokenizer, gmacs, paper):
    found = count(MODELS.build(dict(type='FewTokens', tokenizer=tokenizer)), (1, 3, 224, 224))
    assert found.macs / 1e9 == pytest.approx(gmacs, abs=0.006)
    assert abs(found.macs / 1e9 - paper) < 0.07
