"""Digests of everything that a score depends on, to decide if it can be reused.

A search continues only if every part is unchanged. Compared by content are weights, the validation
images that are scored, and the code of model, data and metrics. Paths are not part of it, so a run
can be moved.
"""

import hashlib
import os
import pickle
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from torch import Tensor, nn
from torch.utils.data import Dataset

from sparse_mm.engine.inspection import device_of
from sparse_mm.version import __version__

PACKAGES = (
    *('torch', 'torchvision', 'mmengine', 'mmcv', 'mmcv-lite', 'mmdet', 'mmsegmentation'),
    *('mmpretrain', 'mmdet3d', 'numpy', 'pycocotools', 'onedl-mmengine', 'onedl-mmcv'),
    *('onedl-mmdetection', 'onedl-mmsegmentation', 'onedl-mmpretrain'),
)
# Where files lie, and how many processes read them, changes no score.
PLACES = ('data_root', 'ann_file', 'data_prefix', 'init_cfg', 'pretrained', 'backend_args')
WORKERS = ('num_workers', 'persistent_workers', 'pin_memory', 'prefetch_factor', 'worker_init_fn')
# What a search itself sets, and the buffers in which a backbone keeps it.
RATIOS = ('ratio_fractions', 'saved_ratios')
CHUNK = 2**22  # bytes read at once


def identity_of(
    model: nn.Module, cfg: Config, dataset: Dataset, indices: Iterable[int], metrics: Iterable[Any]
) -> dict[str, Any]:
    """Describes what the scores of a model depend on, apart from the search's own settings.

    Args:
        model: As it will be scored.
        cfg: The run's config.
        dataset: The validation set.
        indices: Of the samples that are scored.
        metrics: The evaluator's metrics.

    Returns:
        Plain values for each part: ``weights``, ``data``, ``code``, …
    """
    loader = dict((cfg.get('val_dataloader') or {}).items())
    for name in WORKERS:
        loader.pop(name, None)
    parts = [*model.modules(), dataset, *_transforms(dataset), *metrics]
    return dict(
        weights=digest_of_weights(model),
        data=digest_of_data(dataset, indices),
        model=_digest(_without_places(cfg.get('model'))),
        pipeline=_digest(_without_places(loader)),
        evaluator=_digest(_without_places(cfg.get('val_evaluator'))),
        annotations=_digest(_files_in(cfg.get('val_evaluator'))),
        validation=_digest(cfg.get('val_cfg')),
        code=code_of(parts),
        device=describe_hardware(device_of(model)),
        versions=versions(),
    )


def differing(saved: Mapping[str, Any], own: Mapping[str, Any]) -> list[str]:
    """Names the parts that differ, with their values where those are short."""
    found = []
    for name in sorted({*saved, *own}):
        before, now = saved.get(name), own.get(name)
        if before == now:
            continue
        if isinstance(before, Mapping) and isinstance(now, Mapping):
            inner = differing(before, now)
            found += [f'{name}.{part}' for part in inner]
        elif len(f'{before}{now}') < 100 and not _is_digest(before) and not _is_digest(now):
            found.append(f'{name} ({before} then, {now} now)')
        else:
            found.append(name)
    return found


def digest_of_weights(model: nn.Module) -> str:
    """A digest of all weights and buffers but the ratios, which the search itself sets."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        if isinstance(value, Tensor) and not name.endswith(RATIOS):
            digest.update(f'{name} {value.dtype} {tuple(value.shape)}'.encode())
            # As bytes: numpy knows no bfloat16.
            flat = value.detach().cpu().contiguous().flatten()
            digest.update(flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b'')
    return digest.hexdigest()


def digest_of_data(dataset: Any, indices: Iterable[int]) -> str:
    """A digest of samples: their annotations, and every byte of the files that they name."""
    digest = hashlib.sha256()
    _feed(digest, getattr(dataset, 'metainfo', None))
    for index in sorted(set(indices)):
        if hasattr(dataset, 'get_data_info'):
            sample = dataset.get_data_info(index)
        else:
            sample = dataset[index]
        _feed(digest, sample)
    return digest.hexdigest()


def describe_hardware(device: torch.device) -> dict[str, Any]:
    """What of a device can change the last bits of a score."""
    if device.type != 'cuda':
        return dict(name='CPU')
    return dict(
        name=torch.cuda.get_device_name(device),
        tf32=torch.backends.cuda.matmul.allow_tf32,
        cudnn_tf32=torch.backends.cudnn.allow_tf32,
    )


def versions() -> dict[str, str]:
    """Versions of the packages that scores and latencies depend on."""
    found = dict(sparse_mm=__version__)
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def code_of(parts: Iterable[Any]) -> dict[str, str]:
    """Digests of the source files of objects' classes, by module."""
    modules = {cls.__module__ for cls in {c for part in parts for c in type(part).__mro__}}
    found = {}
    for name in sorted(modules):
        path = getattr(sys.modules.get(name), '__file__', None)
        if path and path.endswith('.py') and os.path.isfile(path) and not _is_versioned(name):
            found[name] = _file_digest(path)[:16]
    # Executors compute passes too, and no class of the model names their modules.
    package = Path(__file__).resolve().parents[2]
    own = hashlib.sha256()
    for path in sorted([*package.glob('models/**/*.py'), *package.glob('c*/**/*.py')]):
        own.update(f'{path.relative_to(package)} {_file_digest(str(path))}'.encode())
    found['sparse_mm'] = own.hexdigest()[:16]
    return found


