"""The size in which a config's images, and the length in which its clips, reach the backbone."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmengine.runner import Runner

from sparse_mm.engine.computed_windows import window_starts
from sparse_mm.engine.hosts import size_after, size_of_4_to_3_after
from sparse_mm.engine.inspection import leaf_datasets, preprocessor_config
from sparse_mm.errors import BadInputError


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
        dataset: The split's data set, of which a few images are read where the pipeline keeps
            their shape; without it they are taken to be 4:3.

    Raises:
        BadInputError: The size is not fixed: the pipeline neither resizes nor pads to a divisor.
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
    """The window (H, W) that a test slides over its images; None if it sees them whole.

    Raises:
        BadInputError: Its size or its steps are none.
    """
    settings = _slides(cfg)
    return None if settings is None else _sides(settings, 'crop_size')


def say_sliding(cfg: Config, split: str) -> str:
    """The note that a cost is that of one window, and the number of windows per image.

    Args:
        cfg: The run's config.
        split: ``'val'`` or ``'test'``, whose pipeline says how large the images are.

    Returns:
        A sentence; nothing where a test sees its images whole.
    """
    settings = _slides(cfg)
    if settings is None:
        return ''
    window = _sides(settings, 'crop_size')
    told = f'This is one window of {window[0]}x{window[1]}, which a test slides over the image'
    try:
        size, about = fixed_image_size(cfg, split), ''
    except BadInputError:
        usual = _size_of_4_to_3(cfg, split)
        if usual is None:
            return f'{told}.'
        size, about = usual, ', as one of 4:3 becomes'
    divisor = pad_divisor(cfg)
    height, width = (-(-side // divisor) * divisor for side in size)
    starts = window_starts((height, width), window, _sides(settings, 'stride'))
    number = len(starts[0]) * len(starts[1])
    return f'{told}: {number} of them over an image of {height}x{width}{about}.'


def _slides(cfg: Config) -> Mapping[str, Any] | None:
    """The settings of a test that slides a window."""
    settings = (cfg.get('model') or {}).get('test_cfg') or {}
    slides = isinstance(settings, Mapping) and settings.get('mode') == 'slide'
    return settings if slides else None


def _sides(settings: Mapping[str, Any], name: str) -> tuple[int, int]:
    value = settings.get(name)
    if not isinstance(value, list | tuple) or len(value) != 2 or min(value) < 1:
        raise BadInputError(
            f"model.test_cfg has mode='slide' and {name}={value!r}; it needs {name}=(H, W), the "
            f'{"window" if name == "crop_size" else "steps of the window"} in pixels.'
        )
    return int(value[0]), int(value[1])


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


def val_images_have_size(cfg: Config, size: tuple[int, int]) -> bool:
    """Whether the backbone sees every validation image in this size (H, W), without padding."""
    try:
        fixed = fixed_image_size(cfg, 'val')
    except BadInputError:
        return False
    padded = any(side % pad_divisor(cfg) for side in fixed)
    return _within(sliding_window(cfg), fixed) == tuple(size) and not padded


def image_size_of_run(runner: Runner) -> tuple[int, int]:
    """Finds the size of a run's validation images, and says in its log where it is not exact.

    Args:
        runner: The run.

    Raises:
        BadInputError: The size cannot be determined.
    """
    cfg = runner.cfg
    dataset = None if cfg.get('val_dataloader') is None else runner.val_loop.dataloader.dataset
    size = usual_image_size(cfg, 'val', dataset)
    if sliding_window(cfg) is not None:
        runner.logger.info(
            f'Costs are those of {size[0]}x{size[1]}. {say_sliding(cfg, "val")} image_size=(H, W) '
            'of the search sets another size.'
        )
    elif not val_images_have_size(cfg, size):
        runner.logger.info(
            f'Costs are those of images of {size[0]}x{size[1]}, which most validation images '
            'become; image_size=(H, W) of the search sets another size.'
        )
    return size
