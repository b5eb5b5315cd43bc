"""Draws how many layers of a SparseViT computed each window, beside what the model finds.

python tools/analysis_tools/visualize_sparsity.py IMAGE|FOLDER CONFIG CHECKPOINT --out sparsity.png

As figure 5 of the paper (Chen et al., CVPR 2023). The picture goes through the config's test
pipeline, and is drawn in its own size.
"""

import argparse
import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # Python adds a script's folder alone

from sparse_mm.checkpoints import mismatches, part_of, read_checkpoint, weights_of
from sparse_mm.engine.checks import (
    check_checkpoint,
    check_checkpoint_file,
    check_part,
    check_work_dir,
    report,
)
from sparse_mm.engine.command_line import expand_home, read_config, read_ratios, run
from sparse_mm.engine.computed_windows import WindowRecorder, join_crops, paint_layers
from sparse_mm.engine.hosts import host_of, load
from sparse_mm.engine.image_sizes import sliding_window, usual_image_size
from sparse_mm.engine.inspection import build_model, find_backbone, leaf_datasets, reads_texts
from sparse_mm.engine.pictures import (
    PICTURES,
    SeenPicture,
    read_picture,
    shown_picture,
    squeezed,
    through_test_pipeline,
)
from sparse_mm.errors import BadInputError
from sparse_mm.progress import progress_bar
from tools.analysis_tools.half_size import KEPT_RATIO, at_half_size, gmacs
from tools.analysis_tools.window_usage import BackboneAlone

SUFFIXES = '.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp', '.ppm'


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('image', help='picture to look at, or a folder of pictures')
    parser.add_argument('config', help='config of a model with a SparseViT')
    parser.add_argument('checkpoint', help='its weights')
    parser.add_argument(
        '--out', help='file to write, or the folder for a folder (default: sparsity.png, sparsity)'
    )
    parser.add_argument(
        '--ratios',
        help="pruning ratios, as JSON or a JSON file; by default the config's or the checkpoint's",
    )
    parser.add_argument(
        '--shape',
        nargs=2,
        type=int,
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
        '--score-thr', type=float, default=0.3, help='least score of a drawn box (default: 0.3)'
    )
    return parser.parse_args()


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
        if target.is_dir():
            raise BadInputError(f'--out: {str(target)!r} is a folder; name a file.')
        return {image: target}
    files = sorted(file for file in Path(image).iterdir() if file.suffix.lower() in SUFFIXES)
    if not files:
        raise BadInputError(
            f'The folder {image!r} has no pictures ({", ".join(SUFFIXES)}); give one that has, or '
            'a picture.'
        )
    folder = Path(out or 'sparsity')
    if folder.resolve() == Path(image).resolve():
        raise BadInputError('--out is the folder of the pictures; name another one.')
    stems = Counter(file.stem for file in files)
    names = [file.stem if stems[file.stem] == 1 else file.name for file in files]
    return {str(f): folder / f'{name}.png' for f, name in zip(files, names, strict=True)}


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


def class_names(cfg: Config, checkpoint: str) -> dict[str, Any]:
    """Names and colours of the classes: those that the checkpoint was trained on, or the config's.

    Returns:
        As a data set's ``metainfo``; empty where nobody says.
    """
    meta = read_checkpoint(checkpoint).get('meta') or {}
    names = {str(key).lower(): value for key, value in (meta.get('dataset_meta') or {}).items()}
    if names.get('classes') or not cfg.get('test_dataloader'):
        return names
    dataset = next(leaf_datasets(cfg.test_dataloader.dataset))
    kind = dataset['type'] if isinstance(dataset['type'], type) else DATASETS.get(dataset['type'])
    return {**getattr(kind, 'METAINFO', {}), **(dataset.get('metainfo') or {})}


def draw_predictions(
    cfg: Config, names: dict[str, Any], image: np.ndarray, sample: Any, score_thr: float
) -> np.ndarray:
    """Draws what a model found, by its host's visualizer: ``(H, W, 3)`` uint8, RGB."""
    visualizer = load(host_of(cfg).visualizer or '')(name='visualize_sparsity')
    visualizer.dataset_meta = dict(names)
    if 'pred_label' in sample:  # classes of whole pictures
        return np.asarray(visualizer.visualize_cls(image, sample, draw_gt=False))
    options = {}
    if 'pred_sem_seg' in sample:
        found = int(sample.pred_sem_seg.data.max()) + 1
        classes = list(names.get('classes') or [])
        classes += [str(number) for number in range(len(classes), found)]
        palette = [list(colour) for colour in names.get('palette') or []]
        colours = colormaps['hsv'](np.linspace(0, 1, len(classes), endpoint=False))[:, :3]
        palette += (255 * colours[len(palette) :]).astype(int).tolist()
        visualizer.dataset_meta = dict(classes=classes, palette=palette)
    if 'pred_instances' in sample:
        options = dict(pred_score_thr=score_thr)
    visualizer.add_datasample('found', image, sample, draw_gt=False, **options)
    return np.asarray(visualizer.get_image())


