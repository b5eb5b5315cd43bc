"""Reading one clip, or all views of a video, as a config's test does."""

import os

import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import DATASETS, init_default_scope
from torch import Tensor

from sparse_mm.engine.hosts import scope_of
from sparse_mm.engine.inspection import leaf_datasets
from sparse_mm.errors import BadInputError


def read_views(name: str, cfg: Config, shape: tuple[int, int] | None = None) -> Tensor:
    """Prepares a video as the config's test does, up to the data preprocessor.

    Args:
        name: A video file; or the number of a sample of the test set, from 0.
        cfg: The config.
        shape: Height and width to squeeze the frames to; by default the test pipeline's.

    Returns:
        All views, ``(V, 3, T, H, W)`` uint8, RGB.

    Raises:
        BadInputError: There is no such file or sample, or it is no video.
    """
    if not (cfg.get('test_dataloader') or {}).get('dataset'):
        raise BadInputError('The config has no test_dataloader, which says how clips are read.')
    init_default_scope(scope_of(cfg))
    dataset = next(leaf_datasets(cfg.test_dataloader.dataset))
    squeeze = [] if shape is None else [dict(type='ResizeClips', size=shape)]
    steps = [*dataset.pipeline[:-1], *squeeze, dataset.pipeline[-1]]
    if name.isdigit() and not os.path.exists(name):
        built = DATASETS.build({**dataset, 'pipeline': steps})
        if int(name) >= len(built):
            raise BadInputError(f'The test set has {len(built)} samples, and no number {name}.')
        data = built[int(name)]
    else:
        if not any(step.get('clip_len') for step in steps):  # of clips that are drawn
            size = dataset.get('size')
            steps = [
                dict(type='DecodeClips', clip_len=dataset.get('frames', 16), mode='uniform'),
                *([dict(type='ResizeClips', size=size)] if size and shape is None else []),
                *steps,
            ]
        data = Compose(steps)(dict(video_path=name))
    inputs: Tensor = data['inputs']
    return inputs if inputs.dim() == 5 else torch.stack([inputs])
