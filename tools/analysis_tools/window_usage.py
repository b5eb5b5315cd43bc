"""Measures how much of the image and of its objects pruning skips, and how much is padding.

Windows at the edges of a map can be mostly padding. They count as windows, in every ratio and in
every MAC, but skipping them skips little of the image. This runs a model on images of its test set
and counts tokens that are there. Where the test set has boxes, it also counts those inside them: a
ranking is as good as chance if it skips as much of the objects as of the image.

python tools/analysis_tools/window_usage.py CONFIG --checkpoint WEIGHTS.pth --ratios 0.5
"""

import argparse
import json
import sys
from contextlib import redirect_stdout
from typing import Any

import sparse_mm  # noqa: F401, before MMEngine, which asks for the home of a user without one

# isort: split
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, MODELS
from torch import nn

from sparse_mm.checkpoints import read_checkpoint
from sparse_mm.engine.checks import check_data, check_part, report
from sparse_mm.engine.command_line import add_config_options, load_config, read_ratios, run, whole
from sparse_mm.engine.computed_windows import BackbonePass, WindowRecorder
from sparse_mm.engine.inspection import (
    build_backbone,
    build_model,
    find_backbone,
    preprocessor_config,
    reads_texts,
)
from sparse_mm.engine.quiet import without_prints
from sparse_mm.errors import BadInputError
from sparse_mm.named_weights import part_of, weights_of


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_config_options(parser)
    parser.add_argument(
        '--checkpoint',
        help='weights, which decide what windows are selected (default: random ones)',
    )
    parser.add_argument(
        '--ratios',
        help="pruning ratios, as JSON or a JSON file; by default the config's or the checkpoint's",
    )
    parser.add_argument('--images', type=whole, default=8, help='test samples to run (default: 8)')
    parser.add_argument('--json', action='store_true', help='print one line of JSON')
    return parser.parse_args()


