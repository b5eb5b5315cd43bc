"""SparseFormer's tables on ImageNet: against others, larger, and piece by piece."""

from typing import Any

from tools.benchmarks.tables.rows import (
    OPERATIONS,
    PRODUCTS,
    WITHOUT_MIXING,
    Convention,
    Row,
    Table,
    classifier,
    model,
)

SPARSE_FORMER = 'SparseFormer (Gao et al., ICLR 2024)'
TINY = 'configs/sparseformer_tiny_imagenet.py'
SMALL = 'configs/sparseformer_small_imagenet.py'
BASE = 'configs/sparseformer_base_imagenet.py'
PERCEIVER = 'The paper counts two operations for each MAC here, and one everywhere else.'


def _row(
    name: str,
    make: Any,
    top1: float | None,
    gmacs: float,
    params: float | None = None,
    throughput: float | None = None,
    convention: Convention = PRODUCTS,
    note: str = '',
    **more: Any,
) -> Row:
    figures = dict(top1=top1, gmacs=gmacs, params=params, throughput=throughput, **more)
    known = {key: value for key, value in figures.items() if value is not None}
    return Row(name, make, known, convention, note)


def _sparse_former(name: str, config: str, *figures: float, **settings: Any) -> Row:
    return _row(name, classifier(config, **settings), *figures, convention=WITHOUT_MIXING)


SIDE = (224, 224)
IMAGENET = Table(
    'ImageNet-1K',
    SPARSE_FORMER,
    (
        _row(
            'ResNet-50',
            classifier('mmpretrain::resnet/resnet50_8xb256-rsb-a1-600e_in1k.py'),
            *(80.4, 4.1, 26, 1179),
        ),
        _row(
            'ResNet-101',
            classifier('mmpretrain::resnet/resnet101_8xb32_in1k.py'),
            *(81.5, 7.9, 45, 691),
        ),
        _row(
            'DeiT-S', classifier('mmpretrain::deit/deit-small_4xb256_in1k.py'), 79.8, 4.6, 22, 983
        ),
        _row(
            'DeiT-B', classifier('mmpretrain::deit/deit-base_16xb64_in1k.py'), 81.8, 17.5, 86, 306
        ),
        _row(
            'Swin-T',
            classifier('mmpretrain::swin_transformer/swin-tiny_16xb64_in1k.py'),
            *(81.3, 4.5, 29, 726),
        ),
        _row(
            'Swin-S',
            classifier('mmpretrain::swin_transformer/swin-small_16xb64_in1k.py'),
            *(83.0, 8.7, 50, 437),
        ),
        _row('Perceiver', model('Perceiver', SIDE), 78.0, 707, 45, 17, OPERATIONS, PERCEIVER),
        _row('Perceiver IO', model('PerceiverIO', SIDE), 82.1, 369, 49, 30, OPERATIONS, PERCEIVER),
        _sparse_former('SparseFormer-T', TINY, 81.0, 2.0, 32, 1270),
        _sparse_former('SparseFormer-S', SMALL, 82.0, 3.8, 48, 898),
        _sparse_former('SparseFormer-B', BASE, 82.6, 7.8, 81, 520),
    ),
    dict(top1='top-1', gmacs='GFLOPs', params='parameters (M)', throughput='images/s'),
    accuracy='top1',
    baseline='Swin-T',
    note='The images per second of the paper are those of one V100.',
)


def _scaled(name: str, data: str, side: int, top1: float, gmacs: float, speed: int, **more: Any):
    return _row(
        name,
        classifier(BASE, side, **more),
        *(top1, gmacs, None, speed),
        convention=WITHOUT_MIXING,
        pretrained=data,
    )


SCALING = Table(
    'SparseFormer-B with more data, pixels and tokens',
    SPARSE_FORMER,
    (
        _scaled('B, 224²', 'IN-1K', 224, 82.6, 7.8, 520),
        _scaled('B, 224², IN-21K', 'IN-21K', 224, 83.6, 7.8, 520),
        _scaled('B, 384², IN-21K', 'IN-21K', 384, 84.1, 8.2, 444),
        _scaled('B, 512², IN-21K', 'IN-21K', 512, 84.0, 8.6, 419),
        _scaled('B, N=144, 384², IN-21K', 'IN-21K', 384, 84.6, 14.2, 292, num_tokens=144),
        _scaled('B, N=196, 384², IN-21K', 'IN-21K', 384, 84.8, 19.4, 221, num_tokens=196),
    ),
    dict(pretrained='pre-trained on', top1='top-1', gmacs='GFLOPs', throughput='images/s'),
    accuracy='top1',
    baseline='B, 224²',
)


def _ablation(name: str, top1: float | None, gmacs: float, note: str = '', **settings: Any) -> Row:
    return _row(
        name,
        classifier(TINY, **settings),
        top1,
        gmacs,
        convention=WITHOUT_MIXING,
        note=note,
    )


def _few_tokens(name: str, top1: float, gmacs: float, tokenizer: str, note: str) -> Row:
    return _row(name, model('FewTokens', SIDE, tokenizer=tokenizer), top1, gmacs, note=note)


READ = 'The paper gives the name and the two figures only; read here as '
TOKENS = {9: (74.5, 0.5), 16: (77.4, 0.8), 25: (79.3, 1.1), 36: (80.1, 1.6), 64: (81.4, 2.7)}
ABLATIONS = Table(
    'SparseFormer-T, piece by piece',
    f'{SPARSE_FORMER}, its ablations',
    (
        _ablation('SparseFormer-T', 81.0, 2.0),
        *(
            _ablation(f'{n} tokens', *figures, num_tokens=n)
            for n, figures in {**TOKENS, 81: (81.9, 3.3)}.items()
        ),
        _ablation('no focusing', 77.8, 1.6, focusing_repeats=0),
        _ablation('focusing once', 79.7, 1.7, focusing_repeats=1),
        _ablation('focusing 8 times', 81.0, 2.5, focusing_repeats=8),
        _ablation('16 points', 80.3, 1.9, num_points=16),
        _ablation('64 points', 81.3, 2.3, num_points=64),
        _ablation(
            'features: RGB',
            None,
            1.5,
            'Training fails with these features, says the paper.',
            image_features='rgb',
        ),
        _ablation('features: ViT/8 embedding', 78.4, 1.9, image_features='vit_embed'),
        _ablation(
            'features: ResNet C1+C2',
            82.2,
            3.1,
            'The paper does not say how many channels are sampled; ours are 128.',
            image_features='resnet_c2',
        ),
        _ablation('decoding: linear', 78.5, 1.9, decoding='linear'),
        _ablation('decoding: static mixing', 80.1, 1.9, decoding='static'),
        _few_tokens(
            'ViT/32',
            *(72.8, 1.4, 'patches'),
            f'{READ}patches of 32 pixels before the units of SparseFormer-T, which do not sample.',
        ),
        _few_tokens(
            'ViT/32*',
            *(74.3, 1.7, 'early_patches'),
            f'{READ}the same with patches of the early convolution’s map.',
        ),
        _few_tokens(
            'conv×4',
            *(79.4, 2.2, 'convolutions'),
            f'{READ}four 3×3 convolutions of 96, 192, 384 and 256 channels behind the early '
            'convolution, the last three with stride 2.',
        ),
        _few_tokens(
            'swin',
            *(79.7, 2.0, 'swin'),
            f'{READ}three stages of Swin with 48 channels and two blocks each, then patches of 2×2 '
            'places.',
        ),
    ),
    dict(top1='top-1', gmacs='GFLOPs'),
    accuracy='top1',
    baseline='SparseFormer-T',
)
