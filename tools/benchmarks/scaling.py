"""Measures how many settings a search scores in a minute with several processes of one machine.

``python tools/benchmarks/scaling.py CONFIG [CHECKPOINT]`` runs a search for each number of
processes, started by ``torchrun``, in turns. The time is that of the evolution: scoring,
communication, and the files that rank 0 writes. It does not include the start, the first two
settings, which a single process scores, and the measurement of finalists. Each process has one
thread and loads its own images. Run it on an idle machine. Without a checkpoint the weights are
random, which only some metrics can score.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from mmengine.dist import barrier, is_main_process

from sparse_mm.engine.checks import (
    check_checkpoint_file,
    check_data,
    check_settings,
    check_work_dir,
    report,
)
from sparse_mm.engine.children import ending_with_parent
from sparse_mm.engine.command_line import (
    add_config_options,
    build_runner,
    load_config,
    run,
    set_default_loader_options,
    whole,
)
from sparse_mm.engine.search.settings import SearchSettings
from sparse_mm.engine.search.sparsity_search import FOLDER, SparsitySearch


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_config_options(parser)
    parser.add_argument('checkpoint', nargs='?', help='weights (default: random ones)')
    parser.add_argument(
        '--processes',
        type=whole,
        nargs='+',
        default=[1, 2, 3, 4],
        help='numbers of processes; rates are relative to the first (default: 1 2 3 4)',
    )
    parser.add_argument(
        '--evaluations', type=whole, default=48, help='settings to score (default: 48)'
    )
    parser.add_argument(
        '--population',
        type=whole,
        default=12,
        help='settings of a generation, best a multiple of each number of processes (default: 12)',
    )
    parser.add_argument(
        '--num-images', type=whole, default=50, help='images for a score (default: 50)'
    )
    parser.add_argument(
        '--turns', type=whole, default=3, help='searches for each number of processes (default: 3)'
    )
    parser.add_argument('--json', help='file for the figures')
    parser.add_argument('--result', help=argparse.SUPPRESS)  # of a process that is started here
    return parser.parse_args()


class TimedSearch(SparsitySearch):
    """Measures the time from the start of all processes to their end."""

    seconds = 0.0

    def _evolve(self, *args: Any) -> None:
        barrier()
        begun = time.monotonic()
        super()._evolve(*args)
        barrier()
        self.seconds += time.monotonic() - begun


def search_once(args: argparse.Namespace) -> None:
    """One of the started processes: searches, and rank 0 writes the seconds."""
    cfg = load_config(args)
    given = dict(
        budget='macs=0.7',
        evaluations=args.evaluations,
        population=args.population,
        parents=max(1, args.population // 3),
        num_images=args.num_images,
        finalists=0,
        latency_seconds=0.01,
    )
    settings = SearchSettings.from_config(cfg, given)
    cfg.custom_hooks = []
    cfg.load_from = None
    set_default_loader_options(cfg, 'val')
    cfg.val_dataloader.update(num_workers=0, persistent_workers=False)
    runner = build_runner(cfg)
    if args.checkpoint:
        runner.load_checkpoint(args.checkpoint)
    search = TimedSearch(runner, settings, Path(cfg.work_dir) / FOLDER)
    search.prepare()
    search.run()
    if is_main_process():
        Path(args.result).write_text(json.dumps(search.seconds))


def seconds_of(processes: int, words: list[str]) -> float:
    """Starts a search on so many processes and waits for its end.

    Args:
        processes: How many.
        words: The command line of this tool.

    Raises:
        BadInputError: It has failed.
    """
    launcher = '-m', 'torch.distributed.run', '--standalone', f'--nproc_per_node={processes}'
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / 'seconds.json'
        own = '--launcher', 'pytorch', '--work-dir', folder, '--result', str(result)
        done = subprocess.run(
            ending_with_parent([sys.executable, *launcher, __file__, *words, *own]),
            env={**os.environ, 'OMP_NUM_THREADS': '1'},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode:
            report([f'The search on {processes} processes has failed:\n{done.stdout[-3000:]}'])
        seconds: float = json.loads(result.read_text())
        return seconds


def table_of(rates: dict[int, list[float]]) -> list[dict[str, float]]:
    """The median rate of each number of processes, and its share of the first one's times as many.

    Args:
        rates: Evaluations a minute of each search, by the number of processes.
    """
    first, measured = next(iter(rates.items()))
    single = median(measured) / first
    return [
        dict(processes=number, rate=median(found), share=median(found) / (single * number))
        for number, found in rates.items()
    ]


def main() -> None:
    """Searches in turns and prints the table."""
    args = parse_args()
    if args.result:
        search_once(args)
        return
    if min(*args.processes, args.evaluations, args.population, args.num_images, args.turns) < 1:
        report(['All numbers must be at least 1.'])
    cfg = load_config(args)
    problems = check_settings(cfg, 'val') + check_data(cfg, ('val',))
    problems += check_checkpoint_file(args.checkpoint) if args.checkpoint else []
    problems += check_work_dir(str(Path(args.json).parent), '--json') if args.json else []
    report(problems)
    rates: dict[int, list[float]] = {number: [] for number in args.processes}
    for turn in range(args.turns):
        for number in rates:
            rate = args.evaluations / seconds_of(number, sys.argv[1:]) * 60
            rates[number].append(rate)
            print(
                f'turn {turn + 1}, {number} processes: {rate:.1f} evaluations a minute', flush=True
            )
    table = table_of(rates)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    print(f'\n| processes, of one thread, on {cores} cores | evaluations a minute | of linear |')
    print('| --- | --- | --- |')
    for row in table:
        print(f'| {row["processes"]} | {row["rate"]:.1f} | {row["share"]:.0%} |')
    if args.json:
        settings = {k: vars(args)[k] for k in ('config', 'evaluations', 'population', 'num_images')}
        found = dict(table=table, rates=rates, cores=cores, **settings)
        Path(args.json).write_text(json.dumps(found, indent=1))


if __name__ == '__main__':
    run(main)
