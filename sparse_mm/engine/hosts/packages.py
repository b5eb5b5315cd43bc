"""How each host package's models are scored, drawn and tested, and where its tools are."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmengine.utils import get_installed_path


@dataclass(frozen=True)
class Host:
    """How a package's models are scored, drawn and tested.

    Attributes:
        metric: The default metric of a search.
        draw: Settings of the visualization hook that make it draw every tested image.
        pictures: The config's setting that names the folder for pictures.
        has_task: Whether the visualization hook must be told what to draw, as ``vis_task``.
        draws_loaded_truth: Whether it draws annotations, too, as a test pipeline leaves them, on
            images as they are loaded.
        draws_augmented: Whether it can draw what test-time augmentation gives.
        tta_model: What joins the predictions for augmented images; None: no default.
        tta_keys: What its last transform must pack for that; None: no default pipeline.
        tta_joins_masks: Whether masks are joined, too, and not boxes alone.
        maps_folder: Whether the evaluator writes predictions, into a folder of maps.
        dump_metric: The metric that writes predictions into a pickle file.
        loader: Options that the package's own tools give every data loader.
        sample: The class of a data sample, which a whole model wants beside its images.
        visualizer: The class that draws predictions on a picture; None: they need more than one.
        images_key: Under which a model wants its images; None: it takes the tensor.
    """

    metric: str = ''
    draw: dict[str, Any] = field(default_factory=lambda: dict(draw=True))
    pictures: str = 'default_hooks.visualization.test_out_dir'
    has_task: bool = False
    draws_loaded_truth: bool = False
    draws_augmented: bool = True
    tta_model: dict[str, Any] | None = None
    tta_keys: tuple[str, ...] | None = None
    tta_joins_masks: bool = True
    maps_folder: bool = False
    dump_metric: str = 'mmengine.evaluator.DumpResults'
    loader: dict[str, Any] = field(default_factory=dict)
    sample: str | None = None
    visualizer: str | None = None
    images_key: str | None = None


DETECTION_KEYS = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')
HOSTS = {
    'mmdet': Host(
        metric='coco/bbox_mAP',
        draws_loaded_truth=True,
        tta_model=dict(
            type='DetTTAModel',
            tta_cfg=dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=100),
        ),
        tta_keys=(*DETECTION_KEYS, 'flip', 'flip_direction'),
        tta_joins_masks=False,
        dump_metric='mmdet.evaluation.DumpDetResults',
        sample='mmdet.structures.DetDataSample',
        visualizer='mmdet.visualization.DetLocalVisualizer',
    ),
    'mmseg': Host(
        metric='mIoU',
        draws_loaded_truth=True,
        draw=dict(draw=True, interval=1),  # its own default draws every 50th image alone
        pictures='visualizer.save_dir',
        maps_folder=True,
        visualizer='mmseg.visualization.SegLocalVisualizer',
    ),
    'mmdet3d': Host(
        metric='NuScenes metric/pred_instances_3d_NuScenes/mAP',
        has_task=True,
        sample='mmdet3d.structures.Det3DDataSample',
        images_key='imgs',
    ),
    'mmpretrain': Host(
        metric='accuracy/top1',
        draw=dict(enable=True),
        pictures='default_hooks.visualization.out_dir',
        draws_augmented=False,
        tta_model=dict(type='AverageClsScoreTTA'),
        tta_keys=(),
        loader=dict(pin_memory=True, collate_fn=dict(type='default_collate')),
        visualizer='mmpretrain.visualization.UniversalVisualizer',
    ),
}


# What models that read texts, too, call the part for them.
TEXT_PARTS = 'language_model', 'text_encoder', 'text_backbone', 'tokenizer'


def scope_of(cfg: Mapping[str, Any]) -> str:
    """The package that a config is for: its default scope, or where its model's class lies."""
    if cfg.get('default_scope'):
        return str(cfg['default_scope'])
    kind = (cfg.get('model') or {}).get('type', '')
    module = kind.__module__ if isinstance(kind, type) else str(kind)
    return module.partition('.')[0] if '.' in module else 'mmengine'


def host_of(cfg: Mapping[str, Any]) -> Host:
    """What is known of a config's package; of one that is not in the table, what is usual."""
    return HOSTS.get(scope_of(cfg), Host())


def host_tool(package: str, tool: str) -> str:
    """The command that runs a tool which a host package brings along when pip installs it.

    Args:
        package: ``'mmdet3d'``.
        tool: Path of the tool below the package's ``tools/``.
    """
    folder = Path(get_installed_path(package), '.mim')
    # Its tools import each other as tools.….
    return f'PYTHONPATH={folder} {sys.executable} {folder / "tools" / tool}'
