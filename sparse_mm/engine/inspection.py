"""What a config and a model hold: the backbone and its shape, data sets, the size of the images."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmengine.hooks import EMAHook
from mmengine.model import is_model_wrapper
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner
from torch import nn

from sparse_mm.engine.hosts import scope_of, size_after, size_of_4_to_3_after
from sparse_mm.errors import BadInputError
from sparse_mm.models import BootstrappedSparseFormer, SparseFormer
from sparse_mm.models.backbones.swin_backbone import SwinBackbone
from sparse_mm.search.cost import BackboneShape, StageShape

BACKBONES = SwinBackbone, SparseFormer, BootstrappedSparseFormer


def find_backbone(model: nn.Module) -> SwinBackbone:
    """Finds the one SparseViT in a model, wherever it sits.

    Args:
        model: Any model, in its wrapper or without.

    Raises:
        BadInputError: There is none, or more than one.
    """
    bare: Any = model.module if is_model_wrapper(model) else model
    found = [module for module in bare.modules() if isinstance(module, SwinBackbone)]
    if len(found) != 1:
        raise BadInputError(
            f'The model ({type(bare).__name__}) has {len(found) or "no"} SparseViT backbones; the '
            "search needs exactly one: set model.backbone.type='SparseViT'."
        )
    return found[0]


def averaged_copies(runner: Runner) -> list[nn.Module]:
    """The averaged copies of the model that a runner's hooks keep (EMA)."""
    hooks = [hook for hook in runner.hooks if isinstance(hook, EMAHook)]
    return [hook.ema_model.module for hook in hooks if hasattr(hook, 'ema_model')]


def our_backbone(model: nn.Module) -> Any:
    """Finds the one backbone of this package in a model, wherever it sits.

    Args:
        model: Any model, in its wrapper or without.

    Raises:
        BadInputError: There is none, or more than one.
    """
    bare: Any = model.module if is_model_wrapper(model) else model
    found = [module for module in bare.modules() if isinstance(module, BACKBONES)]
    if len(found) != 1:
        raise BadInputError(
            f'The model ({type(bare).__name__}) has {len(found) or "none"} of the backbones '
            'SparseViT, SparseViTV2, SparseFormer, BootstrappedSparseFormer; exactly one is needed.'
        )
    return found[0]


def main_backbone(model: nn.Module) -> nn.Module:
    """Finds a model's backbone, of whatever kind; a model without one is its own.

    Args:
        model: Any model, in its wrapper or without.
    """
    bare: Any = model.module if is_model_wrapper(model) else model
    found = [module for module in bare.modules() if isinstance(module, BACKBONES)]
    if len(found) == 1:
        return found[0]
    named = [module for name, module in bare.named_modules() if _is_backbone(name)]
    return named[0] if named else bare


def backbone_name(model: nn.Module) -> str:
    """What the weights of a model's backbone begin with: ``'backbone.'``; nothing where it is all.

    Args:
        model: A model without its wrapper.
    """
    backbone = main_backbone(model)
    name = next(name for name, module in model.named_modules() if module is backbone)
    return f'{name}.' if name else ''


def backbone_config(cfg: Config) -> dict[str, Any]:
    """Finds the backbone in a config, wherever it sits in the model; a model without one is it."""
    return next(_backbone_configs(cfg.model), cfg.model)


def _backbone_configs(node: Any) -> Iterator[dict[str, Any]]:
    for key, value in node.items():
        if isinstance(value, dict):
            if _is_backbone(key) and 'type' in value:
                yield value
            else:
                yield from _backbone_configs(value)


def _is_backbone(name: str) -> bool:
    """Whether a module of this name is a backbone: ``backbone``, ``detector.img_backbone``."""
    last = name.rpartition('.')[2]
    return last in ('backbone', 'img_backbone')


def build_model(cfg: Config) -> Any:
    """Builds a config's model with random weights, in evaluation mode."""
    init_default_scope(scope_of(cfg))
    model = dict(cfg.model)
    if not model.get('data_preprocessor') and cfg.get('data_preprocessor'):
        # As MMEngine's runner does: mmpretrain has it outside the model.
        model['data_preprocessor'] = cfg.data_preprocessor
    return MODELS.build(model).eval()


def build_backbone(cfg: Config) -> Any:
    """Builds a config's backbone alone, in evaluation mode: no text model is built beside it."""
    init_default_scope(scope_of(cfg))
    return MODELS.build(backbone_config(cfg)).eval()


def leaf_datasets(dataset: ConfigDict) -> Iterator[ConfigDict]:
    """Yields the data sets inside wrappers that repeat, balance or join others."""
    inner = dataset.get('datasets') or ([dataset['dataset']] if 'dataset' in dataset else [])
    if not inner:
        yield dataset
    for item in inner:
        yield from leaf_datasets(item)