class UsageCounter:
    """Counts the tokens that the blocks of a SparseViT computed.

    Args:
        stages: How many stages it has.

    Attributes:
        computed: For each stage, rows of its windows that were computed.
        real: Of those, rows that are tokens of the map and not padding.
        window_area: Rows of all windows, each block and pass counted.
        tokens: Tokens of the map, each block and pass counted.
        on_objects: Of the boxes' area, in tokens, what was computed, each block and pass counted.
        objects: The boxes' area, in tokens, each block and pass counted.
    """

    def __init__(self, stages: int) -> None:
        self.computed, self.real = [0] * stages, [0] * stages
        self.window_area, self.tokens = [0] * stages, [0] * stages
        self.on_objects, self.objects = [0.0] * stages, [0.0] * stages

    def add(self, passes: list[BackbonePass], boxes: np.ndarray | None = None) -> None:
        """Counts passes of the backbone.

        Args:
            passes: The passes.
            boxes: ``(N, 4)``, corners of the objects in pixels of the one image of all passes;
                None if they are not known.
        """
        for one in passes if boxes is not None else ():
            inside = covered(boxes, *one.images.shape[-2:])
            for block in one.blocks:
                shares = token_shares(inside, block.hw_shape, block.stride)
                self.objects[block.stage] += float(shares.sum())
                self.on_objects[block.stage] += float((shares * block.tokens()[0]).sum())
        for block in (block for one in passes for block in one.blocks):
            kept, (height, width), side = block.kept, block.hw_shape, block.window_size
            images, windows, length = kept.shape
            rows, padding = images * windows * length, kept.padding
            self.computed[block.stage] += rows
            self.real[block.stage] += rows - (0 if padding is None else int(padding.sum()))
            self.tokens[block.stage] += images * height * width
            area = -(-height // side) * -(-width // side) * side**2
            self.window_area[block.stage] += images * area

    def rows(self) -> list[dict[str, float]]:
        """The shares of each stage; without boxes there is none of the objects."""
        columns = zip(self.computed, self.real, self.window_area, self.tokens, strict=True)
        rows = [
            dict(
                padding=1 - tokens / area,
                windows_skipped=1 - computed / area,
                image_skipped=1 - real / tokens,
            )
            for computed, real, area, tokens in columns
        ]
        for row, computed, area in zip(rows, self.on_objects, self.objects, strict=True):
            if area:
                row['objects_skipped'] = 1 - computed / area
        return rows


def covered(boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    """Which pixels are inside a box: ``(height, width)`` bool, from ``(N, 4)`` corners."""
    inside = np.zeros((height, width), bool)
    for left, top, right, bottom in boxes.clip(min=0).round().astype(int):
        inside[top:bottom, left:right] = True
    return inside


def token_shares(
    inside: np.ndarray, hw_shape: tuple[int, int], stride: tuple[int, int]
) -> np.ndarray:
    """How much of each token's pixels are marked: ``(H, W)``, from the pixels of the image."""
    (rows, columns), (height, width) = hw_shape, stride
    pixels = np.zeros((rows * height, columns * width))
    part = inside[: len(pixels), : pixels.shape[1]]
    pixels[: part.shape[0], : part.shape[1]] = part
    return pixels.reshape(rows, height, columns, width).mean(axis=(1, 3))


def boxes_of(dataset: Any, index: int, sample: Any) -> np.ndarray | None:
    """The boxes of a sample, ``(N, 4)`` corners in pixels of what the model gets.

    Test pipelines load boxes before or after they resize the image, so these are the annotation's.

    Args:
        dataset: The data set.
        index: Of the sample.
        sample: What the pipeline made of it; plain data sets give a tuple.

    Returns:
        None for several images, for flipped, cropped or centred ones, and without upright boxes.
    """
    if not isinstance(sample, dict):
        return None
    meta = getattr(sample.get('data_samples'), 'metainfo', {})
    inputs, shape = sample.get('inputs'), meta.get('ori_shape')
    inputs = inputs.get('img') if isinstance(inputs, dict) else inputs  # mmdet3d's
    if not isinstance(inputs, torch.Tensor) or inputs.ndim != 3 or not shape:
        return None
    # (w, h), or one factor for both.
    factors = np.broadcast_to(np.ravel(meta.get('scale_factor', 1.0))[:2], 2).astype(float)
    expected = np.round(np.asarray(shape[:2]) * factors[::-1])
    cropped = (np.asarray(meta.get('img_shape', shape)[:2]) < expected - 1).any()
    if meta.get('flip') or 'pad_param' in meta or cropped:
        return None
    info = dataset.get_data_info(index) if hasattr(dataset, 'get_data_info') else {}
    found = [
        one['bbox']
        for one in info.get('instances') or ()
        if len(one.get('bbox', ())) == 4 and not one.get('ignore_flag')  # not rotated ones
    ]
    return np.asarray(found, float) * np.tile(factors, 2) if found else None


class BackboneAlone(nn.Module):
    """A model's backbone behind its preprocessor, for models whose other parts are not wanted.

    Args:
        cfg: The config.
    """

    def __init__(self, cfg: Config) -> None:
        super().__init__()
        self.backbone = build_backbone(cfg)
        self.data_preprocessor = MODELS.build(preprocessor_config(cfg))

    def test_step(self, batch: dict) -> tuple[torch.Tensor, ...]:
        """Runs it on a batch of the test set."""
        maps: tuple[torch.Tensor, ...] = self.backbone(
            self.data_preprocessor(batch, False)['inputs']
        )
        return maps


@torch.no_grad()
def measure(args: argparse.Namespace) -> list[dict[str, float]]:
    """Runs the model on test images and gives the shares of each stage."""
    if args.images < 1:
        raise BadInputError('--images must be at least 1.')
    cfg = load_config(args)
    report(check_data(cfg, ('test',)))
    # A text model would be fetched, and asks for texts; the backbone sees none of them.
    model = BackboneAlone(cfg) if reads_texts(cfg.model) else build_model(cfg)
    backbone = find_backbone(model)
    if args.checkpoint:
        report(check_part(args.checkpoint, backbone))
        weights = weights_of(read_checkpoint(args.checkpoint), args.checkpoint)
        backbone.load_state_dict(part_of(weights, backbone.state_dict()), strict=False)
    if args.ratios is not None:
        backbone.set_pruning_ratios(read_ratios(args.ratios))
    with without_prints():
        dataset: Any = DATASETS.build(cfg.test_dataloader.dataset)
    counter, recorder = UsageCounter(len(backbone.stages)), WindowRecorder(backbone)
    for i in range(min(args.images, len(dataset))):
        sample = dataset[i]
        model.test_step(pseudo_collate([sample]))
        counter.add(recorder.passes, boxes_of(dataset, i, sample))
        recorder.passes.clear()
    return counter.rows()


def main() -> None:
    """Prints the shares as a table."""
    args = parse_args()
    with redirect_stdout(sys.stderr):
        rows = measure(args)
    if args.json:
        print(json.dumps(rows))
        return
    names = ['padding in windows', 'windows skipped', 'of the image skipped']
    if any('objects_skipped' in row for row in rows):
        names.append('of the objects skipped')
    print('| stage |', ' | '.join(names), '|')
    print('| --- |' + ' --- |' * len(names))
    for i, row in enumerate(rows, 1):
        shares = ' | '.join(f'{share:.1%}' for share in row.values())
        print(f'| {i} | {shares} |')


if __name__ == '__main__':
    run(main)
