"""What is known of the packages that models come from, and of MMEngine's own names.

The one place for such facts. A type in a config is a name (``'Resize'``), a name after its scope or
module (``'mmdet.Resize'``), or a class; what holds of a class holds of those derived from it.
"""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from mmengine.utils import get_installed_path


def names_of(kind: Any) -> tuple[str, ...]:
    """The names by which a type is known: its own, then those of the classes above it.

    Args:
        kind: A config's ``type``: a name, a dotted name, a class or a function.
    """
    if isinstance(kind, type):
        return tuple(parent.__name__ for parent in kind.__mro__[:-1])
    name = kind if isinstance(kind, str) else getattr(kind, '__name__', type(kind).__name__)
    return (name.rpartition('.')[2],)


def name_of(kind: Any) -> str:
    """A type's own name, without scope and module."""
    return names_of(kind)[0]


def is_kind(kind: Any, *names: str) -> bool:
    """Whether a type is one of those named, or a class derived from one."""
    return not set(names).isdisjoint(names_of(kind))


def types_in(node: Any) -> Iterator[Any]:
    """Yields every ``type`` in a config, at any depth."""
    if isinstance(node, Mapping):
        if 'type' in node:
            yield node['type']
        for value in node.values():
            yield from types_in(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            yield from types_in(value)


# ---- The packages


@dataclass(frozen=True)
class Host:
    """How a package's models are scored, drawn and tested.

    Attributes:
        metric: What a search maximises if nothing else is asked for.
        draw: Settings of the visualization hook that make it draw every tested image.
        pictures: The config's setting that names the folder for pictures.
        has_task: Whether the visualization hook must be told what to draw, as ``vis_task``.
        draws_augmented: Whether it can draw what test-time augmentation gives.
        tta_model: What joins the predictions for augmented images; None: no default.
        tta_keys: What its last transform must pack for that; None: no default pipeline.
        tta_joins_masks: Whether masks are joined, too, and not boxes alone.
        maps_folder: Whether the evaluator writes predictions, into a folder of maps.
        dump_metric: The metric that writes predictions into a pickle file.
        loader: Options that the package's own tools give every data loader.
        sample: The class of a data sample, which a whole model wants beside its images.
        images_key: Under which a model wants its images; None: it takes the tensor.
    """

    metric: str = ''
    draw: dict[str, Any] = field(default_factory=lambda: dict(draw=True))
    pictures: str = 'default_hooks.visualization.test_out_dir'
    has_task: bool = False
    draws_augmented: bool = True
    tta_model: dict[str, Any] | None = None
    tta_keys: tuple[str, ...] | None = None
    tta_joins_masks: bool = True
    maps_folder: bool = False
    dump_metric: str = 'mmengine.evaluator.DumpResults'
    loader: dict[str, Any] = field(default_factory=dict)
    sample: str | None = None
    images_key: str | None = None


DETECTION_KEYS = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')
HOSTS = {
    'mmdet': Host(
        metric='coco/bbox_mAP',
        tta_model=dict(
            type='DetTTAModel',
            tta_cfg=dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=100),
        ),
        tta_keys=(*DETECTION_KEYS, 'flip', 'flip_direction'),
        tta_joins_masks=False,
        dump_metric='mmdet.evaluation.DumpDetResults',
        sample='mmdet.structures.DetDataSample',
    ),
    'mmseg': Host(
        metric='mIoU',
        draw=dict(draw=True, interval=1),  # its own default draws every 50th image alone
        pictures='visualizer.save_dir',
        maps_folder=True,
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
    ),
}


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


def load(path: str) -> Any:
    """Imports what a dotted path names, and with it the package, which is slow."""
    module, _, name = path.rpartition('.')
    return getattr(import_module(module), name)


def host_tool(package: str, tool: str) -> str:
    """The command that runs a tool which a host package brings along when pip installs it.

    Args:
        package: ``'mmdet3d'``.
        tool: Path of the tool below the package's ``tools/``.
    """
    folder = Path(get_installed_path(package), '.mim')
    # Its tools import each other as tools.….
    return f'PYTHONPATH={folder} {sys.executable} {folder / "tools" / tool}'


# ---- Data sets


@dataclass(frozen=True)
class LabelMaps:
    """Pictures of labels that must be made from a data set's own annotations.

    Attributes:
        suffix: What their names end in.
        sources: What the annotations' names end in.
    """

    suffix: str
    sources: tuple[str, ...]


