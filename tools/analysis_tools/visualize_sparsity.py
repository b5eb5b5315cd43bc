"""Draws how many layers of a SparseViT computed each window, and the predictions.

python tools/analysis_tools/visualize_sparsity.py IMAGE|FOLDER|CLIP CONFIG CHECKPOINT --out FILE

As figure 5 of the paper (Chen et al., CVPR 2023). The picture goes through the config's test
pipeline, and is drawn in its own size. A video file becomes a clip again, frame by frame; so does a
folder of frames where --out names a clip.
"""

import argparse
import os
import sys
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import sparse_mm  # noqa: F401, before MMEngine, which asks for the home of a user without one

# isort: split
import cv2
import numpy as np
from mmengine.config import Config
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # Python adds a script's folder alone

from sparse_mm.checkpoints import read_checkpoint
from sparse_mm.engine.checks import (
    check_checkpoint,
    check_checkpoint_file,
    check_part,
    check_work_dir,
    report,
)
from sparse_mm.engine.command_line import finite, read_config, read_ratios, run, whole
from sparse_mm.engine.image_sizes import usual_image_size
from sparse_mm.engine.inspection import backbone_config, build_model, find_backbone, reads_texts
from sparse_mm.engine.pictures import PICTURES, check_shape, read_picture
from sparse_mm.errors import BadInputError
from sparse_mm.named_weights import mismatches, part_of, weights_of
from sparse_mm.progress import progress_bar
from tools.analysis_tools.clip_files import (
    CLIPS,
    WRITTEN,
    ClipWriter,
    encoder_for,
    open_clip,
)
from tools.analysis_tools.drawn_predictions import class_names
from tools.analysis_tools.half_size import KEPT_RATIO
from tools.analysis_tools.sparsity_figure import Drawer
from tools.analysis_tools.window_usage import BackboneAlone

SUFFIXES = '.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp', '.ppm'


@dataclass(frozen=True)
class Clip:
    """A clip to draw.

    Attributes:
        frames: Its frames, RGB.
        rate: How many of them a second has.
        target: The file to write.
    """

    frames: Any
    rate: Fraction
    target: Path


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('image', help='picture, folder of pictures, or video file')
    parser.add_argument('config', help='config of a model with a SparseViT')
    parser.add_argument('checkpoint', help='its weights')
    parser.add_argument(
        '--out',
        help='file to write, or the folder for a folder of pictures; a name such as sparsity.mp4 '
        'or .gif makes one clip of a folder (default: sparsity.png, sparsity, sparsity.mp4)',
    )
    parser.add_argument(
        '--ratios',
        help="pruning ratios, as JSON or a JSON file; by default the config's or the checkpoint's",
    )
    parser.add_argument(
        '--shape',
        nargs=2,
        type=whole,
        metavar=('H', 'W'),
        help='squeeze the picture to this size, and run the backbone alone; by default it goes '
        'through the test pipeline',
    )
    parser.add_argument(
        '--half-size',
        action='store_true',
        help='draw what the dense model finds at half of the size beside it; without --ratios a '
        'quarter of the windows is kept at full size, which costs as much',
    )
    parser.add_argument(
        '--score-thr', type=finite, default=0.3, help='least score of a drawn box (default: 0.3)'
    )
    parser.add_argument(
        '--every',
        type=whole,
        default=1,
        help='of a clip, every how many frames to draw (default: 1)',
    )
    parser.add_argument(
        '--fps',
        type=whole,
        default=10,
        help='frames per second of a folder of frames (default: 10)',
    )
    return parser.parse_args()


def pictures_in(folder: str) -> list[Path]:
    """The pictures of a folder, in the order of their names.

    Raises:
        BadInputError: It has none.
    """
    files = sorted(file for file in Path(folder).iterdir() if file.suffix.lower() in SUFFIXES)
    if not files:
        raise BadInputError(
            f'The folder {folder!r} has no pictures ({", ".join(SUFFIXES)}); give one that has, or '
            'a picture.'
        )
    return files


def plan(image: str, out: str | None) -> dict[str, Path]:
    """What to draw where.

    Args:
        image: A picture, or a folder of pictures.
        out: The file, or the folder, to write; None for the usual one.

    Returns:
        The file to write for each picture.

    Raises:
        BadInputError: The folder has no pictures, or the file to write has no picture's name.
    """
    if not os.path.isdir(image):
        target = Path(out or 'sparsity.png')
        if target.suffix.lower() not in PICTURES:
            raise BadInputError(
                f'--out must name a picture, such as sparsity.png, not {str(target)!r}.'
            )
        refuse_folder(target)
        return {image: target}
    files = pictures_in(image)
    folder = Path(out or 'sparsity')
    if folder.resolve() == Path(image).resolve():
        raise BadInputError('--out is the folder of the pictures; name another one.')
    stems = Counter(file.stem for file in files)
    names = [file.stem if stems[file.stem] == 1 else file.name for file in files]
    return {str(f): folder / f'{name}.png' for f, name in zip(files, names, strict=True)}


def refuse_folder(target: Path) -> None:
    """Refuses a folder where a file shall be written."""
    if target.is_dir():
        raise BadInputError(f'--out: {str(target)!r} is a folder; name a file.')


