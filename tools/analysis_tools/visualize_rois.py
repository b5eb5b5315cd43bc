"""Draws where SparseFormer's tokens look: RoIs and sampling points of each look, over the image.

python tools/analysis_tools/visualize_rois.py IMAGE CONFIG CHECKPOINT --out rois.png

For models of clips IMAGE is a video file, or the number of a sample of the config's test set, and
each look becomes a row of frames with the boxes whose time they are of.
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # Python adds a script's folder alone

from sparse_mm.checkpoints import read_checkpoint, weights_of
from sparse_mm.engine.checks import check_checkpoint, check_checkpoint_file, check_work_dir, report
from sparse_mm.engine.command_line import read_config, run
from sparse_mm.engine.hosts import loads_annotations
from sparse_mm.engine.inspection import (
    build_model,
    leaf_datasets,
    main_backbone,
    preprocessor_config,
    sees_clips,
    usual_image_size,
)
from sparse_mm.errors import BadInputError
from tools.analysis_tools.clip_rois import draw_clip, load_clip
from tools.benchmarks.looks import looks_of


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('image', help='picture, or video, to look at')
    parser.add_argument('config', help='config of a model with a SparseFormer')
    parser.add_argument('checkpoint', help='its weights')
    parser.add_argument('--out', default='rois.png', help='file to write (default: rois.png)')
    parser.add_argument(
        '--stages',
        type=int,
        nargs='+',
        help='which looks to draw, from 1, one panel each (default: all)',
    )
    parser.add_argument(
        '--tokens', type=int, nargs='+', help='which tokens to draw, from 0 (default: all)'
    )
    parser.add_argument(
        '--shape',
        nargs=2,
        type=int,
        metavar=('H', 'W'),
        help='squeeze it to this size; by default it goes through the test pipeline',
    )
    return parser.parse_args()


def read_image(path: str, shape: tuple[int, int]) -> np.ndarray:
    """Reads an image in a given size: ``(H, W, 3)``, RGB.

    Raises:
        BadInputError: It is no image.
    """
    image = cv2.imread(path)
    if image is None:
        raise BadInputError(f'{path!r} does not exist or is not an image.')
    image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    return cv2.resize(image, shape[::-1], interpolation=cv2.INTER_LINEAR)


def statistics(settings: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """Mean and deviation of a preprocessor's normalisation: ``(3, 1, 1)`` each."""
    mean = torch.tensor(settings.get('mean') or [0.0] * 3).view(3, 1, 1)
    return mean, torch.tensor(settings.get('std') or [1.0] * 3).view(3, 1, 1)


def normalise(image: np.ndarray, cfg: Config) -> Tensor:
    """Prepares an RGB image as the config's model does: ``(1, 3, H, W)``."""
    settings = preprocessor_config(cfg)
    x = torch.from_numpy(image).permute(2, 0, 1).float()
    if not settings.get('bgr_to_rgb', settings.get('to_rgb', False)):
        x = x.flip(0)
    mean, std = statistics(settings)
    return ((x - mean) / std).unsqueeze(0)


def through_pipeline(path: str, cfg: Config, model: Any) -> tuple[np.ndarray, Tensor]:
    """Prepares an image as the config's test does: loaded, resized, cropped, normalised, padded.

    Args:
        path: The image.
        cfg: The config, with a test pipeline.
        model: Its model, which has the preprocessor.

    Returns:
        What the model sees, ``(H, W, 3)`` RGB, and its input, ``(1, 3, H, W)``.
    """
    dataset = next(leaf_datasets(cfg.test_dataloader.dataset))
    steps = [step for step in dataset.pipeline if not loads_annotations(step['type'])]
    data = Compose(steps)(dict(img_path=path, img_id=0))
    x = model.data_preprocessor(pseudo_collate([data]), False)['inputs']
    settings = preprocessor_config(cfg)
    mean, std = statistics(settings)
    seen = (x[0] * std + mean).clamp(0, 255)
    if not settings.get('bgr_to_rgb', settings.get('to_rgb', False)):
        seen = seen.flip(0)
    return seen.permute(1, 2, 0).to(torch.uint8).numpy(), x


def draw(
    image: np.ndarray,
    looks: list[tuple[Tensor, Tensor]],
    stages: list[int],
    tokens: list[int],
) -> Figure:
    """Draws one panel for each chosen look; a token keeps its colour."""
    height, width = image.shape[:2]
    figure = Figure(figsize=(4.8 * len(stages), 4.8 * height / width + 0.4), dpi=120)
    FigureCanvasAgg(figure)
    colours = colormaps['hsv'](np.linspace(0, 1, len(tokens), endpoint=False))
    for i, stage in enumerate(stages):
        rois, points = looks[stage - 1]
        boxes = rois.unflatten(-1, (2, 2)).numpy() * (width, height)  # (N, corners, xy)
        places = points.numpy() * (width, height)  # (N, P, xy)
        axes = figure.add_subplot(1, len(stages), i + 1)
        axes.imshow(image)
        axes.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[])
        axes.set_title(f'look {stage} of {len(looks)}', fontsize=10)
        for token, colour in zip(tokens, colours, strict=True):
            low, high = boxes[token]
            axes.add_patch(Rectangle(low, *(high - low), fill=False, color=colour, linewidth=0.8))
            axes.scatter(*places[token].T, s=4, color=colour, linewidths=0)
    figure.tight_layout()
    return figure


def choose(name: str, given: list[int] | None, first: int, last: int) -> list[int]:
    """Checks chosen numbers; all from first to last where none are given.

    Raises:
        BadInputError: One is out of range.
    """
    chosen = given or list(range(first, last + 1))
    wrong = [number for number in chosen if not first <= number <= last]
    if wrong:
        raise BadInputError(f'--{name}: {wrong[0]} is not between {first} and {last}.')
    return chosen


def main() -> None:
    """Checks, looks, draws."""
    args = parse_args()
    cfg = read_config(args.config)
    out = Path(args.out)
    report(check_work_dir(str(out.parent)) + check_checkpoint_file(args.checkpoint))
    has_pipeline = (cfg.get('test_dataloader') or {}).get('dataset') and not args.shape
    model = build_model(cfg)
    in_clips = sees_clips(main_backbone(model))
    if not in_clips:
        # Where the pipeline reads the image, this is to see that it can be read.
        shape = (1, 1) if has_pipeline else tuple(args.shape or usual_image_size(cfg, 'test'))
        image = read_image(args.image, shape)
    report(check_checkpoint(args.checkpoint, model, whole=False))
    model.load_state_dict(weights_of(read_checkpoint(args.checkpoint), args.checkpoint), False)
    if in_clips:
        image, x = load_clip(args.image, cfg, model, args.shape and tuple(args.shape))
    elif has_pipeline:
        image, x = through_pipeline(args.image, cfg, model)
    else:
        x = normalise(image, cfg)
    looks = [(rois[0], points[0]) for rois, points in looks_of(main_backbone(model), x)]
    stages = choose('stages', args.stages, 1, len(looks))
    tokens = choose('tokens', args.tokens, 0, len(looks[0][0]) - 1)
    paint = draw_clip if in_clips else draw
    paint(image, looks, stages, tokens).savefig(out)
    print(f'written: {out} ({len(stages)} of {len(looks)} looks, {len(tokens)} tokens)')


if __name__ == '__main__':
    run(main)