@dataclass(frozen=True)
class DatasetFacts:
    """What a data set needs to be read.

    Attributes:
        name: What people call it.
        layout: Where its files are expected.
        variable: The environment variable that names its folder, where a config's own is not there.
        instead: What to try without it.
        draws_itself: Whether it makes or fetches its files when they are not there.
        label_maps: What must have been made of its annotations.
        info_files: Whether its annotations are mmdet3d's info files.
        split_folder: Whether it reads the folder that is called as its ``split``, if no path is
            set.
    """

    name: str = ''
    layout: str = ''
    variable: str = ''
    instead: str = ''
    draws_itself: bool = False
    label_maps: LabelMaps | None = None
    info_files: bool = False
    split_folder: bool = False

    def hint(self, split: str) -> str:
        """What to do where files are missing, without a full stop."""
        if not self.layout:
            return f'set data_root of {split}_dataloader.dataset'
        hint = (
            f'{self.name} is expected as {self.layout}; name that folder with the environment '
            f'variable {self.variable} or --cfg-options data_root=FOLDER'
        )
        return f'{hint}. {self.instead}' if self.instead else hint


DATASETS = {
    'ShapesDataset': DatasetFacts(draws_itself=True),
    'DrivingDataset': DatasetFacts(draws_itself=True),
    # These download themselves.
    **{
        name: DatasetFacts(draws_itself=True)
        for name in ('CIFAR10', 'CIFAR100', 'MNIST', 'FashionMNIST')
    },
    'CocoDataset': DatasetFacts(
        'COCO',
        'annotations/instances_train2017.json, annotations/instances_val2017.json, train2017/ and '
        'val2017/ in one folder',
        'COCO_ROOT',
        instead='configs/sparsevit_maskrcnn_shapes.py needs no data set',
    ),
    'CityscapesDataset': DatasetFacts(
        'Cityscapes',
        'leftImg8bit/ and gtFine/, each with train/ and val/, in one folder',
        'CITYSCAPES_ROOT',
        label_maps=LabelMaps(
            '_gtFine_labelTrainIds.png', ('_gtFine_polygons.json', '_gtFine_labelIds.png')
        ),
    ),
    'NuScenesDataset': DatasetFacts(
        'nuScenes',
        'samples/, nuscenes_infos_train.pkl and nuscenes_infos_val.pkl (made by '
        "mmdet3d's tools/create_data.py) in one folder",
        'NUSCENES_ROOT',
        info_files=True,
    ),
    'ImageNet': DatasetFacts(
        'ImageNet',
        'train/ and val/ with a folder for each class, in one folder',
        'IMAGENET_ROOT',
        split_folder=True,
    ),
}


def dataset_facts(kind: Any) -> DatasetFacts:
    """What is known of a data set; of one that is not in the table, that it lies somewhere."""
    for name in names_of(kind):
        if name in DATASETS:
            return DATASETS[name]
    # Data sets that others derive from nuScenes' keep its name, and lie as it does.
    return DATASETS['NuScenesDataset'] if 'NuScenes' in name_of(kind) else DatasetFacts()


LOCAL_BACKENDS = 'local', 'disk', 'LocalBackend', 'HardDiskBackend'


def is_remote(settings: Any) -> bool:
    """Whether a data set, or a transform, reads its files in another way than from local disks.

    Args:
        settings: Its config, or the object built from it.
    """
    for name in 'backend_args', 'file_client_args':
        if isinstance(settings, Mapping):
            backend = settings.get(name)
        else:
            backend = getattr(settings, name, None)
        if isinstance(backend, Mapping) and backend.get('backend', 'local') not in LOCAL_BACKENDS:
            return True
    return False


def label_maps_command(root: Path) -> str:
    """The command that makes Cityscapes' label maps with the ids that models are trained with."""
    return f'pip install cityscapesscripts && CITYSCAPES_DATASET={root} csCreateTrainIdLabelImgs'


# The first key of mmdet3d's info files, since 1.0 and before.
INFO_KEYS = ('metainfo', 'data_list')
OLD_INFO_KEYS = ('infos', 'metadata', 'a list')


def create_infos_command(root: Path) -> str:
    """The command that makes nuScenes' info files from the devkit's tables in ``root``."""
    command = host_tool('mmdet3d', 'create_data.py')
    command = f'{command} nuscenes --root-path {root} --out-dir {root} --extra-tag nuscenes'
    mini = (root / 'v1.0-mini').is_dir() and not (root / 'v1.0-trainval').is_dir()
    return f'{command} --version v1.0-mini' if mini else command


def update_infos_command(path: Path) -> str:
    """The command that converts an info file of before mmdet3d 1.0."""
    command = host_tool('mmdet3d', 'dataset_converters/update_infos_to_v2.py')
    return f'{command} --dataset nuscenes --pkl-path {path} --out-dir FOLDER'


# ---- Pipelines


def size_after(transform: Mapping[str, Any]) -> tuple[int, int] | None:
    """The size (H, W) that a transform gives every image; None if it does not fix one."""
    kind = transform['type']
    if is_kind(kind, 'AugmentSurroundImages'):  # of projects/bevdet
        return _pair(transform['size'])
    if is_kind(kind, 'CenterCrop'):
        return _pair(transform['crop_size'])
    if is_kind(kind, 'FixShapeResize') and not transform.get('keep_ratio'):
        return int(transform['height']), int(transform['width'])
    if is_kind(kind, 'Resize') and not transform.get('keep_ratio') and transform.get('scale'):
        height, width = _pair(transform['scale'])[::-1]  # it is (W, H)
        return height, width
    return None