def fixed_image_size(cfg: Config, split: str) -> tuple[int, int]:
    """Finds the size (H, W) to which a pipeline brings every image.

    Args:
        cfg: The run's config.
        split: ``'val'`` or ``'test'``.

    Raises:
        BadInputError: The pipeline has no such size.
    """
    loader = cfg.get(f'{split}_dataloader') or {}
    size = None
    for dataset in leaf_datasets(loader.get('dataset') or ConfigDict()):
        for transform in dataset.get('pipeline') or ():
            size = size_after(transform) or size
    if size is None:
        raise BadInputError(
            f'The {split} pipeline has no fixed image size; give one (tools/search.py: '
            '--image-size H W, other tools: --shape H W, SparsitySearchHook: image_size=(H, W)).'
        )
    return size


def usual_image_size(cfg: Config, split: str, dataset: Any = None) -> tuple[int, int]:
    """Finds the size (H, W) in which the backbone sees most images of a split.

    Args:
        cfg: The run's config.
        split: ``'val'`` or ``'test'``.
        dataset: The split's data set, of which a few images are looked at where the pipeline keeps
            their shape; without it they are taken to be 4:3.

    Raises:
        BadInputError: There is no telling: the pipeline neither resizes nor pads to a divisor.
    """
    try:
        return fixed_image_size(cfg, split)
    except BadInputError:
        size = _size_of_4_to_3(cfg, split)
        divisor = preprocessor_config(cfg).get('pad_size_divisor') or 1
        if dataset is not None and (size is not None or divisor > 1):
            size = _most_common_size(dataset) or size
        if size is None:
            raise
        return -(-size[0] // divisor) * divisor, -(-size[1] // divisor) * divisor


def _most_common_size(dataset: Any) -> tuple[int, int] | None:
    step = max(1, len(dataset) // 16)
    sizes: Counter[tuple[int, int]] = Counter()
    for i in range(0, len(dataset), step):
        inputs = dataset[i].get('inputs')
        inputs = inputs.get('img') if isinstance(inputs, dict) else inputs
        if not isinstance(inputs, torch.Tensor):
            return None
        sizes[inputs.shape[-2], inputs.shape[-1]] += 1
    return sizes.most_common(1)[0][0] if sizes else None


def _size_of_4_to_3(cfg: Config, split: str) -> tuple[int, int] | None:
    loader = cfg.get(f'{split}_dataloader') or {}
    size = None
    for dataset in leaf_datasets(loader.get('dataset') or ConfigDict()):
        for transform in dataset.get('pipeline') or ():
            size = size_of_4_to_3_after(transform) or size
    return size


def preprocessor_config(cfg: Config) -> dict[str, Any]:
    """The data preprocessor's config, which mmpretrain has outside the model."""
    inside = (cfg.get('model') or {}).get('data_preprocessor')
    return inside or cfg.get('data_preprocessor') or {}


def metric_configs(evaluator: Any) -> list[dict]:
    """The configs of an evaluator's metrics, whether it has one or a list.

    Raises:
        BadInputError: The evaluator is built already.
    """
    if isinstance(evaluator, dict) and 'metrics' in evaluator:
        evaluator = evaluator['metrics']
    metrics = list(evaluator) if isinstance(evaluator, list | tuple) else [evaluator]
    if not all(isinstance(metric, dict) for metric in metrics):
        raise BadInputError('An evaluator must stand in the config, not be a built object.')
    return metrics


def val_images_have_size(cfg: Config, size: tuple[int, int]) -> bool:
    """Whether the backbone sees every validation image in this size (H, W), without padding."""
    divisor = preprocessor_config(cfg).get('pad_size_divisor') or 1
    try:
        return fixed_image_size(cfg, 'val') == tuple(size) and not any(n % divisor for n in size)
    except BadInputError:
        return False


def backbone_shape(
    backbone: SwinBackbone, image_size: tuple[int, int], batch: int
) -> BackboneShape:
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
    for stage in backbone.stages:
        window: int = stage.window_size
        hidden = stage.blocks[0].ffn.hidden_dims
        windows, fixed = -(-height // window) * -(-width // window), 0
        if stage.downsample is not None:
            stride = stage.downsample.stride
            height, width = -(-height // stride), -(-width // stride)
            fixed = height * width * stage.downsample.reduction.weight.numel()
        if stage.merges_first:
            windows = -(-height // window) * -(-width // window)
        channels = stage.embed_dims
        stages.append(StageShape(len(stage.blocks), windows, window**2, channels, hidden, fixed))
    return BackboneShape(image_size, batch, stem, tuple(stages), projection.in_channels)


def input_channels(model: nn.Module) -> int:
    """How many channels a backbone's images have: those of its first convolution."""
    first = (module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Conv3d))
    return next((module.in_channels for module in first), 3)


def device_of(model: nn.Module) -> torch.device:
    """The device that a model's parameters are on."""
    return next(model.parameters()).device
