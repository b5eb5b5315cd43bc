"""Finds the backbone to prune in a model, and the image size that it will work at."""

from typing import Any

import torch
from mmengine.config import Config
from mmengine.model import is_model_wrapper
from torch import nn

from sparse_mm.errors import BadInputError
from sparse_mm.models import SparseViT
from sparse_mm.search.cost import BackboneShape, StageShape


def find_backbone(model: nn.Module) -> SparseViT:
    """Finds the one SparseViT in a model, wherever it sits.

    Args:
        model: Any model, in its wrapper or without.

    Raises:
        BadInputError: There is none, or more than one.
    """
    bare: Any = model.module if is_model_wrapper(model) else model
    found = [module for module in bare.modules() if isinstance(module, SparseViT)]
    if len(found) != 1:
        raise BadInputError(
            f'The model ({type(bare).__name__}) has {len(found) or "no"} SparseViT backbones; the '
            "search needs exactly one: set model.backbone.type='SparseViT'."
        )
    return found[0]


def fixed_image_size(cfg: Config, split: str) -> tuple[int, int]:
    """Finds the size (H, W) to which a pipeline brings every image.

    Args:
        cfg: The run's config.
        split: ``'val'`` or ``'test'``.

    Raises:
        BadInputError: The pipeline has no such size.
    """
    dataset = (cfg.get(f'{split}_dataloader') or {}).get('dataset', {})
    while 'dataset' in dataset:
        dataset = dataset['dataset']
    size: Any = None
    for transform in dataset.get('pipeline', []):
        kind = str(transform['type']).split('.')[-1]
        if kind.endswith('Resize') and not transform.get('keep_ratio'):
            scale = transform.get('scale')
            if isinstance(scale, int):
                size = scale, scale
            elif scale is not None:
                size = scale[1], scale[0]
        elif kind == 'AugmentSurroundImages':  # of projects/bevdet
            size = tuple(transform['size'])
        elif kind == 'CenterCrop':
            crop = transform['crop_size']
            size = (crop, crop) if isinstance(crop, int) else tuple(crop)
    if size is None:
        raise BadInputError(
            f'The {split} pipeline has no fixed image size; give one (tools: --shape H W, '
            'SparsitySearchHook: image_size=(H, W)).'
        )
    return int(size[0]), int(size[1])


def val_images_have_size(cfg: Config, size: tuple[int, int]) -> bool:
    """Whether the backbone sees every validation image in this size (H, W), without padding."""
    preprocessor = (cfg.get('model') or {}).get('data_preprocessor') or {}
    divisor = preprocessor.get('pad_size_divisor', 1)
    try:
        return fixed_image_size(cfg, 'val') == tuple(size) and not any(n % divisor for n in size)
    except BadInputError:
        return False


def backbone_shape(backbone: SparseViT, image_size: tuple[int, int], batch: int) -> BackboneShape:
    """Reads what the costs follow from off a backbone.

    Args:
        backbone: The backbone.
        image_size: ``(H, W)`` in pixels.
        batch: Images.
    """
    projection: Any = backbone.patch_embed.projection
    patch = int(projection.stride[0])
    height, width = (-(-side // patch) for side in image_size)
    stem = height * width * projection.weight.numel()
    stages = []
    for i, stage in enumerate(backbone.stages):
        channels = backbone.num_features[i]
        window: int = stage.window_size
        windows = -(-height // window) * -(-width // window)
        fixed = 0
        hidden = stage.blocks[0].ffn.hidden_dims
        if stage.downsample is not None:
            stride = stage.downsample.stride
            height, width = -(-height // stride), -(-width // stride)
            fixed = height * width * stage.downsample.reduction.weight.numel()
        stages.append(StageShape(len(stage.blocks), windows, window**2, channels, hidden, fixed))
    return BackboneShape(image_size, batch, stem, tuple(stages))


def device_of(model: nn.Module) -> torch.device:
    """The device that a model's parameters are on."""
    return next(model.parameters()).device
