"""Draws the RoIs and sampling points of a SparseFormer, iteration after iteration, over the image.

python tools/analysis_tools/visualize_rois.py IMAGE CONFIG CHECKPOINT --out rois.png

For models of clips IMAGE is a video file, or the number of a sample of the config's test set, and
each iteration becomes a row of frames, and a box is drawn in the frames that its time covers.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # Python adds a script's folder alone

from sparse_mm.checkpoints import read_checkpoint
from sparse_mm.engine.checks import check_checkpoint, check_checkpoint_file, check_work_dir, report
from sparse_mm.engine.command_line import read_config, run, whole
from sparse_mm.engine.image_sizes import usual_image_size
from sparse_mm.engine.inspection import build_model, main_backbone, sees_clips
from sparse_mm.engine.pictures import (
    PICTURES,
    SeenPicture,
    check_shape,
    panel_size,
    read_picture,
    squeezed,
    through_test_pipeline,
)
from sparse_mm.errors import BadInputError
from sparse_mm.named_weights import mismatches, weights_of
from tools.analysis_tools.clip_rois import draw_clip, load_clip
from tools.benchmarks.sampling_points import sampling_points_of


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('image', help='picture, or video file')
    parser.add_argument('config', help='config of a model with a SparseFormer')
    parser.add_argument('checkpoint', help='its weights')
    parser.add_argument('--out', default='rois.png', help='file to write (default: rois.png)')
    parser.add_argument(
        '--stages',
        type=whole,
        nargs='+',
        help='which sampling iterations to draw, from 1, one panel each (default: all)',
    )
    parser.add_argument(
        '--tokens', type=whole, nargs='+', help='which tokens to draw, from 0 (default: all)'
    )
    parser.add_argument(
        '--shape',
        nargs=2,
        type=whole,
        metavar=('H', 'W'),
        help='squeeze it to this size; by default it goes through the test pipeline',
    )
    return parser.parse_args()


def draw(
    picture: SeenPicture,
    iterations: list[tuple[Tensor, Tensor]],
    stages: list[int],
    tokens: list[int],
) -> Figure:
    """Draws one panel for each chosen iteration, over the original; a token keeps its colour."""
    height, width = picture.original.shape[:2]
    panel = panel_size((height, width), 4.8)
    figure = Figure(figsize=(panel[0] * len(stages), panel[1] + 0.4), dpi=120)
    FigureCanvasAgg(figure)
    colours = colormaps['hsv'](np.linspace(0, 1, len(tokens), endpoint=False))
    for i, stage in enumerate(stages):
        rois, points = iterations[stage - 1]
        boxes = picture.places(rois.unflatten(-1, (2, 2)).numpy())  # (N, corners, xy)
        places = picture.places(points.numpy())  # (N, P, xy)
        axes = figure.add_subplot(1, len(stages), i + 1)
        axes.imshow(picture.original)
        axes.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[])
        axes.set_title(f'iteration {stage} of {len(iterations)}', fontsize=10)
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
    """Checks, runs the model, draws."""
    args = parse_args()
    cfg = read_config(args.config)
    out = Path(args.out)
    if out.suffix.lower() not in PICTURES:
        raise BadInputError(f'--out must name a picture, such as rois.png, not {args.out!r}.')
    shape = args.shape and tuple(args.shape)
    check_shape(shape)
    report(check_work_dir(str(out.parent), '--out') + check_checkpoint_file(args.checkpoint))
    model = build_model(cfg)
    in_clips = sees_clips(main_backbone(model))
    if not in_clips:
        if not shape and not (cfg.get('test_dataloader') or {}).get('dataset'):
            shape = usual_image_size(cfg, 'test')
        read_picture(args.image)  # to see, before the weights are read, that it can be
    report(check_checkpoint(args.checkpoint, model, whole=False))
    weights = weights_of(read_checkpoint(args.checkpoint), args.checkpoint)
    other = mismatches(weights, model.state_dict())  # of a head, whose classes may be others
    model.load_state_dict({k: v for k, v in weights.items() if k not in other}, strict=False)
    if in_clips:
        shown, x = load_clip(args.image, cfg, model, shape)
    else:
        shown = (
            squeezed(args.image, cfg, shape)
            if shape
            else through_test_pipeline(args.image, cfg, model.data_preprocessor)
        )
        x = shown.inputs
    found = sampling_points_of(main_backbone(model), x)
    iterations = [(rois[0], points[0]) for rois, points in found]
    stages = choose('stages', args.stages, 1, len(iterations))
    tokens = choose('tokens', args.tokens, 0, len(iterations[0][0]) - 1)
    paint = draw_clip if in_clips else draw
    paint(shown, iterations, stages, tokens).savefig(out)
    print(f'written: {out} ({len(stages)} of {len(iterations)} iterations, {len(tokens)} tokens)')


if __name__ == '__main__':
    run(main)
