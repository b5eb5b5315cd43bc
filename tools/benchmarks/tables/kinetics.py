"""SparseFormer's table on Kinetics-400."""

from collections.abc import Callable
from typing import Any

from tools.benchmarks.runs import Run
from tools.benchmarks.tables.rows import WITHOUT_MIXING, Row, Table, model

HALF = (224, 224)
LARGER = (256, 256)
WIDTHS = dict(tiny=512, small=640, base=768)


def _figures(top1: float, data: str, frames: str, gmacs: float, views: str, params: int) -> dict:
    return dict(top1=top1, pretrained=data, frames=frames, gmacs=gmacs, views=views, params=params)


def _video_sparse_former(arch: str) -> Callable[[], Run]:
    """The backbone with a linear head, on 32 frames."""
    head = dict(type='mmpretrain.LinearClsHead', num_classes=400, in_channels=WIDTHS[arch])
    return model(
        'mmpretrain.ImageClassifier',
        HALF,
        frames=32,
        backbone=dict(type='VideoSparseFormer', arch=arch),
        head=head,
    )


def _ours(name: str, arch: str, *figures: Any) -> Row:
    return Row(name, _video_sparse_former(arch), _figures(*figures), WITHOUT_MIXING)


KINETICS = Table(
    'Kinetics-400',
    'SparseFormer (Gao et al., ICLR 2024)',
    (
        Row(
            'NL I3D',
            model('NLI3D', LARGER, frames=128),
            _figures(77.3, 'ImageNet-1K', '128', 359, '10×3', 62),
            note='62 M parameters are those with ten non-local blocks, 359 G those with five, as '
            'built here.',
        ),
        Row(
            'SlowFast',
            model('SlowFast', LARGER, frames=32),
            _figures(77.9, '–', '8+32', 106, '10×3', 54),
        ),
        Row(
            'TimeSformer',
            model('TimeSformer', HALF, frames=8),
            _figures(75.8, 'ImageNet-1K', '8', 196, '1×3', 121),
        ),
        Row(
            'Video Swin-T',
            model('TorchvisionModel', HALF, frames=32, name='swin3d_t'),
            _figures(78.8, 'ImageNet-1K', '32', 88, '4×3', 28),
        ),
        Row(
            'ViViT-B FE',
            model('ViViT', HALF, frames=32),
            _figures(78.8, 'ImageNet-21K', '32', 284, '4×3', 115),
        ),
        Row(
            'MViT-B',
            model('TorchvisionModel', HALF, frames=16, name='mvit_v1_b'),
            _figures(78.4, '–', '16', 71, '5×1', 37),
        ),
        _ours('VideoSparseFormer-T', 'tiny', 77.9, 'ImageNet-1K', '32', 22, '4×3', 31),
        _ours('VideoSparseFormer-S', 'small', 79.1, 'ImageNet-1K', '32', 38, '4×3', 48),
        _ours('VideoSparseFormer-B', 'base', 79.8, 'ImageNet-21K', '32', 74, '4×3', 81),
    ),
    dict(
        pretrained='pre-trained on',
        frames='frames',
        top1='top-1',
        gmacs='GFLOPs of a view',
        views='views',
        params='parameters (M)',
    ),
    accuracy='top1',
    baseline='Video Swin-T',
    note='Counts and times are those of one view.',
)
