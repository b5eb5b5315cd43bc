"""The preprocessing of a model's images, as plain values for other programs."""

from collections.abc import Mapping
from typing import Any

from mmengine.config import Config

from sparse_mm.engine.hosts import name_of
from sparse_mm.engine.inspection import leaf_datasets, preprocessor_config

# Transforms that read files or pack results, or read what only training needs.
NOT_OF_IMAGES = ('Load', 'Pack')


def describe_preprocessing(cfg: Config, shape: tuple[int, ...]) -> dict[str, Any]:
    """Describes a config's test preprocessing.

    Args:
        cfg: The config.
        shape: ``(H, W)`` of the exported graph, of clips ``(T, H, W)``.

    Returns:
        Plain values: ``size`` of the images, ``channels`` (their order), ``mean`` and ``std`` in
        that order, of values from 0 to 255; ``layout`` and ``dtype`` of the graph's input;
        ``pipeline``, the config's own transforms; of clips ``frames``, too.
    """
    settings = preprocessor_config(cfg)
    *frames, height, width = shape
    swaps = any(settings.get(name) for name in ('bgr_to_rgb', 'to_rgb', 'rgb_to_bgr'))
    mean, std = settings.get('mean'), settings.get('std')
    dataset = (cfg.get('test_dataloader') or {}).get('dataset')
    transforms = [
        _plain(transform)
        for leaf in (leaf_datasets(dataset) if dataset else ())
        for transform in leaf.get('pipeline') or ()
        if not name_of(transform['type']).startswith(NOT_OF_IMAGES)
    ]
    return dict(
        layout='NCTHW' if frames else 'NCHW',
        dtype='float32',
        **(dict(frames=frames[0]) if frames else {}),
        size=[height, width],
        # Hosts read images with OpenCV, whose order is BGR; videos are decoded as RGB.
        channels='RGB' if swaps or frames else 'BGR',
        mean=[0.0] * 3 if mean is None else [float(value) for value in mean],
        std=[1.0] * 3 if std is None else [float(value) for value in std],
        pipeline=transforms,
    )


def _plain(value: Any) -> Any:
    """A config's value as JSON has it."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else name_of(value)
