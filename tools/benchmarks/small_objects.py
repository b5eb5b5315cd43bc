"""Compares the paper's variants on small objects, in one command that can be resumed.

``python tools/benchmarks/small_objects.py --work-dir W``

Trains the dense detector, then the same at half resolution and with a narrower backbone. Adapts the
dense one, searches with every strategy and finetunes the winners. Also finetunes the paper's
comparisons: without adaptation, windows ranked in every block, by attention, at random, and dense
at lower resolutions. Stops after the dense trainings if half the resolution costs less than 0.03
box mAP, because the task then does not need resolution. Finished runs are not repeated, and an
interrupted training continues after its last epoch.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # Python adds a script's folder alone

from sparse_mm.engine.checks import check_work_dir, report
from sparse_mm.engine.command_line import read_config, run, whole
from sparse_mm.engine.files import write_atomically
from sparse_mm.engine.image_sizes import usual_image_size
from sparse_mm.errors import BadInputError
from sparse_mm.progress import progress_bar
from sparse_mm.search.budget import Budget
from sparse_mm.search.evolution import STRATEGIES
from tools.benchmarks.compare_searches import ROOT, call
from tools.benchmarks.small_objects_report import (
    BOX,
    CLAIMS,
    claims_table,
    dense_table,
    relative_latencies,
    resized,
    tested,
    training,
)

CONFIGS = 'configs/sparsevit_maskrcnn_small_shapes'
DENSE = {'dense': 'dense', 'half': 'dense, half the resolution', 'narrow': 'dense, 20 channels'}
LOSES = 0.03  # box mAP, at least, at half the resolution

RANKED = """_base_ = {base!r}
custom_imports = dict(
    imports=['sparse_mm', 'tools.benchmarks.rankings'], allow_failed_imports=False
)
"""


@dataclass(frozen=True)
class Step:
    """One of the runs.

    Attributes:
        name: What the progress says.
        minutes: About how long it takes, as a share of the others.
        done: A file that says it is done.
        work: Does it.
    """

    name: str
    minutes: float
    done: Path
    work: Callable[[], None]


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--work-dir', required=True, help='folder for all runs and the result')
    parser.add_argument(
        '--configs', default=str(ROOT / CONFIGS), help='beginning of the paths of the configs'
    )
    parser.add_argument(
        '--epochs', type=whole, default=8, help='epochs of the dense trainings (default: 8)'
    )
    parser.add_argument(
        '--budget',
        nargs='+',
        default=['latency=0.47..0.50', 'latency=0.67..0.70'],
        help='two budgets (default: latency=0.47..0.50 latency=0.67..0.70)',
    )
    parser.add_argument(
        '--evaluations',
        type=whole,
        default=80,
        help='settings to score for each budget (default: 80)',
    )
    parser.add_argument(
        '--strategies',
        nargs='+',
        choices=STRATEGIES,
        default=list(STRATEGIES),
        help='strategies of the searches (default: all)',
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
        default=[0, 1],
        help='seeds of the finetunings (default: 0 1)',
    )
    parser.add_argument(
        '--sizes',
        type=whole,
        nargs='+',
        default=[896, 728, 616],
        help='pixels of images on which the dense detector is trained further (default: 896 728 '
        '616, which take about 1, 0.7 and 0.5 of the latency)',
    )
    parser.add_argument(
        '--jobs', type=whole, default=1, help='searches and finetunings at a time (default: 1)'
    )
    parser.add_argument(
        '--until',
        choices=['dense', 'end'],
        default='end',
        help='stop after the dense trainings, or run everything (default: end)',
    )
    return parser.parse_args()


class Showing:
    """All runs.

    Args:
        args: The command line.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.folder = Path(args.work_dir).resolve()
        self.adapted = self.folder / 'adapt' / 'epoch_1.pth'

    def steps(self) -> list[Step]:
        """Everything, in its order."""
        steps = []
        for kind, minutes in (('dense', 15.0), ('half', 6.0), ('narrow', 13.0)):
            steps.append(self._step(kind, minutes * self.args.epochs, self._train_dense, kind))
            steps.append(self._step(f'test_{kind}', 3, self._test, kind))
        if self.args.until == 'dense':
            return steps
        steps.append(self._step('adapt', 15, self._adapt))
        for size in self.args.sizes:
            steps.append(self._step(f'size_{size}', 9, self._train_further, size))
            for seed in self.args.tune_seeds:
                steps.append(self._step(f'size_{size}_{seed}', 3, self._tune_further, size, seed))
        searches = len(self.args.strategies) * len(self.args.seeds) * len(self.args.budget)
        minutes = searches * (self.args.evaluations * 0.25 + 4 * len(self.args.tune_seeds))
        steps.append(self._step('searches', minutes, self._search))
        for claim in CLAIMS:
            for seed in self.args.tune_seeds:
                steps.append(self._step(f'{claim}_{seed}', 5, self._tune, claim, seed))
        return steps

    def _step(self, name: str, minutes: float, work: Callable[..., None], *args: Any) -> Step:
        done = self.folder / name / 'done'

        def finish() -> None:
            work(*args)
            done.parent.mkdir(parents=True, exist_ok=True)
            done.touch()

        return Step(name, minutes, done, finish)

    def run(self) -> None:
        """Does what is not done, and says how long the rest will take.

        Raises:
            BadInputError: A run failed, or half the resolution costs too little.
        """
        steps = self.steps()
        waiting = [step for step in steps if not step.done.is_file()]
        with progress_bar('Small objects', total=len(steps)) as bar:
            bar.update(len(steps) - len(waiting))
            spent = counted = 0.0
            for number, step in enumerate(waiting):
                left = sum(other.minutes for other in waiting[number:])
                # The first guess is the table's own; then this machine's pace.
                left *= spent / counted if counted else 1.0
                print(f'{step.name}; about {left:.0f} minutes left in all', flush=True)
                start = time.monotonic()
                step.work()
                spent += (time.monotonic() - start) / 60
                counted += step.minutes
                bar.update()
                if step.name == 'test_half':
                    self.check_resolution()

    def check_resolution(self) -> None:
        """Ends where the task needs no resolution.

        Raises:
            BadInputError: It does not.
        """
        dense, half = (tested(self.folder, kind)[BOX] for kind in ('dense', 'half'))
        if dense - half < LOSES:
            raise BadInputError(
                f'Dense has a box mAP of {dense:.3f}, and {half:.3f} at half the resolution: the '
                f'difference is below {LOSES}, so the task does not need resolution. Train longer '
                '(--epochs), or make the objects smaller (small_object_scenes.py).'
            )

    def _call(self, name: str, tool: str, *arguments: object) -> None:
        os.environ['PYTHONPATH'] = os.pathsep.join(
            dict.fromkeys([str(ROOT), *filter(None, [os.environ.get('PYTHONPATH')])])
        )
        call(self.folder / f'{name}.log', 1, tool, *arguments)

    def config(self, kind: str) -> str:
        """The path of one of the configs."""
        return f'{self.args.configs}{"_" if kind else ""}{kind}.py'

    def _weights(self, kind: str) -> Path:
        return self.folder / kind / f'epoch_{self.args.epochs}.pth'

    def _train_dense(self, kind: str) -> None:
        epochs = self.args.epochs
        self._call(
            *(kind, 'train.py', self.config(kind), '--work-dir', self.folder / kind, '--resume'),
            *('--cfg-options', f'train_cfg.max_epochs={epochs}', f'param_scheduler.1.end={epochs}'),
        )

    def _test(self, kind: str) -> None:
        work_dir = self.folder / f'test_{kind}'
        self._call(
            f'test_{kind}',
            *('test.py', self.config(kind), self._weights(kind), '--work-dir', work_dir),
        )

    def _adapt(self) -> None:
        self._call(
            *('adapt', 'train.py', self.config('adapt'), '--work-dir', self.folder / 'adapt'),
            *('--resume', '--cfg-options', f'load_from={self._weights("dense")}'),
        )

    def _train_further(self, size: int) -> None:
        """As :meth:`_adapt`, at another size and without sparsity."""
        options = {'load_from': self._weights('dense'), 'custom_hooks': []}
        self._call_resized(f'size_{size}', 'adapt', size, options, '--resume')

    def _tune_further(self, size: int, seed: int) -> None:
        """As the finetuning of a setting, at another size and dense."""
        start = self.folder / f'size_{size}' / 'epoch_1.pth'
        options = {'load_from': start, 'randomness.seed': seed}
        self._call_resized(f'size_{size}_{seed}', 'finetune', size, options)

    def _call_resized(
        self, name: str, kind: str, size: int, options: dict[str, Any], *flags: str
    ) -> None:
        config = self.config(kind)
        options |= resized(read_config(config), size)
        written = [f'{key}={value}'.replace(' ', '') for key, value in options.items()]
        work_dir = '--work-dir', self.folder / name
        self._call(name, 'train.py', config, *work_dir, *flags, '--cfg-options', *written)

    def _search(self) -> None:
        args = self.args
        self._call(
            *('searches', 'benchmarks/compare_searches.py', self.config('')),
            *(self.config('finetune'), self.adapted, '--work-dir', self.folder / 'searches'),
            *('--budget', *args.budget, '--evaluations', args.evaluations, '--jobs', args.jobs),
            *('--strategies', *args.strategies, '--seeds', *args.seeds),
            *('--tune-seeds', *args.tune_seeds),
        )

    def _compared(self) -> list[dict[str, Any]]:
        return json.loads((self.folder / 'searches' / 'comparison.json').read_text())

    def _winner(self) -> dict[str, Any]:
        """The row, of the first budget and last strategy, whose first winner shows the claims."""
        rows = [row for row in self._compared() if 'search' in row]
        budget = rows[0]['budget']
        return [row for row in rows if row['budget'] == budget][-1]

    def _tune(self, claim: str, seed: int) -> None:
        """Finetunes the same setting as a search's winner, with one thing changed."""
        ratios = self.folder / 'claims.json'
        write_atomically(ratios, json.dumps(self._winner()['ratios'][0]))
        config = Path(self.config('finetune'))
        start = self._weights('dense') if claim == 'unadapted' else self.adapted
        options = [f'load_from={start}', f'randomness.seed={seed}']
        options.append(f'model.backbone.pruning_ratios={ratios}')
        if claim != 'unadapted':
            options += ['model.backbone.type=RankedSparseViT', f'model.backbone.ranking={claim}']
            # Imports that come after a config is read are not made.
            base, config = config.resolve(), self.folder / 'ranked.py'
            write_atomically(config, RANKED.format(base=str(base)))
        name = f'{claim}_{seed}'
        self._call(
            *(name, 'train.py', config, '--work-dir', self.folder / name),
            *('--cfg-options', *options),
        )

    def table(self) -> str:
        """The result, in Markdown."""
        args = self.args
        cfgs = {kind: read_config(self.config(kind)) for kind in DENSE}
        models = [(cfg, usual_image_size(cfg, 'test')[0]) for cfg in cfgs.values()]
        sizes = () if args.until == 'dense' else args.sizes
        models += [(cfgs['dense'], size) for size in sizes]
        print('measuring latencies', flush=True)
        latencies = relative_latencies(models, seconds=120)
        lines = [training(self.folder, self._weights('dense')), '']
        lines += dense_table(self.folder, DENSE, sizes, args.tune_seeds, latencies)
        if args.until == 'dense':
            return '\n'.join(lines)
        lines += ['', (self.folder / 'searches' / 'comparison.md').read_text().strip(), '']
        lines += claims_table(self.folder, self._winner(), args.tune_seeds)
        return '\n'.join(lines)


def main() -> None:
    """Runs everything, prints the tables and writes them."""
    args = parse_args()
    if min(numbers := (args.epochs, args.evaluations, args.jobs)) < 1:
        raise BadInputError(
            f'--epochs, --evaluations and --jobs must be at least 1; they are {numbers}.'
        )
    if min(args.sizes) < 64:
        raise BadInputError(f'--sizes must be at least 64 pixels; they are {args.sizes}.')
    for budget in args.budget:
        Budget.parse(budget)
    showing = Showing(args)
    configs = map(showing.config, (*DENSE, 'adapt', '', 'finetune'))
    missing = [name for name in configs if not Path(name).is_file()]
    if missing:
        raise BadInputError(f'There is no config {missing[0]!r}; --configs is how names begin.')
    report(check_work_dir(args.work_dir))
    showing.run()
    table = showing.table()
    write_atomically(showing.folder / 'small_objects.md', table + '\n')
    print(table)


if __name__ == '__main__':
    run(main)
