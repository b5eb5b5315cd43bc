"""Measures how far each engine's outputs are from PyTorch's in float32, on a config's test images.

Every output is compared as a whole: the norm of the difference over the norm. Rounding can also
change which windows are kept: a second graph of each engine outputs the windows that its blocks
compute, and the share of PyTorch's windows that are missing is reported. With --metric the whole
model is also tested by the config's evaluator, with its backbone in each engine.

python tools/analysis_tools/engine_error.py CONFIG --checkpoint WEIGHTS.pth --ratios 0 0.3 0.6
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from copy import deepcopy
from pathlib import Path
from statistics import mean
from typing import Any

import sparse_mm  # noqa: F401, before MMEngine, which asks for the home of a user without one

# isort: split
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS
from mmengine.runner import Runner
from torch import Tensor, nn

from sparse_mm.checkpoints import read_checkpoint
from sparse_mm.deploy import ENGINES, PRECISIONS, DeployedBackbone, check_engine
from sparse_mm.deploy.engine import Graph, Pass
from sparse_mm.deploy.export import write_onnx
from sparse_mm.deploy.structure import flat_outputs, output_names
from sparse_mm.engine.checks import check_checkpoint, check_data, report
from sparse_mm.engine.command_line import add_config_options, load_config, read_ratios, run, whole
from sparse_mm.engine.deployment import undeploy
from sparse_mm.engine.inspection import build_model, our_backbone
from sparse_mm.engine.quiet import without_prints
from sparse_mm.engine.search.evaluators import ScoringEvaluator
from sparse_mm.errors import BadInputError, nearest
from sparse_mm.models.backbones.swin_backbone import SwinBackbone
from sparse_mm.models.layers.windows import KeptWindows
from sparse_mm.named_weights import weights_of
from sparse_mm.progress import progress_bar


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_config_options(parser)
    parser.add_argument('--checkpoint', help='weights (default: random ones)')
    parser.add_argument(
        '--ratios',
        nargs='+',
        help='pruning ratios, each as JSON or a JSON file (default: those of config or checkpoint)',
    )
    parser.add_argument(
        '--engine',
        nargs='+',
        choices=list(ENGINES),
        default=['torch', 'onnxruntime', 'openvino'],
        help='engines to compare (default: torch onnxruntime openvino)',
    )
    known = list(PRECISIONS)
    parser.add_argument(
        '--precision', nargs='+', choices=known, default=known, help='precisions (default: all)'
    )
    parser.add_argument('--images', type=whole, default=8, help='test samples to run (default: 8)')
    parser.add_argument(
        '--metric',
        nargs='+',
        default=[],
        help="values of the config's test_evaluator to compute on the test set in each engine",
    )
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


class ComputedRows(nn.Module):
    """A SparseViT that gives, in place of its maps, the rows that its blocks compute.

    Args:
        backbone: The backbone; a copy of it is kept.
    """

    def __init__(self, backbone: SwinBackbone) -> None:
        super().__init__()
        self.backbone = deepcopy(backbone)
        self.kept: list[KeptWindows] = []
        for stage in self.backbone.stages:
            for block in stage.blocks:
                block.register_forward_pre_hook(self._note)

    def _note(self, module: nn.Module, args: tuple) -> None:
        self.kept.append(args[1])

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Gives ``(B * k, N)`` int64 for each block that leaves windows out."""
        self.kept.clear()
        self.backbone(images)
        ratios = [ratio for stage in self.backbone.ratios_in_force() for ratio in stage]
        found = [
            kept.rows.view(-1, kept.shape[2])
            for kept, ratio in zip(self.kept, ratios, strict=True)
            if ratio.numerator
        ]
        self.kept.clear()
        return tuple(found)


def windows_of(rows: Sequence[Tensor]) -> list[set[int]]:
    """The windows that each block computes, image by image, each by the first of its rows."""
    return [{*block.amin(dim=1).tolist()} for block in rows]