def size_of_4_to_3_after(transform: Mapping[str, Any]) -> tuple[int, int] | None:
    """The size (H, W) that a transform which keeps the shape gives an image of 4:3; else None."""
    if is_kind(transform['type'], 'Resize') and transform.get('scale'):
        scale = _pair(transform['scale'])
        factor = min(max(scale) / 4, min(scale) / 3)
        return round(3 * factor), round(4 * factor)
    return size_after(transform)


def _pair(size: Any) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))


def loads_annotations(kind: Any) -> bool:
    """Whether a transform reads annotations, which a picture alone has not."""
    return name_of(kind).startswith(('LoadAnnotations', 'LoadPanopticAnnotations'))


# ---- Metrics

# Whose host class rounds: candidates that differ would tie.
PRECISE_METRICS = {
    'CocoMetric': 'sparse_mm.evaluation.coco_metric.FullPrecisionCocoMetric',
    'IoUMetric': 'sparse_mm.evaluation.iou_metric.FullPrecisionIoUMetric',
}
# Which look up every sample of the set, predicted or not.
WHOLE_SET_METRICS = ('NuScenesMetric', 'KittiMetric', 'WaymoMetric', 'LyftMetric')


def precise_metric(metric: type) -> type | None:
    """Our metric in place of one that rounds; None for those that do not, or are not known."""
    path = PRECISE_METRICS.get(metric.__name__)
    return None if path is None else load(path)


def needs_whole_set(metric: type) -> bool:
    """Whether a metric cannot be computed on a part of the validation set."""
    return is_kind(metric, *WHOLE_SET_METRICS)


def needs_whole_set_by_name(kind: Any) -> bool:
    """As :func:`needs_whole_set`, of a metric's ``type`` in a config."""
    return is_kind(kind, *WHOLE_SET_METRICS)


def may_give(metric: Any, name: str, meta: Mapping[str, Any]) -> bool:
    """Whether a metric that needs the whole set can give a value of this name.

    Args:
        metric: The metric, built.
        name: ``'NuScenes metric/pred_instances_3d_NuScenes/mAP'``.
        meta: Of the data set, with its ``classes``.
    """
    prefix = f'{metric.prefix}/' if metric.prefix else ''
    if not name.startswith(prefix):
        return False
    item = name.rpartition('/')[2]
    means = 'NDS', 'mAP', 'mATE', 'mASE', 'mAOE', 'mAVE', 'mAAE'
    classes = tuple(f'{one}_' for one in meta.get('classes') or ())
    return not is_kind(type(metric), 'NuScenesMetric') or item in means or item.startswith(classes)


# What most people look at first, of each evaluator.
USUAL_METRICS = {
    'CocoPanopticMetric': 'coco_panoptic/PQ',
    'LVISMetric': 'lvis/bbox_AP',
    'VOCMetric': 'pascal_voc/mAP',
    'IoUMetric': 'mIoU',
    'Accuracy': 'accuracy/top1',
    'MultiLabelMetric': 'multi-label/f1-score',
}


def metric_of(cfg: Mapping[str, Any]) -> str:
    """The metric that a config is judged by: its best checkpoint's, or its task's usual one.

    Args:
        cfg: A config with a ``val_evaluator``.
    """
    save_best = ((cfg.get('default_hooks') or {}).get('checkpoint') or {}).get('save_best')
    if isinstance(save_best, str) and save_best != 'auto':
        return save_best
    for metric in _metrics(cfg.get('val_evaluator')):
        if name_of(metric['type']) == 'CocoMetric':
            named = metric.get('metric', 'bbox')
            named = [named] if isinstance(named, str) else list(named)
            return 'coco/bbox_mAP' if 'bbox' in named else f'coco/{named[0]}_mAP'
        if name_of(metric['type']) in USUAL_METRICS:
            return USUAL_METRICS[name_of(metric['type'])]
    return host_of(cfg).metric


def _metrics(evaluator: Any) -> list[Mapping[str, Any]]:
    if isinstance(evaluator, Mapping):
        evaluator = evaluator.get('metrics', [evaluator])
    return [metric for metric in evaluator or () if isinstance(metric, Mapping)]


# ---- Devices

AMP_OPTIM_WRAPPER = 'AmpOptimWrapper'  # of MMEngine; mixed precision, by an accelerator alone
AMP_SETTINGS = 'dtype', 'loss_scale', 'use_fp16'  # which only that one takes


def uses_amp(optim_wrapper: Any) -> bool:
    """Whether an optimizer wrapper, or one of several, computes in mixed precision."""
    return any(is_kind(kind, AMP_OPTIM_WRAPPER) for kind in types_in(optim_wrapper))


def uses_sync_bn(model: Any) -> bool:
    """Whether a model normalises over the batches of all devices, which needs CUDA."""
    return any(is_kind(kind, 'SyncBN', 'SyncBatchNorm') for kind in types_in(model))