@torch.no_grad()
def look(
    model: Any, cfg: Config, shown: SeenPicture, names: dict[str, Any], score_thr: float
) -> tuple[np.ndarray, int, np.ndarray, str]:
    """Runs the model on a picture.

    Args:
        model: The model.
        cfg: Its config.
        shown: The picture, as the model sees it.
        names: Its classes, see :func:`class_names`.
        score_thr: Least score of a drawn box.

    Returns:
        How many layers computed each pixel of the original, ``(H, W)``; of how many; the
        original with the predictions drawn in, ``(H, W, 3)``; and its title.
    """
    recorder = WindowRecorder(model)
    size = int(shown.inputs.shape[-2]), int(shown.inputs.shape[-1])
    finds = shown.packed is not None and host_of(cfg).visualizer is not None
    window, stride, beside, title = None, None, shown.original, 'image'
    try:
        if finds and not isinstance(model, BackboneAlone):
            sample = model.test_step(pseudo_collate([shown.packed]))[0].cpu()
            beside, title = shown.original.copy(), 'what the model finds'
            beside = draw_predictions(cfg, names, beside, sample, score_thr)
            window = sliding_window(cfg)
            if window is not None:
                stride = tuple(cfg.model.test_cfg['stride'])
        else:
            find_backbone(model)(shown.inputs)
    finally:
        recorder.remove()
    counts = join_crops(recorder.passes, size, window, stride)[0]
    return shown.on_original(counts), recorder.layers, beside, title


def dense_at_half_size(
    model: Any, cfg: Config, shown: SeenPicture, names: dict[str, Any], score_thr: float
) -> tuple[tuple[np.ndarray, str], str]:
    """What the dense model finds at half of the size, as :func:`look` gives it.

    Returns:
        The picture with its title, and what pruning costs at full size, for that one's title.
    """
    backbone = find_backbone(model)
    small = at_half_size(shown, model.data_preprocessor)
    ratios = backbone.pruning_ratios
    pruned = f', {gmacs(backbone, shown.inputs):.2f} GMACs'
    backbone.set_pruning_ratios(0)
    try:
        _, _, beside, _ = look(model, cfg, small, names, score_thr)
        title = f'dense at half of the size, {gmacs(backbone, small.inputs):.2f} GMACs'
    finally:
        backbone.set_pruning_ratios(ratios)
    if beside is shown.original:  # the backbone alone ran: what it saw is all there is to show
        beside = shown_picture(small.inputs[0], cfg)
    return (beside, title), pruned


def draw(
    image: np.ndarray,
    counts: np.ndarray,
    layers: int,
    beside: Sequence[tuple[np.ndarray, str]],
    share: float,
) -> Figure:
    """Draws the pictures side by side.

    Args:
        image: ``(H, W, 3)`` uint8, RGB.
        counts: How many layers computed each pixel, ``(H, W)``; -1 for what the model does not see.
        layers: How many there are.
        beside: Pictures to draw beside it, of any size, each with its title.
        share: Of all layers, over what the model sees.
    """
    height, width = counts.shape
    panels = 1 + len(beside)
    size = 6.5 * panels, 6 * height / width + 0.6
    figure = Figure(figsize=size, dpi=120, layout='constrained')
    FigureCanvasAgg(figure)
    left, *others = figure.subplots(1, panels)
    left.imshow(paint_layers(image, counts, layers))
    left.set_title(f'layers that computed each window ({share:.0%} of all)', fontsize=10)
    for axes, (picture, title) in zip(others, beside, strict=True):
        axes.imshow(picture)
        axes.set_title(title, fontsize=10)
    for axes in (left, *others):
        axes.set(xticks=[], yticks=[])
    colours = ScalarMappable(Normalize(0, layers), 'viridis')
    figure.colorbar(colours, ax=left, label=f'of {layers} layers', fraction=0.03, pad=0.01)
    return figure


def main() -> None:
    """Checks, runs, draws."""
    args = parse_args()
    expand_home(args)
    cfg = read_config(args.config)
    if not 0 <= args.score_thr <= 1:
        raise BadInputError(f'--score-thr must be between 0 and 1, not {args.score_thr:g}.')
    if args.shape and min(args.shape) < 1:
        raise BadInputError(f'--shape must be two numbers of at least 1, not {args.shape}.')
    targets = plan(args.image, args.out)
    alone = not os.path.isdir(args.image)
    if alone:
        read_picture(args.image)  # to see, before the weights are read, that it can be
    folder = next(iter(targets.values())).parent
    report(check_work_dir(str(folder), '--out') + check_checkpoint_file(args.checkpoint))
    shape = args.shape and (args.shape[0], args.shape[1])
    if not shape and not (cfg.get('test_dataloader') or {}).get('dataset'):
        shape = usual_image_size(cfg, 'test')
    model = read_model(cfg, args.checkpoint)
    if args.ratios is not None:
        find_backbone(model).set_pruning_ratios(read_ratios(args.ratios))
    elif args.half_size:
        find_backbone(model).set_pruning_ratios(KEPT_RATIO)
    names = class_names(cfg, args.checkpoint)
    broken = []
    for path, target in progress_bar('Drawing', targets.items(), quiet=alone):
        try:
            read_picture(path)
        except BadInputError:
            broken.append(path)
            continue
        shown = (
            squeezed(path, cfg, shape)
            if shape
            else through_test_pipeline(path, cfg, model.data_preprocessor)
        )
        counts, layers, beside, title = look(model, cfg, shown, names, args.score_thr)
        share = float(counts[counts >= 0].mean()) / layers
        panels = [(beside, title)]
        if args.half_size:
            small, cost = dense_at_half_size(model, cfg, shown, names, args.score_thr)
            panels = [(beside, title + cost), small]
        draw(shown.original, counts, layers, panels, share).savefig(target)
        print(f'written: {target} (on average {share:.0%} of the {layers} layers computed a pixel)')
    if broken:
        raise BadInputError(
            f'{len(broken)} of {len(targets)} files are not images, and were left out: '
            f'{", ".join(broken[:3])}; mend or remove them.'
        )


if __name__ == '__main__':
    run(main)