def share_changed(first: Sequence[set[int]], second: Sequence[set[int]]) -> float:
    """The share of the windows kept in one list of blocks that are not kept in the other."""
    kept = sum(map(len, first))
    return sum(len(a - b) for a, b in zip(first, second, strict=True)) / max(1, kept)


class Comparison:
    """A backbone in PyTorch's float32, and the same on engines.

    Args:
        backbone: With its weights and ratios, in evaluation mode.
        engines: Pairs of engine and precision.
        folder: For graphs that are of no use afterwards.
    """

    def __init__(
        self, backbone: nn.Module, engines: Sequence[tuple[str, str]], folder: Path
    ) -> None:
        self.backbone = backbone
        self.engines = {pair: DeployedBackbone(backbone, *pair).eval() for pair in engines}
        self.errors: dict[tuple[str, str], list[list[float]]] = {pair: [] for pair in engines}
        self.changed: dict[tuple[str, str], list[float]] = {pair: [] for pair in engines}
        self.folder = folder
        self.rows_of: ComputedRows | None = None
        if isinstance(backbone, SwinBackbone) and any(map(any, backbone.ratios_in_force())):
            self.rows_of = ComputedRows(backbone).eval()
        self._windows: dict[tuple, Pass] = {}

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
        if self.rows_of is not None:
            exact = windows_of(self.rows_of(images))
            for pair, changed in self.changed.items():
                found = windows_of(self._windows_in(pair, images)(images))
                changed.append(share_changed(exact, found))

    def _windows_in(self, pair: tuple[str, str], images: Tensor) -> Pass:
        """What computes on an engine which rows the blocks compute."""
        key = (*pair, *images.shape)
        if key not in self._windows:
            copy: Any = deepcopy(self.rows_of)
            names = [f'rows{i}' for i in range(len(copy(images)))]
            path = self.folder / f'{len(self._windows)}.onnx'

            def onnx() -> Path:
                write_onnx(copy, images, path, {}, names)
                return path

            self._windows[key] = ENGINES[pair[0]].prepare(Graph(copy, images, pair[1], onnx))
        return self._windows[key]

    def rows(self, names: Sequence[str]) -> list[dict[str, Any]]:
        """For each engine and precision the mean error of each output; and the windows' share."""
        found = []
        for (engine, precision), errors in self.errors.items():
            means = map(mean, zip(*errors, strict=True))
            row = dict(
                engine=engine, precision=precision, errors=dict(zip(names, means, strict=True))
            )
            if self.rows_of is not None:
                row['windows_changed'] = mean(self.changed[engine, precision])
            found.append(row)
        return found


@contextmanager
def in_place_of(model: nn.Module, backbone: nn.Module, other: nn.Module) -> Iterator[None]:
    """Puts another module where a model's backbone is."""
    (place,) = [
        (parent, name)
        for parent in model.modules()
        for name, child in parent.named_children()
        if child is backbone
    ]
    setattr(*place, other)
    try:
        yield
    finally:
        setattr(*place, backbone)


class ModelTest:
    """Tests a model by a config's evaluator.

    Args:
        cfg: The config.
        model: Its model, in evaluation mode.
        wanted: Which of the evaluator's values.

    Raises:
        BadInputError: The evaluator does not give one of them.
    """

    def __init__(self, cfg: Config, model: Any, wanted: Sequence[str]) -> None:
        self.model = model
        self.wanted = wanted
        self.loader: Any = Runner.build_dataloader(cfg.test_dataloader)
        self.evaluator = ScoringEvaluator(cfg.test_evaluator, self.loader.dataset)
        batch = pseudo_collate([self.loader.dataset[0]])
        self.evaluator.process(model.test_step(batch), batch)
        found = self._values(1)
        for name in wanted:
            if name not in found:
                raise BadInputError(
                    f'--metric {name}: the evaluator gives {", ".join(sorted(found))}'
                    f'{nearest(name, found) or "."}'
                )

    def __call__(self, what: str) -> dict[str, float]:
        """Tests it on the whole test set; the values are not rounded."""
        with progress_bar(f'Testing on {what}', total=len(self.loader)) as bar:
            for batch in self.loader:
                self.evaluator.process(self.model.test_step(batch), batch)
                bar.update()
        found = self._values(len(self.loader.dataset))
        return {name: float(found[name]) for name in self.wanted}

    def _values(self, samples: int) -> dict[str, float]:
        with without_prints():
            return self.evaluator.compute(range(samples))[0]


