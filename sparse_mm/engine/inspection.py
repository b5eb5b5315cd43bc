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

from sparse_mm.deploy import DeployedBackbone
from sparse_mm.engine.hosts import TEXT_PARTS, scope_of, size_after, size_of_4_to_3_after
from sparse_mm.errors import BadInputError
from sparse_mm.models import BootstrappedSparseFormer, SparseFormer, VideoSparseFormer
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
    return _the_one(
        model,
        (SwinBackbone,),
        "SparseViT backbones; the search needs exactly one: set model.backbone.type='SparseViT'.",
    )


def our_backbone(model: nn.Module) -> Any:
    """Finds the one backbone of this package in a model, wherever it sits.

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
        if dataset.get('frames') and dataset.get('size'):  # clips that are drawn in it
            size = int(dataset['size']), int(dataset['size'])
        for transform in dataset.get('pipeline') or ():
            size = size_after(transform) or size
    if size is None:
        raise BadInputError(
            f'The {split} pipeline has no fixed image size; give one (tools/search.py: '
            '--image-size H W, other tools: --shape H W, SparsitySearchHook: image_size=(H, W)).'
        )
    return size


def sees_clips(backbone: nn.Module) -> bool:
    """Whether a backbone takes clips ``(B, 3, T, H, W)`` rather than images."""
    return isinstance(backbone, VideoSparseFormer)


def usual_clip_length(cfg: Config, split: str) -> int:
    """Finds how many frames the clips of a split have.

    Args:
        cfg: The run's config.
        split: ``'val'`` or ``'test'``.

    Raises:
        BadInputError: The pipeline does not say.
    """
    loader = cfg.get(f'{split}_dataloader') or {}
    for dataset in leaf_datasets(loader.get('dataset') or ConfigDict()):
        for transform in dataset.get('pipeline') or ():
            if transform.get('clip_len'):
                return int(transform['clip_len'])
        if dataset.get('frames'):
            return int(dataset['frames'])
    raise BadInputError(f'The {split} pipeline has no number of frames; give one (--frames N).')


def usual_image_size(cfg: Config, split: str, dataset: Any = None) -> tuple[int, int]:
    """Finds the size (H, W) in which the backbone sees most images of a split.

    Where a test slides a window over the images (mmseg), that is the window's.

    Args:
        cfg: The run's config.
        split: ``'val'`` or ``'test'``.
        dataset: The split's data set, of which a few images are looked at where the pipeline keeps
            their shape; without it they are taken to be 4:3.

    Raises:
        BadInputError: There is no telling: the pipeline neither resizes nor pads to a divisor.
    """
    window = sliding_window(cfg)
    try:
        return _within(window, fixed_image_size(cfg, split))
    except BadInputError:
        size = _size_of_4_to_3(cfg, split)
        divisor = pad_divisor(cfg)
        if dataset is not None and (size is not None or divisor > 1 or window is not None):
            size = _most_common_size(dataset) or size
        size = size or window
        if size is None:
            raise
        padded = -(-size[0] // divisor) * divisor, -(-size[1] // divisor) * divisor
        return _within(window, padded)


def sliding_window(cfg: Config) -> tuple[int, int] | None:
    """The window (H, W) that a test slides over its images; None if it sees them whole."""
    test_cfg = (cfg.get('model') or {}).get('test_cfg') or {}
    if not isinstance(test_cfg, dict) or test_cfg.get('mode') != 'slide':
        return None
    height, width = test_cfg['crop_size']
    return int(height), int(width)


def _within(window: tuple[int, int] | None, size: tuple[int, int]) -> tuple[int, int]:
    """What the backbone sees at once of an image: the window, or all of a smaller one."""
    return size if window is None else (min(size[0], window[0]), min(size[1], window[1]))


def pad_divisor(cfg: Config) -> int:
    """The number that the sides of tested images are padded to multiples of; 1 for no padding."""
    settings = preprocessor_config(cfg)
    in_tests = settings.get('test_cfg') or {}  # of mmseg's
    return settings.get('pad_size_divisor') or in_tests.get('size_divisor') or 1


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
    try:
        fixed = fixed_image_size(cfg, 'val')
    except BadInputError:
        return False
    padded = any(side % pad_divisor(cfg) for side in fixed)
    return _within(sliding_window(cfg), fixed) == tuple(size) and not padded


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
