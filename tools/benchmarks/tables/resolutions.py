"""MACs at higher resolutions: dense units, latent tokens and windows."""

from typing import Any

from tools.benchmarks.runs import MIDDLE_T, SWIN_T
from tools.benchmarks.tables.rows import Row, Table, classifier, model

SIDES = 224, 384, 512, 1024
FORMERS = {
    'SparseFormer-B': ('configs/sparseformer_base_imagenet.py', lambda side: {}),
    'DeiT-B': (
        'mmpretrain::deit/deit-base_16xb64_in1k.py',
        lambda side: dict(img_size=side),
    ),
    'Swin-B': (
        'mmpretrain::swin_transformer/swin-base_16xb64_in1k.py',
        lambda side: dict(img_size=side, pad_small_map=True),
    ),
}
RESOLUTIONS = Table(
    'More pixels: latent tokens and dense units',
    'No table of a paper: the motivation of SparseFormer, measured',
    tuple(
        Row(f'{name}, {side}²', classifier(config, side, **settings(side)))
        for name, (config, settings) in FORMERS.items()
        for side in SIDES
    ),
    {},
    accuracy=None,
    baseline='DeiT-B, 224²',
    with_memory=True,
)

SQUARES = 448, 672, 896, 1344, 1792
SETTINGS: dict[str, Any] = {'dense': None, 'middle setting': MIDDLE_T, '60 %': 0.6}
SPARSE_RESOLUTIONS = Table(
    'More pixels: SparseViT-T dense, at the middle setting and at 60 % everywhere',
    'No table of a paper: the motivation of SparseViT, measured',
    tuple(
        Row(
            f'{name}, {side}²',
            model('SparseViT', (side, side), **SWIN_T, pruning_ratios=ratios),
        )
        for side in SQUARES
        for name, ratios in SETTINGS.items()
    ),
    {},
    accuracy=None,
    baseline='dense, 672²',
    with_memory=True,
    note='Where the share of the latency stays above the share of the MACs, the difference is what '
    'scoring, selecting and gathering windows costs, and what no window is left out of: patch '
    'embedding, merging, output norms.',
)