@torch.no_grad()
def measure(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Runs the engines on what the backbone sees of test images, one setting after the other."""
    if args.images < 1:
        raise BadInputError('--images must be at least 1.')
    pairs = variants(args.engine, args.precision)
    cfg = load_config(args)
    undeploy(cfg)
    report(check_data(cfg, ('test',)))
    model = build_model(cfg)
    backbone = our_backbone(model)
    if args.ratios is not None and not isinstance(backbone, SwinBackbone):
        raise BadInputError(f'--ratios: {type(backbone).__name__} cannot be pruned.')
    settings = [None] if args.ratios is None else list(map(read_ratios, args.ratios))
    for ratios in settings if args.ratios else []:
        backbone.set_pruning_ratios(ratios)  # refuses a wrong one before anything is computed
    if args.checkpoint:
        report(check_checkpoint(args.checkpoint, model, whole=True))
        weights = weights_of(read_checkpoint(args.checkpoint), args.checkpoint)
        model.load_state_dict(weights, strict=False)
    test = ModelTest(cfg, model, args.metric) if args.metric else None
    with without_prints():
        dataset: Any = DATASETS.build(cfg.test_dataloader.dataset)
    seen = images_of_backbone(model, backbone, dataset, args.images)
    found = []
    for number, ratios in enumerate(settings):
        if args.ratios:
            backbone.set_pruning_ratios(ratios)
        with tempfile.TemporaryDirectory() as folder:
            comparison = Comparison(backbone, pairs, Path(folder))
            for images in seen:
                comparison.add(images)
            rows = comparison.rows(output_names(backbone))
        if test is not None:
            for row, deployed in zip(rows, comparison.engines.values(), strict=True):
                with in_place_of(model, backbone, deployed):
                    row['metrics'] = test(f'{row["engine"]}, {row["precision"]}')
            exact = dict.fromkeys(rows[0]['errors'], 0.0)
            plain = dict(engine='torch', precision='float32', errors=exact, metrics=test('torch'))
            rows.insert(0, plain)
        label = args.ratios[number] if args.ratios else 'as saved'
        found += [dict(ratios=label, **row) for row in rows]
    return found


def images_of_backbone(model: Any, backbone: nn.Module, dataset: Any, number: int) -> list[Tensor]:
    """What the backbone sees of the first samples of a data set, sample by sample."""
    seen: list[Tensor] = []
    handle = backbone.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    for i in range(min(number, len(dataset))):
        model.test_step(pseudo_collate([dataset[i]]))
    handle.remove()
    return seen


def main() -> None:
    """Prints the errors as a table."""
    args = parse_args()
    with redirect_stdout(sys.stderr):
        rows = measure(args)
    if args.json:
        print(json.dumps(rows))
        return
    outputs = list(rows[0]['errors'])
    names = ['ratios', 'engine', 'precision', *outputs, 'windows that change', *args.metric]
    print(f'| {" | ".join(names)} |')
    print(f'| {" | ".join("---" for _ in names)} |')
    for row in rows:
        share = row.get('windows_changed')
        cells = [row['ratios'], row['engine'], row['precision']]
        cells += [f'{error:.1e}' if error else '0' for error in row['errors'].values()]
        cells.append('–' if share is None else f'{share:.2%}')
        cells += [f'{value:.4f}' for value in row.get('metrics', {}).values()]
        print(f'| {" | ".join(cells)} |')


if __name__ == '__main__':
    run(main)
