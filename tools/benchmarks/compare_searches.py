"""Compares ways of searching, uniform ratios and dense, after the same finetuning.

Each search starts from one adapted checkpoint with the same budgets and evaluations and another
seed; each winner is finetuned by the same config with the same seeds. Finished runs are not
repeated.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, product
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # Python adds a script's folder alone

from sparse_mm.engine.checks import check_checkpoint_file, check_work_dir, report
from sparse_mm.engine.command_line import read_config, run, whole
from sparse_mm.engine.deployment import DeployedBackbone, undeploy
from sparse_mm.engine.files import write_atomically
from sparse_mm.engine.hosts import metric_of
from sparse_mm.engine.image_sizes import usual_image_size
from sparse_mm.engine.inspection import backbone_shape, build_backbone, find_backbone
from sparse_mm.engine.search.losses import LOSS
from sparse_mm.engine.search.settings import SearchSettings
from sparse_mm.errors import BadInputError
from sparse_mm.search.cost import CostModel, LatencyTable
from sparse_mm.search.evolution import STRATEGIES
from sparse_mm.search.space import RatioSpace
from sparse_mm.search.timing import measure_whole
from tools.benchmarks.tool_runs import RUNNING, call, digest_of, keep_settings, start_anew

COCO = {'coco/bbox_mAP': 'box mAP', 'coco/segm_mAP': 'mask mAP'}


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('config', help='config of the search')
    parser.add_argument('tune_config', help='config of the finetuning')
    parser.add_argument('checkpoint', help='weights adapted to sparsity')
    parser.add_argument('--budget', nargs='+', required=True, help='as for tools/search.py')
    parser.add_argument(
        '--evaluations',
        type=whole,
        default=40,
        help='settings to score for each budget (default: 40)',
    )
    parser.add_argument(
        '--strategies',
        nargs='+',
        choices=STRATEGIES,
        default=['random', 'evolution'],
        help='strategies to compare (default: random evolution)',
    )
    parser.add_argument(
        '--seeds',
        type=whole,
        nargs='+',
        default=[0, 1, 2],
        help='seeds of the searches (default: 0 1 2)',
    )
    parser.add_argument(
        '--tune-seeds',
        type=whole,
        nargs='+',
        default=[0, 1, 2],
        help='seeds of the finetunings (default: 0 1 2)',
    )
    parser.add_argument(
        '--jobs', type=whole, default=1, help='searches and finetunings at a time (default: 1)'
    )
    parser.add_argument('--work-dir', required=True, help='folder for all runs and the result')
    return parser.parse_args()


class Comparison:
    """All runs of a comparison.

    Args:
        args: The command line.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.folder = Path(args.work_dir)
        cfg = read_config(args.config)
        settings = SearchSettings.from_config(cfg, {**undeploy(cfg), 'budget': args.budget})
        self.settings, self.budgets = settings, settings.budgets
        self.metric = metric_of(cfg) if settings.metric == LOSS else settings.metric
        self.device = 'cuda' if torch.cuda.is_available() else 'cpu'
        self.backbone = find_backbone(build_backbone(cfg)).to(self.device)
        self.space = RatioSpace.build(self.backbone.depths, settings.choices, settings.stage_limits)
        image_size = settings.image_size or usual_image_size(cfg, 'val')
        self.shape = backbone_shape(self.backbone, image_size, settings.batch)

    def table(self) -> Path:
        """The latency table that all searches share."""
        path = self.folder / 'latency_table.json'
        if not path.is_file():
            print('measuring latencies', flush=True)
            settings = self.settings
            call(
                *(self.folder / 'latency_table.log', 1, 'analysis_tools/latency_table.py'),
                *(self.args.config, '--out', path, '--batch', settings.batch),
                *('--shape', *self.shape.image_size, '--device', self.device),
                *('--choices', *settings.choices, '--dtype', settings.dtype),
                *('--engine', settings.engine, '--precision', settings.precision),
            )
        return path

    def parallel(self, work: Callable[..., Any], runs: Sequence[tuple]) -> list[Any]:
        """Does some runs at a time, and gives all results."""
        with ThreadPoolExecutor(self.args.jobs) as pool:
            try:
                return list(pool.map(lambda run: work(*run), runs))
            except BaseException as error:
                pool.shutdown(wait=False, cancel_futures=True)
                try:
                    # After one failure those that have begun go on to their end, for a later start.
                    if isinstance(error, Exception):
                        pool.shutdown()
                finally:
                    # After SIGTERM and Ctrl-C, also while waiting for these, nothing goes on.
                    for child in tuple(RUNNING):
                        child.terminate()
                raise

    def search(self, strategy: str, seed: int) -> Path:
        """Searches all budgets; gives the folder of the results."""
        work_dir = self.folder / f'search_{strategy}_{seed}'
        result = work_dir / 'sparsity_search'
        if not (work_dir / 'done').is_file():
            print(f'search: {strategy}, seed {seed}', flush=True)
            log = self.folder / f'search_{strategy}_{seed}.log'
            call(
                *(log, self.args.jobs, 'search.py', self.args.config, self.args.checkpoint),
                *('--work-dir', work_dir, '--strategy', strategy, '--seed', seed),
                *('--budget', *self.args.budget, '--evaluations', self.args.evaluations),
                *('--latency-table', self.table()),
            )
            (work_dir / 'done').touch()
        return result

    def tune(self, ratios: Any, seed: int) -> dict[str, float]:
        """Finetunes at fixed ratios; gives the metrics. Methods that agree share a run."""
        name = '_'.join('-'.join(f'{100 * ratio:.0f}' for ratio in stage) for stage in ratios)
        work_dir = self.folder / f'tune_{name}_{seed}'
        result = work_dir / 'metrics.json'
        if not result.is_file():
            print(f'finetuning: {ratios}, seed {seed}', flush=True)
            # One that was interrupted starts anew: resumed after its last checkpoint, it would end
            # without the evaluation.
            start_anew(work_dir)
            written = self.folder / 'ratios' / f'{name}_{seed}.json'
            written.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(written, json.dumps(ratios))
            log = self.folder / f'tune_{name}_{seed}.log'
            overrides = f'load_from={self.args.checkpoint}', f'randomness.seed={seed}'
            call(
                *(log, self.args.jobs, 'train.py', self.args.tune_config),
                *('--work-dir', work_dir, '--cfg-options', *overrides),
                f'model.backbone.pruning_ratios={written}',
            )
            newest = max(work_dir.glob('*/vis_data/scalars.json'))
            lines = [json.loads(line) for line in newest.read_text().splitlines()]
            metrics = [line for line in lines if self.metric in line]
            if not metrics:
                raise BadInputError(
                    f'The finetuning in {str(work_dir)!r} logged no {self.metric!r}; its config '
                    f'must evaluate by the metric of {self.args.config!r}.'
                )
            write_atomically(result, json.dumps(metrics[-1]))
        return json.loads(result.read_text())

    def rows(self) -> list[dict[str, Any]]:
        """Runs everything; one row for each method and budget."""
        costs = CostModel(self.shape, self.space, LatencyTable.read(self.table()))
        seeds = self.args.tune_seeds
        dense = self.space.dense
        rows: list[dict[str, Any]] = [dict(budget='', method='dense', ratios=[dense])]
        searches: dict[str, list[Path]] = {}
        runs = list(product(dict.fromkeys(self.args.strategies), self.args.seeds))
        for (strategy, _), folder in zip(runs, self.parallel(self.search, runs), strict=True):
            searches.setdefault(strategy, []).append(folder)
        for budget in self.budgets:
            # The first, least pruned one; below the range is allowed to it, above is not.
            uniform = [
                candidate
                for candidate in self.space.uniform()
                if budget.excess(costs.cost(candidate, budget.unit)) <= 0
            ][:1]
            if uniform:
                rows.append(dict(budget=str(budget), method='uniform', ratios=uniform))
            for strategy, folders in searches.items():
                name = f'best_{budget.slug}.json' if len(self.budgets) > 1 else 'best.json'
                best = [json.loads((folder / name).read_text()) for folder in folders]
                row = dict(budget=str(budget), method=strategy)
                row['ratios'] = [_tuple(item['pruning_ratios']) for item in best]
                row['search'] = [item['score'] for item in best]
                rows.append(row)
        tunings = [[(ratios, seed) for ratios in row['ratios'] for seed in seeds] for row in rows]
        self.parallel(self.tune, sorted(set(chain(*tunings))))
        for row, runs in zip(rows, tunings, strict=True):
            row['metrics'] = [self.tune(*run) for run in runs]  # read, by now
            row['macs'] = [costs.cost(ratios, 'macs') for ratios in row['ratios']]
        self.measure(rows)
        return rows

    def measure(self, rows: list[dict[str, Any]]) -> None:
        """Measures all settings whole, side by side."""
        settings = list(dict.fromkeys(ratios for row in rows for ratios in row['ratios']))
        backbone: Any = self.backbone
        if self.settings.deployed:
            # One graph more than settings: in turns, none is ever made again.
            engine = self.settings.engine, self.settings.precision
            backbone = DeployedBackbone(backbone, *engine, max_graphs=len(settings) + 1)
        times = measure_whole(backbone, self.shape, settings, self.settings.dtype, seconds=120)
        measured = dict(zip(settings, times, strict=True))
        dense = measured[rows[0]['ratios'][0]]
        for row in rows:
            row['latency'] = [measured[ratios] / dense for ratios in row['ratios']]

    def lines(self, rows: list[dict[str, Any]]) -> list[str]:
        """The table of the rows, in Markdown."""
        shown = {self.metric: self.metric, **COCO} if self.metric not in COCO else COCO
        runs = [metrics for row in rows for metrics in row['metrics']]
        shown = {name: head for name, head in shown.items() if all(name in run for run in runs)}
        heads = 'budget', 'method', *shown.values(), 'MACs', 'latency', 'score in the search'
        lines = [f'| {" | ".join(heads)} |', f'|{" --- |" * len(heads)}']
        for row in rows:
            cells = [row['budget'], row['method']]
            cells += [spread([metrics[name] for metrics in row['metrics']]) for name in shown]
            cells += [spread(row['macs']), spread(row['latency'])]
            cells.append(spread(row['search']) if 'search' in row else '')
            lines.append(f'| {" | ".join(cells)} |')
        return lines


def _tuple(ratios: list[list[float]]) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(stage) for stage in ratios)


def spread(values: Sequence[float]) -> str:
    """Mean and standard deviation."""
    return f'{mean(values):.3f} ± {stdev(values) if len(values) > 1 else 0:.3f}'


def main() -> None:
    """Prints and writes the table."""
    args = parse_args()
    if min(args.evaluations, args.jobs) < 1:
        raise BadInputError('--evaluations and --jobs must be at least 1.')
    report(check_work_dir(args.work_dir) + check_checkpoint_file(args.checkpoint))
    comparison = Comparison(args)
    weights = hashlib.sha256(Path(args.checkpoint).read_bytes()).hexdigest()
    keep_settings(
        comparison.folder,
        budget=args.budget,
        evaluations=args.evaluations,
        checkpoint=weights,
        config=digest_of(read_config(args.config)),
        tune_config=digest_of(read_config(args.tune_config)),
    )
    rows = comparison.rows()
    write_atomically(comparison.folder / 'comparison.json', json.dumps(rows, indent=1))
    table = '\n'.join(comparison.lines(rows))
    write_atomically(comparison.folder / 'comparison.md', table + '\n')
    print(table)


if __name__ == '__main__':
    run(main)