def plan_clip(image: str, out: str | None, every: int, fps: int) -> Clip | None:
    """Opens a clip, if one is to be drawn: a video file, or a folder with a clip's name to write.

    Raises:
        BadInputError: It cannot be read to its end, or not be written.
    """
    is_folder = os.path.isdir(image)
    if Path(image).suffix.lower() not in CLIPS and not (
        is_folder and out and Path(out).suffix.lower() in WRITTEN
    ):
        return None
    target = Path(out or 'sparsity.mp4')
    encoder_for(target)  # to see, before the clip is read, that there is one
    refuse_folder(target)
    if target.resolve() == Path(image).resolve():
        raise BadInputError('--out is the clip itself; name another file.')
    report(check_work_dir(str(target.parent), '--out'))
    return Clip(*open_clip(image, pictures_in(image) if is_folder else [], every, fps), target)


def refuse_latent_tokens(cfg: Config) -> None:
    """Refuses SparseFormers, which have no windows."""
    kind = backbone_config(cfg).get('type')
    name = kind if isinstance(kind, str) else getattr(kind, '__name__', '')
    if name.rpartition('.')[2].endswith('SparseFormer'):
        raise BadInputError(
            f'A {name} has no windows to colour; tools/analysis_tools/visualize_rois.py draws the '
            'points that it samples.'
        )


def read_model(cfg: Config, checkpoint: str) -> nn.Module:
    """Builds the config's model with a checkpoint's weights; the backbone alone of one of texts.

    Raises:
        BadInputError: It has no SparseViT, or the checkpoint is one of another model.
    """
    if reads_texts(cfg.model):
        model: Any = BackboneAlone(cfg)
        backbone = find_backbone(model)
        report(check_part(checkpoint, backbone))
        weights = weights_of(read_checkpoint(checkpoint), checkpoint)
        backbone.load_state_dict(part_of(weights, backbone.state_dict()), strict=False)
        return model.eval()
    model = build_model(cfg)
    find_backbone(model)
    report(check_checkpoint(checkpoint, model, whole=False))
    weights = weights_of(read_checkpoint(checkpoint), checkpoint)
    other = mismatches(weights, model.state_dict())  # of a head, whose classes may be others
    model.load_state_dict({k: v for k, v in weights.items() if k not in other}, strict=False)
    return model


def draw_pictures(drawer: Drawer, targets: dict[str, Path], alone: bool) -> None:
    """Draws pictures, each into a file of its own.

    Args:
        drawer: Draws a picture.
        targets: The file to write for each picture.
        alone: Whether there is one picture, and no folder of them.

    Raises:
        BadInputError: Some files are no images; the others are drawn.
    """
    broken, shares = [], []
    for path, target in progress_bar('Drawing', targets.items(), quiet=alone):
        try:
            read_picture(path)
        except BadInputError:
            broken.append(path)
            continue
        figure, share = drawer.figure(path)
        figure.savefig(target)
        shares.append(share)
    if shares:
        what = target if alone else f'{target.parent}, {len(shares)} images'
        print(
            f'written: {what} (on average {np.mean(shares):.0%} of the {drawer.layers} layers '
            'computed a pixel)'
        )
    if broken:
        raise BadInputError(
            f'{len(broken)} of {len(targets)} files are not images, and were left out: '
            f'{", ".join(broken[:3])}; mend or remove them.'
        )


def draw_clip(drawer: Drawer, clip: Clip) -> None:
    """Draws a clip frame by frame, as one clip."""
    shares = []
    with ClipWriter(clip.target, clip.rate) as writer, TemporaryDirectory() as folder:
        path = str(Path(folder) / 'frame.png')  # test pipelines read files
        for frame in progress_bar('Drawing', clip.frames, total=len(clip.frames)):
            cv2.imwrite(path, frame[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])
            figure, share = drawer.figure(path)
            shares.append(share)
            canvas: Any = figure.canvas
            canvas.draw()
            writer.add(np.asarray(canvas.buffer_rgba())[..., :3])
    print(
        f'written: {clip.target} ({len(shares)} frames; on average {np.mean(shares):.0%} of the '
        f'{drawer.layers} layers computed a pixel)'
    )


def main() -> None:
    """Checks, runs, draws."""
    args = parse_args()
    cfg = read_config(args.config)
    refuse_latent_tokens(cfg)
    if not 0 <= args.score_thr <= 1:
        raise BadInputError(f'--score-thr must be between 0 and 1, not {args.score_thr:g}.')
    check_shape(args.shape)
    if min(args.every, args.fps) < 1:
        raise BadInputError('--every and --fps must be at least 1.')
    clip = plan_clip(args.image, args.out, args.every, args.fps)
    targets = plan(args.image, args.out) if clip is None else {}
    alone = not os.path.isdir(args.image)
    if targets:
        if alone:
            read_picture(args.image)  # to see, before the weights are read, that it can be
        report(check_work_dir(str(next(iter(targets.values())).parent), '--out'))
    report(check_checkpoint_file(args.checkpoint))
    shape = args.shape and (args.shape[0], args.shape[1])
    if not shape and not (cfg.get('test_dataloader') or {}).get('dataset'):
        shape = usual_image_size(cfg, 'test')
    model = read_model(cfg, args.checkpoint)
    if args.ratios is not None:
        find_backbone(model).set_pruning_ratios(read_ratios(args.ratios))
    elif args.half_size:
        find_backbone(model).set_pruning_ratios(KEPT_RATIO)
    names = class_names(cfg, args.checkpoint)
    drawer = Drawer(model, cfg, names, args.score_thr, shape, args.half_size)
    if clip is not None:
        draw_clip(drawer, clip)
    else:
        draw_pictures(drawer, targets, alone)


if __name__ == '__main__':
    run(main)
