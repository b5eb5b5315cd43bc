"""Compares ways of searching, uniform ratios and dense, after the same finetuning.

Each search starts from one adapted checkpoint with the same budgets and evaluations and another
seed; each winner is finetuned by the same config with the same seeds. Finished runs are not
repeated.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, product
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from sparse_mm.engine.checks import check_checkpoint_file, check_work_dir, report
from sparse_mm.engine.children import ending_with_parent
from sparse_mm.engine.command_line import read_config, run, whole
from sparse_mm.engine.files import write_atomically
from sparse_mm.engine.image_sizes import usual_image_size
from sparse_mm.engine.inspection import backbone_shape, build_backbone, find_backbone
from sparse_mm.errors import BadInputError
from sparse_mm.search.budget import Budget
from sparse_mm.search.cost import CostModel, LatencyTable
from sparse_mm.search.evolution import STRATEGIES
from sparse_mm.search.space import RatioSpace
from sparse_mm.search.timing import measure_whole

ROOT = Path(__file__).resolve().parents[2]
RUNNING: set[subprocess.Popen] = set()  # tools that have not ended


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


def call(log: Path, jobs: int, tool: str, *arguments: object) -> None:
    """Runs one of our tools, with its output in a file and its share of the CPU's threads.

    Raises:
        BadInputError: It failed.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open('w') as file:
        command = [sys.executable, str(ROOT / 'tools' / tool), *map(str, arguments)]
        # A container or taskset may leave fewer cores than the machine has.
        bound = hasattr(os, 'sched_getaffinity')
        cores = len(os.sched_getaffinity(0)) if bound else os.cpu_count() or 1
        threads = max(1, cores // jobs)
        env = {**os.environ, 'OMP_NUM_THREADS': str(threads)}
        options: dict[str, Any] = dict(stdout=file, stderr=subprocess.STDOUT, env=env)
        with subprocess.Popen(ending_with_parent(command), **options) as child:
            RUNNING.add(child)
            try:
                child.wait()
            except BaseException:
                child.terminate()
                raise
            finally:
                RUNNING.discard(child)
    if child.returncode:
        raise BadInputError(f'{tool} failed; its output is in {str(log)!r}.')


def keep_settings(folder: Path, **settings: Any) -> None:
    """Keeps what the runs of a folder have in common, after comparing it with what is kept.

    What earlier runs did not settle is added.

    Args:
        folder: Of the runs.
        settings: What JSON can hold.

    Raises:
        BadInputError: The folder has runs with other settings, or its settings cannot be read.
    """
    path = folder / 'settings.json'
    try:
        known = json.loads(path.read_text()) if path.exists() else {}
    except (OSError, ValueError) as error:
        raise BadInputError(
            f'{str(path)!r} cannot be read ({error}); start in another --work-dir.'
        ) from error
    if any(known.get(name, value) != value for name, value in settings.items()):
        raise BadInputError(
            f'{str(folder)!r} has runs with other settings ({json.dumps(known)} instead of '
            f'{json.dumps(settings)}); start in another --work-dir.'
        )
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(known | settings, indent=1) + '\n')


class Comparison:
    """All runs of a comparison.

    Args:
        args: The command line.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.folder = Path(args.work_dir)
        self.budgets = [Budget.parse(budget) for budget in args.budget]
        cfg = read_config(args.config)
        self.backbone = find_backbone(build_backbone(cfg))
        self.space = RatioSpace.build(self.backbone.depths)
        self.batch = 2
        self.shape = backbone_shape(self.backbone, usual_image_size(cfg, 'val'), self.batch)

    def table(self) -> Path:
        """The latency table that all searches share."""
        path = self.folder / 'latency_table.json'
        if not path.is_file():
            print('measuring latencies', flush=True)
            options = '--out', path, '--batch', self.batch
            log = self.folder / 'latency_table.log'
            call(log, 1, 'analysis_tools/latency_table.py', self.args.config, *options)
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
            metrics = [line for line in lines if any('mAP' in key for key in line)][-1]
            write_atomically(result, json.dumps(metrics))
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
        times = measure_whole(self.backbone, self.shape, settings, seconds=120)
        measured = dict(zip(settings, times, strict=True))
        dense = measured[rows[0]['ratios'][0]]
        for row in rows:
            row['latency'] = [measured[ratios] / dense for ratios in row['ratios']]


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
    )
    rows = comparison.rows()
    write_atomically(comparison.folder / 'comparison.json', json.dumps(rows, indent=1))
    lines = [
        '| budget | method | box mAP | mask mAP | MACs | latency | score in the search |',
        '| --- | --- | --- | --- | --- | --- | --- |',
    ]
    for row in rows:
        box, mask = (
            spread([metrics[f'coco/{kind}_mAP'] for metrics in row['metrics']])
            for kind in ('bbox', 'segm')
        )
        score = spread(row['search']) if 'search' in row else ''
        lines.append(
            f'| {row["budget"]} | {row["method"]} | {box} | {mask} | {spread(row["macs"])} | '
            f'{spread(row["latency"])} | {score} |'
        )
    table = '\n'.join(lines)
    write_atomically(comparison.folder / 'comparison.md', table + '\n')
    print(table)


if __name__ == '__main__':
    run(main)
