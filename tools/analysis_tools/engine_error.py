"""Measures how far each engine's outputs are from PyTorch's in float32, on a config's test images.

Every output is compared as a whole: the norm of the difference over the norm. In bfloat16 rounding
can also decide which windows are kept; which share of them changes is counted in PyTorch, whose
windows can be seen.

python tools/analysis_tools/engine_error.py CONFIG --checkpoint WEIGHTS.pth --images 16
"""

import argparse
import json
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from copy import deepcopy
from statistics import mean
from typing import Any

import torch
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS
from torch import Tensor, nn

from sparse_mm.checkpoints import read_checkpoint, weights_of
from sparse_mm.deploy import ENGINES, PRECISIONS, DeployedBackbone, check_engine
from sparse_mm.deploy.structure import flat_outputs, output_names
from sparse_mm.engine.checks import check_checkpoint, check_data, report
from sparse_mm.engine.command_line import add_config_options, load_config, read_ratios, run
from sparse_mm.engine.deployment import undeploy
from sparse_mm.engine.inspection import build_model, our_backbone
from sparse_mm.errors import BadInputError
from sparse_mm.models.backbones.swin_backbone import SwinBackbone
from sparse_mm.models.layers.windows import KeptWindows


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_config_options(parser)
    parser.add_argument('--checkpoint', help='weights (default: random ones)')
    parser.add_argument(
        '--ratios',
        help="pruning ratios, as JSON or a JSON file; by default the config's or the checkpoint's",
    )
    parser.add_argument(
        '--engine', nargs='+', choices=list(ENGINES), default=['torch', 'onnxruntime', 'openvino']
    )
    parser.add_argument(
        '--precision', nargs='+', choices=list(PRECISIONS), default=list(PRECISIONS)
    )
    parser.add_argument('--images', type=int, default=8, help='test samples to run (default: 8)')
    parser.add_argument('--json', action='store_true', help='print one line of JSON')
    return parser.parse_args()


def variants(engines: Sequence[str], precisions: Sequence[str]) -> list[tuple[str, str]]:
    """The engines in the precisions that they have, but for what they are compared with.

    Raises:
        BadInputError: An engine is not here, or nothing is left to compare.
    """
    found = [
        (engine, precision)
        for engine in engines
        for precision in precisions
        if precision in ENGINES[engine].precisions and (engine, precision) != ('torch', 'float32')
    ]
    for engine, precision in found:
        check_engine(engine, precision)
    if not found:
        raise BadInputError(
            'There is nothing to compare with PyTorch in float32; name another --engine or '
            '--precision that it computes in.'
        )
    return found


class WindowRecorder:
    """Notes which windows each block of a SparseViT keeps, as rows of its map, image by image."""

    def __init__(self, backbone: nn.Module) -> None:
        self.rows: list[set[int]] = []
        for stage in backbone.stages:  # type: ignore[union-attr]
            for block in stage.blocks:
                block.register_forward_pre_hook(self._note)

    def _note(self, module: nn.Module, args: tuple) -> None:
        kept: KeptWindows = args[1]
        # A window is known by its set of rows; the last ones of a window are padding's, if any.
        first = kept.rows.view(-1, kept.shape[2]).amin(dim=1)
        self.rows.append({*first.tolist()})


def share_changed(first: Sequence[set[int]], second: Sequence[set[int]]) -> float:
    """The share of the windows kept in one list of blocks that are not kept in the other."""
    kept = sum(map(len, first))
    return sum(len(a - b) for a, b in zip(first, second, strict=True)) / max(1, kept)


class Comparison:
    """A backbone in PyTorch's float32, and the same on engines.

    Args:
        backbone: With its weights and ratios, in evaluation mode.
        engines: Pairs of engine and precision.
    """

    def __init__(self, backbone: nn.Module, engines: Sequence[tuple[str, str]]) -> None:
        self.backbone = backbone
        self.engines = {pair: DeployedBackbone(backbone, *pair).eval() for pair in engines}
        self.errors: dict[tuple[str, str], list[list[float]]] = {pair: [] for pair in engines}
        self.changed: list[float] = []
        self.watched: list[tuple[nn.Module, WindowRecorder]] = []
        if isinstance(backbone, SwinBackbone):
            for dtype in (torch.float32, torch.bfloat16):
                copy = deepcopy(backbone).to(dtype)
                self.watched.append((copy, WindowRecorder(copy)))

    def add(self, images: Tensor) -> None:
        """Compares on some images, ``(B, C, H, W)``."""
        expected = flat_outputs(self.backbone(images))
        for pair, deployed in self.engines.items():
            found = flat_outputs(deployed(images))
            self.errors[pair].append(
                [
                    float((ours - theirs).norm() / theirs.norm().clamp(min=1e-12))
                    for ours, theirs in zip(found, expected, strict=True)
                ]
            )
        if self.watched:
            for copy, recorder in self.watched:
                recorder.rows.clear()
                copy(images.to(next(copy.parameters()).dtype))
            exact, rounded = (recorder.rows for _, recorder in self.watched)
            self.changed.append(share_changed(exact, rounded))

    def rows(self, names: Sequence[str]) -> list[dict[str, Any]]:
        """For each engine and precision the mean error of each output; and the windows' share."""
        found = []
        for (engine, precision), errors in self.errors.items():
            means = map(mean, zip(*errors, strict=True))
            row = dict(
                engine=engine, precision=precision, errors=dict(zip(names, means, strict=True))
            )
            if precision == 'bfloat16' and self.changed:
                row['windows_changed'] = mean(self.changed)
            found.append(row)
        return found


@torch.no_grad()
def measure(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Runs the engines on what the backbone sees of test images."""
    if args.images < 1:
        raise BadInputError('--images must be at least 1.')
    pairs = variants(args.engine, args.precision)
    cfg = load_config(args)
    undeploy(cfg)
    report(check_data(cfg, ('test',)))
    model = build_model(cfg)
    backbone = our_backbone(model)
    if args.checkpoint:
        report(check_checkpoint(args.checkpoint, model, whole=True))
        weights = weights_of(read_checkpoint(args.checkpoint), args.checkpoint)
        model.load_state_dict(weights, strict=False)
    if args.ratios is not None:
        if not isinstance(backbone, SwinBackbone):
            raise BadInputError(f'--ratios: {type(backbone).__name__} cannot be pruned.')
        backbone.set_pruning_ratios(read_ratios(args.ratios))
    dataset: Any = DATASETS.build(cfg.test_dataloader.dataset)
    seen: list[Tensor] = []
    handle = backbone.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    for i in range(min(args.images, len(dataset))):
        model.test_step(pseudo_collate([dataset[i]]))
    handle.remove()
    comparison = Comparison(backbone, pairs)
    for images in seen:
        comparison.add(images)
    return comparison.rows(output_names(backbone))


def main() -> None:
    """Prints the errors as a table."""
    args = parse_args()
    with redirect_stdout(sys.stderr):
        rows = measure(args)
    if args.json:
        print(json.dumps(rows))
        return
    names = list(rows[0]['errors'])
    print(f'| engine | precision | {" | ".join(names)} | windows that change |')
    print(f'| --- | --- | {" | ".join("---" for _ in names)} | --- |')
    for row in rows:
        errors = ' | '.join(f'{error:.1e}' for error in row['errors'].values())
        share = row.get('windows_changed')
        changed = '–' if share is None else f'{share:.2%}'
        print(f'| {row["engine"]} | {row["precision"]} | {errors} | {changed} |')


if __name__ == '__main__':
    run(main)
