"""Finds the backbone and its shape, data sets and metrics of configs and models."""

from collections.abc import Iterator
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmengine.hooks import EMAHook
from mmengine.model import is_model_wrapper
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner
from torch import nn

from sparse_mm.deploy import DeployedBackbone
from sparse_mm.engine.hosts import TEXT_PARTS, scope_of
from sparse_mm.errors import BadInputError
from sparse_mm.models import BootstrappedSparseFormer, SparseFormer, VideoSparseFormer
from sparse_mm.models.backbones.swin_backbone import SwinBackbone
from sparse_mm.search.cost import BackboneShape, StageShape

BACKBONES = SwinBackbone, SparseFormer, BootstrappedSparseFormer


def find_backbone(model: nn.Module) -> SwinBackbone:
    """Finds the one SparseViT in a model, at any depth.

    Args:
        model: Any model, in its wrapper or without.

    Raises:
        BadInputError: There is none, or more than one.
    """
    return _the_one(
        model,
        (SwinBackbone,),
        "SparseViT backbones; the search needs exactly one: set model.backbone.type='SparseViT'.",
    )


def our_backbone(model: nn.Module) -> Any:
    """Finds the one backbone of this package in a model, at any depth.

    Args:
        model: Any model, in its wrapper or without.

    Raises:
        BadInputError: There is none, or more than one.
    """
    return _the_one(
        model,
        BACKBONES,
        'backbones of the kinds SparseViT, SparseViTV2, SparseFormer, BootstrappedSparseFormer, '
        'VideoSparseFormer; exactly one is needed.',
    )


def _the_one(model: nn.Module, kinds: tuple[type, ...], expected: str) -> Any:
    found = _of_kinds(model, kinds)
    if len(found) != 1:
        raise BadInputError(
            f'The model ({type(bare(model)).__name__}) has {len(found) or "no"} {expected}'
        )
    return found[0]


def _of_kinds(model: nn.Module, kinds: tuple[type, ...]) -> list[Any]:
    return [module for module in bare(model).modules() if isinstance(module, kinds)]


def bare(model: nn.Module) -> Any:
    """A model without the wrapper of distributed training."""
    return model.module if is_model_wrapper(model) else model


def averaged_copies(runner: Runner) -> list[nn.Module]:
    """The averaged copies of the model that a runner's hooks keep (EMA)."""
    hooks = [hook for hook in runner.hooks if isinstance(hook, EMAHook)]
    return [hook.ema_model.module for hook in hooks if hasattr(hook, 'ema_model')]


def main_backbone(model: nn.Module) -> nn.Module:
    """Finds a model's backbone, of whatever kind; a model without one is its own.

    Args:
        model: Any model, in its wrapper or without.
    """
    found = _of_kinds(model, BACKBONES)
    if len(found) == 1:
        return found[0]
    named = [module for name, module in bare(model).named_modules() if _is_backbone(name)]
    return named[0] if named else bare(model)


def backbone_name(model: nn.Module) -> str:
    """What the weights of a model's backbone begin with: ``'backbone.'``; nothing where it is all.

    Args:
        model: A model without its wrapper.
    """
    backbone = main_backbone(model)
    name = next(
        name
        for name, module in model.named_modules()
        if module is backbone
        # Its weights have the names that they have in the backbone.
        or (isinstance(module, DeployedBackbone) and module.backbone is backbone)
    )
    return f'{name}.' if name else ''


def backbone_config(cfg: Config) -> dict[str, Any]:
    """Finds the backbone in a config, wherever it sits in the model; a model without one is it."""
    model = _model_of(cfg)
    return next((parent[name] for parent, name in _places_in(model)), model)


def _model_of(cfg: Config) -> Any:
    if not cfg.get('model'):
        raise BadInputError('The config has no model.')
    return cfg.model


def backbone_places(cfg: Config) -> list[tuple[dict[str, Any], str]]:
    """Where backbones sit in a config's model: the dict that holds each, and its name there."""
    return list(_places_in(cfg.get('model') or {}))


def _places_in(node: Any) -> Iterator[tuple[dict[str, Any], str]]:
    for key, value in node.items():
        if isinstance(value, dict):
            if _is_backbone(key) and 'type' in value:
                yield node, key
            else:
                yield from _places_in(value)


def _is_backbone(name: str) -> bool:
    """Whether a module of this name is a backbone: ``backbone``, ``detector.img_backbone``."""
    last = name.rpartition('.')[2]
    return last in ('backbone', 'img_backbone')


def build_model(cfg: Config) -> Any:
    """Builds a config's model with random weights, in evaluation mode."""
    init_default_scope(scope_of(cfg))
    model = dict(_model_of(cfg))
    if not model.get('data_preprocessor') and cfg.get('data_preprocessor'):
        # As MMEngine's runner does: mmpretrain has it outside the model.
        model['data_preprocessor'] = cfg.data_preprocessor
    return _for_inference(model)


def build_backbone(cfg: Config) -> Any:
    """Builds a config's backbone alone, in evaluation mode: no text model is built beside it."""
    init_default_scope(scope_of(cfg))
    return _for_inference(backbone_config(cfg))


def _for_inference(settings: dict[str, Any]) -> Any:
    model = MODELS.build(settings)
    model.eval()  # which a few of the hosts' modules do without returning themselves
    return model


def reads_texts(model: Any) -> bool:
    """Whether a model's config has a part that reads texts, at any depth."""
    return isinstance(model, dict) and any(
        name in TEXT_PARTS or reads_texts(part) for name, part in model.items()
    )


def leaf_datasets(dataset: ConfigDict) -> Iterator[ConfigDict]:
    """Yields the data sets inside wrappers that repeat, balance or join others."""
    inner = dataset.get('datasets') or ([dataset['dataset']] if 'dataset' in dataset else [])
    if not inner:
        yield dataset
    for item in inner:
        yield from leaf_datasets(item)


def sees_clips(backbone: nn.Module) -> bool:
    """Whether a backbone takes clips ``(B, 3, T, H, W)`` rather than images."""
    return isinstance(backbone, VideoSparseFormer)


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
        raise BadInputError('An evaluator must be a config, not a built object.')
    return metrics


def backbone_shape(
    backbone: SwinBackbone, image_size: tuple[int, int], batch: int
) -> BackboneShape:
    """Reads the shape of a backbone, from which costs are computed.

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
