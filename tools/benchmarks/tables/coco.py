"""SparseViT's table on COCO: Mask R-CNN."""

from tools.benchmarks.tables.rows import Row, Table, backbone

COLUMNS = dict(
    gmacs='GMACs',
    ms='ms',
    box='box AP',
    box50='AP50',
    box75='AP75',
    mask='mask AP',
    mask50='AP50',
    mask75='AP75',
)


def _row(name: str, config: str, *figures: float, note: str = '') -> Row:
    return Row(
        name,
        backbone(f'configs/sparsevit_maskrcnn_coco_{config}.py'),
        dict(zip(COLUMNS, figures, strict=True)),
        note=note,
    )


COCO = Table(
    'Instance segmentation on COCO: the backbone of Mask R-CNN',
    'SparseViT (Chen et al., CVPR 2023), table 2',
    (
        _row(
            'Swin-T',
            'dense',
            *(161.8, 46.6, 42.0, 63.3, 45.7, 38.3, 60.3, 40.9),
            note='The paper says 640×640, which has 158.8 GMACs; 161.8 are those of 672×672.',
        ),
        _row('Swin-T (R576)', 'r576', 149.5, 41.3, 41.0, 62.1, 44.9, 37.2, 59.0, 39.6),
        _row('Swin-T (W0.9×)', 'w09', 122.3, 41.8, 40.4, 61.9, 43.8, 37.1, 58.9, 39.8),
        _row('SparseViT, 41 ms', '41ms', 139.5, 41.3, 42.4, 63.3, 46.4, 38.5, 60.3, 41.3),
        _row('Swin-T (R544)', 'r544', 119.8, 34.8, 40.5, 61.2, 43.8, 36.8, 58.2, 39.1),
        _row('Swin-T (W0.8×)', 'w08', 90.5, 35.9, 39.4, 60.7, 42.8, 36.4, 57.9, 38.8),
        _row('SparseViT, 34 ms', '34ms', 116.5, 34.1, 41.6, 62.5, 45.5, 37.7, 59.4, 40.2),
        _row('Swin-T (R512)', 'r512', 117.5, 32.9, 39.6, 60.1, 43.4, 36.0, 57.0, 38.2),
        _row('Swin-T (W0.6×)', 'w06', 63.4, 31.7, 38.7, 60.2, 41.6, 35.7, 57.0, 38.0),
        _row(
            'SparseViT, 33 ms',
            '33ms',
            *(105.9, 32.9, 41.3, 62.2, 44.9, 37.4, 59.1, 39.7),
            note='The ratios that the authors released for 33 ms are not those that the paper’s '
            '105.9 GMACs were counted on.',
        ),
    ),
    COLUMNS,
    accuracy='box',
    baseline='Swin-T',
    batch=4,
    counted=4,
    note='Groups of three have about the same latency in the paper (RTX A6000, fp32, batch 4). '
    'Dense rows run on our code, too. Ratios are those that the authors released.',
)
