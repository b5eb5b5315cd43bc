"""Computes the share of SparseFormer's sampling points on objects, for each iteration.

python tools/analysis_tools/focus_share.py configs/sparseformer_small_objects.py CHECKPOINT

The test set must be one of ShapePictures, which contain the positions of the shapes.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import sparse_mm  # noqa: F401, before MMEngine, which asks for the home of a user without one

# isort: split
import torch
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # Python adds a script's folder alone

from sparse_mm.checkpoints import read_checkpoint
from sparse_mm.engine.checks import (
    check_checkpoint,
    check_checkpoint_file,
    check_settings,
    report,
)
from sparse_mm.engine.command_line import add_config_options, load_config, run, whole
from sparse_mm.engine.inspection import build_model, main_backbone
from sparse_mm.engine.quiet import init_weights_quietly
from sparse_mm.errors import BadInputError
from sparse_mm.named_weights import weights_of
from sparse_mm.progress import progress_bar
from tools.benchmarks.sampling_points import sampling_points_of, share_on_objects

BATCH = 25


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_config_options(parser)
    parser.add_argument('checkpoint', nargs='?', help='its weights (default: untrained)')
    parser.add_argument('--images', type=whole, help='number of images (default: all)')
    parser.add_argument('--json', action='store_true', help='print one line of JSON')
    return parser.parse_args()


def measure(model: Any, dataset: Any, count: int) -> dict[str, Any]:
    """Runs a model on the first pictures of a data set and records where it samples.

    Args:
        model: A classifier with a SparseFormer.
        dataset: Pictures with the masks of their objects.
        count: How many pictures.

    Returns:
        ``area``, the objects' mean share of a picture; ``shares`` and ``sides``, for each
        iteration the mean share of points on objects and the RoIs' median side, of the image's;
        ``accuracy``.
    """
    model.eval()
    shares, sides, areas, right = [], [], [], 0
    for first in progress_bar('Sampling', range(0, count, BATCH)):
        chosen = range(first, min(first + BATCH, count))
        masks = torch.stack([torch.from_numpy(dataset.get_data_info(i)['mask']) for i in chosen])
        batch = pseudo_collate([dataset[i] for i in chosen])
        data = model.data_preprocessor(batch, False)
        found = sampling_points_of(main_backbone(model), data['inputs'])
        shares.append(torch.stack([share_on_objects(points, masks) for _, points in found], dim=1))
        sides.append(
            torch.stack([(rois[..., 2:] - rois[..., :2]).flatten(1) for rois, _ in found], dim=1)
        )
        areas.append(masks.flatten(1).float().mean(dim=1))
        with torch.no_grad():
            samples = model(**data, mode='predict')
        right += sum(int(sample.pred_label) == int(sample.gt_label) for sample in samples)
    return dict(
        pictures=count,
        accuracy=right / count,
        area=float(torch.cat(areas).mean()),
        shares=torch.cat(shares).mean(dim=0).tolist(),
        sides=torch.cat(sides).transpose(0, 1).flatten(1).median(dim=1).values.tolist(),
    )


def main() -> None:
    """Prints the share of each iteration."""
    args = parse_args()
    if args.images is not None and args.images < 1:
        raise BadInputError(f'--images must be at least 1, not {args.images}.')
    cfg = load_config(args)
    report(check_settings(cfg, 'test'))
    if args.checkpoint:
        report(check_checkpoint_file(args.checkpoint))
    model = build_model(cfg)
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    if 'mask' not in dataset.get_data_info(0):
        raise BadInputError(
            'The test set has no positions of its objects; it must be one of ShapePictures.'
        )
    count = min(args.images or len(dataset), len(dataset))
    if args.checkpoint:
        report(check_checkpoint(args.checkpoint, model, whole=True))
        model.load_state_dict(weights_of(read_checkpoint(args.checkpoint), args.checkpoint))
    else:
        init_weights_quietly(model)
    found = measure(model, dataset, count)
    if args.json:
        print(json.dumps(found))
        return
    print(
        f'{found["pictures"]} pictures, accuracy {found["accuracy"]:.1%}; objects cover '
        f'{found["area"]:.2%} of a picture'
    )
    print('| iteration | points on objects | of the first iteration | RoI side (median) |')
    print('| --- | --- | --- | --- |')
    for i, (share, side) in enumerate(zip(found['shares'], found['sides'], strict=True), start=1):
        first = found['shares'][0]
        growth = f'{share / first:.2f}×' if first else '–'
        print(f'| {i} | {share:.2%} | {growth} | {side:.2f} |')


if __name__ == '__main__':
    run(main)