def _is_versioned(module: str) -> bool:
    """Whether a package's version says all of a module's code; our own may be a checkout."""
    package = module.split('.')[0]
    return package in ('torch', 'torchvision', 'mmengine', 'mmcv', 'mmdet', 'mmseg', 'mmdet3d') or (
        package in ('mmpretrain', 'builtins', 'abc', 'typing', 'collections', 'numpy')
    )


def _transforms(dataset: Any) -> list[Any]:
    while hasattr(dataset, 'dataset') and not hasattr(dataset, 'pipeline'):
        dataset = dataset.dataset
    pipeline = getattr(dataset, 'pipeline', None)
    return list(getattr(pipeline, 'transforms', None) or ())


def _without_places(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _without_places(v) for k, v in value.items() if k not in PLACES}
    if isinstance(value, (list, tuple)):
        return [_without_places(item) for item in value]
    return value


def _files_in(evaluator: Any, root: str = '') -> list[str]:
    """The files that metrics read for themselves: annotations."""
    if isinstance(evaluator, Mapping):
        root = evaluator.get('data_root') or root
        return [path for value in evaluator.values() for path in _files_in(value, root)]
    if isinstance(evaluator, (list, tuple)):
        return [path for value in evaluator for path in _files_in(value, root)]
    if not isinstance(evaluator, str):
        return []
    candidates = (evaluator, os.path.join(root, evaluator))
    return [path for path in candidates if _is_file(path)][:1]


def _digest(value: Any) -> str:
    digest = hashlib.sha256()
    _feed(digest, value)
    return digest.hexdigest()


def _is_digest(value: Any) -> bool:
    return (
        isinstance(value, str) and len(value) in (16, 64) and set(value) <= set('0123456789abcdef')
    )


def _is_file(text: str) -> bool:
    return len(text) < 4096 and '\0' not in text and os.path.isfile(text)


def _file_digest(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while piece := file.read(CHUNK):
            digest.update(piece)
    return digest.hexdigest()


class _ByContent(pickle.Pickler):
    """Writes tensors by their content: torch's own way writes where they lie in memory, too."""

    def reducer_override(self, value: Any) -> Any:
        """The content of a value: for a tensor its type, shape and bytes."""
        if not isinstance(value, Tensor):
            return NotImplemented
        array = value.detach().cpu().contiguous().flatten()
        content = array.view(torch.uint8).numpy().tobytes() if array.numel() else b''
        return tuple, ((str(value.dtype), tuple(value.shape), content),)


def _pickled(value: Any) -> bytes:
    file = BytesIO()
    _ByContent(file, protocol=4).dump(value)
    return file.getvalue()


def _feed(digest: Any, value: Any) -> None:
    """Adds a value to a digest, with its type and size, so that no two values look alike."""
    if isinstance(value, Mapping):
        digest.update(f'mapping {len(value)}'.encode())
        for key in sorted(value, key=str):
            digest.update(f'key {key}'.encode())
            _feed(digest, value[key])
    elif isinstance(value, (list, tuple)):
        digest.update(f'list {len(value)}'.encode())
        for item in value:
            _feed(digest, item)
    elif isinstance(value, (set, frozenset)):
        _feed(digest, sorted(map(str, value)))
    elif isinstance(value, str):
        content = _file_digest(value) if _is_file(value) else value
        digest.update(f'text {len(content)} {content}'.encode('utf-8', 'surrogateescape'))
    elif isinstance(value, (bytes, bytearray)):
        digest.update(f'bytes {len(value)}'.encode() + value)
    elif isinstance(value, Tensor):
        array = value.detach().cpu().contiguous()
        digest.update(f'tensor {array.dtype} {tuple(array.shape)}'.encode())
        if array.numel():
            digest.update(array.flatten().view(torch.uint8).numpy())
    elif isinstance(value, np.ndarray) and not value.dtype.hasobject:
        digest.update(f'array {value.dtype} {value.shape}'.encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    elif isinstance(value, (int, float, complex, np.generic)) or value is None:
        digest.update(f'value {type(value).__name__} {value!r}'.encode())
    elif isinstance(value, type) or callable(value):
        digest.update(f'name {value.__module__}.{getattr(value, "__qualname__", "")}'.encode())
    else:  # boxes and masks of the host packages
        digest.update(f'object {type(value).__name__}'.encode())
        try:
            digest.update(_pickled(value))
        except Exception:  # what cannot be pickled says its class alone
            digest.update(b'unknown')
