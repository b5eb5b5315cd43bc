"""What a run needs, checked before it starts: data, device, work directory, checkpoint.

Each check raises :class:`~sparse_mm.errors.BadInputError` with one sentence.
"""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmengine.model import is_model_wrapper
from torch import nn

from sparse_mm.checkpoints import first_few, mismatches, read_checkpoint, weights_of
from sparse_mm.engine.checks.annotation_files import (
    LABEL_MAP,
    check_label_maps,
    check_nuscenes_infos,
    create_infos,
)
from sparse_mm.errors import BadInputError

# What to say of a data set that is not there: its layout, and the setting that moves it.
DATASET_HINTS = {
    'CocoDataset': (
        'COCO is expected as annotations/instances_train2017.json, '
        'annotations/instances_val2017.json, train2017/ and val2017/ in one folder; name that '
        'folder with the environment variable COCO_ROOT or --cfg-options data_root=FOLDER. '
        'configs/sparsevit_maskrcnn_shapes.py needs no data set'
    ),
    'CityscapesDataset': (
        'Cityscapes is expected as leftImg8bit/ and gtFine/, each with train/ and val/, in one '
        'folder; name that folder with the environment variable CITYSCAPES_ROOT or --cfg-options '
        'data_root=FOLDER'
    ),
    'NuScenesDataset': (
        'nuScenes is expected as samples/, nuscenes_infos_train.pkl and nuscenes_infos_val.pkl '
        "(made by mmdet3d's tools/create_data.py) in one folder; name that folder with the "
        'environment variable NUSCENES_ROOT or --cfg-options data_root=FOLDER'
    ),
    'ImageNet': (
        'ImageNet is expected as train/ and val/ with a folder for each class, in one folder; name '
        'that folder with the environment variable IMAGENET_ROOT or --cfg-options data_root=FOLDER'
    ),
}


def leaf_datasets(dataset: ConfigDict) -> Iterator[ConfigDict]:
    """Yields the data sets inside wrappers that repeat, balance or join others."""
    inner = dataset.get('datasets') or ([dataset['dataset']] if 'dataset' in dataset else [])
    if not inner:
        yield dataset
    for item in inner:
        yield from leaf_datasets(item)


def check_data(cfg: Config, splits: tuple[str, ...]) -> None:
    """Checks that annotation files and image folders are there, in the form that the hosts read.

    Args:
        cfg: The run's config.
        splits: Of ``'train'``, ``'val'``, ``'test'``, those that the run will read.

    Raises:
        BadInputError: One is missing, truncated, not converted, or of an older format.
    """
    for split in splits:
        loader = cfg.get(f'{split}_dataloader')
        for dataset in leaf_datasets(loader['dataset']) if loader else ():
            if dataset['type'] not in ('ShapesDataset', 'DrivingDataset'):  # they draw their own
                _check_dataset(dataset, split)


def _check_dataset(dataset: ConfigDict, split: str) -> None:
    root = dataset.get('data_root') or ''
    kind = str(dataset['type']).split('.')[-1]
    needed = [dataset.get('ann_file') or '', *_prefixes(dataset.get('data_prefix'))]
    if kind == 'ImageNet' and not any(needed):
        needed = [dataset.get('split') or '']  # mmpretrain's folder of that name
    # Without any path of its own a data set reads its root.
    paths = [Path(root, path) for path in needed if path] or [Path(root)]
    for path in paths:
        if not path.exists():
            raise BadInputError(
                f'{kind} ({split}) is missing or incomplete: there is no {str(path)!r} (looked for '
                f'from {os.getcwd()!r}). {_hint(kind, split, path, root)}.'
            )
        if path.suffix == '.json' and not _ends_like_json(path):
            raise BadInputError(
                f'{kind} ({split}) is incomplete: the annotation file {str(path)!r} is truncated. '
                f'{_hint(kind, split, path, root)}.'
            )
        if path.suffix == '.pkl' and 'NuScenes' in kind:
            check_nuscenes_infos(path, Path(root))
        own_suffix = dataset.get('seg_map_suffix', LABEL_MAP) != LABEL_MAP
        if kind == 'CityscapesDataset' and not own_suffix:
            check_label_maps(path, Path(root))


def _hint(kind: str, split: str, path: Path, root: str) -> str:
    """What to say of a data set that lacks a path."""
    if 'NuScenes' in kind:  # data sets derived from it lie as it does
        kind = 'NuScenesDataset'
    hint = DATASET_HINTS.get(kind, f'set data_root of {split}_dataloader.dataset')
    if kind == 'NuScenesDataset' and path.suffix == '.pkl' and Path(root).is_dir():
        hint += f'. The info files are made by: {create_infos(Path(root))}'
    return hint


def _prefixes(data_prefix: dict | str | None) -> list[str]:
    if isinstance(data_prefix, dict):
        return [value for value in data_prefix.values() if isinstance(value, str)]
    return [data_prefix] if data_prefix else []


def _ends_like_json(path: Path) -> bool:
    with path.open('rb') as file:
        file.seek(max(0, path.stat().st_size - 64))
        return file.read().strip()[-1:] in (b'}', b']')


def check_device(cfg: Config) -> None:
    """Checks that a config that needs CUDA finds it.

    Raises:
        BadInputError: It does not.
    """
    if torch.cuda.is_available():
        return
    wrapper = cfg.get('optim_wrapper') or {}
    if wrapper.get('type') == 'AmpOptimWrapper':
        raise BadInputError(
            'This run uses mixed precision (AmpOptimWrapper), which needs a CUDA device, and '
            'torch sees none; leave out --amp and add --cfg-options '
            'optim_wrapper.type=OptimWrapper to train in fp32 on the CPU.'
        )
    backend = cfg.get('env_cfg', {}).get('dist_cfg', {}).get('backend')
    if cfg.get('launcher', 'none') != 'none' and backend == 'nccl':
        raise BadInputError(
            'The distributed backend is nccl, which needs CUDA devices, and torch sees none; add '
            '--cfg-options env_cfg.dist_cfg.backend=gloo to run on CPUs.'
        )
    if 'cuda' in str(cfg.get('device', '')):
        raise BadInputError(
            f'The config asks for the device {cfg.device!r}, and torch sees no CUDA device; leave '
            'out device.'
        )
    if "'SyncBN'" in str(cfg.get('model')):
        raise BadInputError(
            'The model uses SyncBN, which needs CUDA devices, and torch sees none; set its '
            'norm_cfg to BN.'
        )


def check_work_dir(work_dir: str) -> None:
    """Checks that the work directory can be made and written, and leaves nothing in it.

    Raises:
        BadInputError: It cannot.
    """
    try:
        os.makedirs(work_dir, exist_ok=True)
        with tempfile.TemporaryFile(dir=work_dir):
            pass
    except OSError as error:
        raise BadInputError(
            f'The work directory {work_dir!r} cannot be written ({error.strerror}); choose another '
            'with --work-dir.'
        ) from error


def check_no_earlier_run(work_dir: str) -> None:
    """Checks that a new training would not write over the checkpoints of an earlier one.

    Raises:
        BadInputError: It would.
    """
    earlier = sorted(Path(work_dir).glob('*.pth'))
    if earlier:
        raise BadInputError(
            f'The work directory {work_dir!r} holds an earlier run '
            f'({first_few([p.name for p in earlier])}); go on with it by --resume, or choose '
            'another with --work-dir.'
        )


def check_checkpoint(path: str, model: nn.Module, whole: bool) -> None:
    """Checks that a checkpoint belongs to a model, before anything is loaded.

    Args:
        path: The checkpoint.
        model: The model, built; for distributed training, in its wrapper.
        whole: Whether every weight must be there and fit, as for testing and resuming; otherwise
            (fine-tuning) only the backbone's must fit, since other heads are replaced.

    Raises:
        BadInputError: It cannot be read or belongs to another model.
    """
    weights = weights_of(read_checkpoint(path), path)
    bare: Any = model.module if is_model_wrapper(model) else model
    own = bare.state_dict()
    wrong = mismatches(weights, own)
    if not whole:
        wrong = [name for name in wrong if name.startswith('backbone.')]
    if wrong:
        raise BadInputError(
            f'The checkpoint {path!r} is of another model, its shapes differ: {first_few(wrong)}.'
        )
    needed = dict(bare.named_parameters())
    missing = [name for name in needed if name not in weights]
    if len(missing) == len(needed) or (whole and missing):
        raise BadInputError(
            f'The checkpoint {path!r} is of another model: it lacks {first_few(missing)} (and has '
            f'{first_few([name for name in weights if name not in own]) or "nothing else"}).'
        )
