"""The runs of small_objects.py, in their order: what is done is not done again."""

import argparse
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sparse_mm.engine.command_line import read_config
from sparse_mm.engine.files import write_atomically
from sparse_mm.errors import BadInputError
from sparse_mm.progress import progress_bar
from tools.benchmarks.small_objects_report import BOX, CLAIMS, SETTINGS, resized, tested
from tools.benchmarks.tool_runs import ROOT, call, start_anew

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
        done: Says whether it is done, with the same key; earlier steps can change that.
        work: Does it.
    """

    name: str
    minutes: float
    done: Callable[[], bool]
    work: Callable[[], None]


class Runs:
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
        for size in dict.fromkeys(self.args.sizes):
            steps.append(self._step(f'size_{size}', 9, self._train_further, size))
            for seed in self.args.tune_seeds:
                steps.append(self._step(f'size_{size}_{seed}', 3, self._tune_further, size, seed))
        searches = len(self.args.strategies) * len(self.args.seeds) * len(self.args.budget)
        minutes = searches * (self.args.evaluations * 0.25 + 4 * len(self.args.tune_seeds))
        wanted = json.dumps([self.args.strategies, self.args.seeds, self.args.tune_seeds])
        steps.append(self._step('searches', minutes, self._search, key=lambda: wanted))
        for setting in SETTINGS:
            for claim in CLAIMS:
                for seed in self.args.tune_seeds:
                    name = f'{setting}{claim}_{seed}'
                    key = partial(self._ratios, setting)
                    steps.append(
                        self._step(name, 3, self._tune, name, setting, claim, seed, key=key)
                    )
        return steps

    def _step(
        self,
        name: str,
        minutes: float,
        work: Callable[..., None],
        *args: Any,
        key: Callable[[], str] = str,
    ) -> Step:
        path = self.folder / name / 'done'

        def finish() -> None:
            work(*args)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, key())

        return Step(name, minutes, lambda: path.is_file() and path.read_text() == key(), finish)

    def run(self) -> None:
        """Does what is not done, and says how long the rest will take.

        Raises:
            BadInputError: A run failed, or half the resolution costs too little.
        """
        steps = self.steps()
        with progress_bar('Small objects', total=len(steps)) as bar:
            spent = counted = 0.0
            for number, step in enumerate(steps):
                if not step.done():
                    left = sum(other.minutes for other in steps[number:] if not other.done())
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

    def weights(self, kind: str) -> Path:
        """What a dense training ended with."""
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
            *('test.py', self.config(kind), self.weights(kind), '--work-dir', work_dir),
        )

    def _adapt(self) -> None:
        self._call(
            *('adapt', 'train.py', self.config('adapt'), '--work-dir', self.folder / 'adapt'),
            *('--resume', '--cfg-options', f'load_from={self.weights("dense")}'),
        )

    def _train_further(self, size: int) -> None:
        """As :meth:`_adapt`, at another size and without sparsity."""
        options = {'load_from': self.weights('dense'), 'custom_hooks': []}
        self._call_resized(f'size_{size}', 'adapt', size, options, '--resume')

    def _tune_further(self, size: int, seed: int) -> None:
        """As the finetuning of a setting, at another size and dense."""
        start = self.folder / f'size_{size}' / 'epoch_1.pth'
        options = {'load_from': start, 'randomness.seed': seed}
        start_anew(self.folder / f'size_{size}_{seed}')
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

    def compared(self) -> list[dict[str, Any]]:
        """The rows of the comparison of searches."""
        return json.loads((self.folder / 'searches' / 'comparison.json').read_text())

    def row(self, setting: str) -> dict[str, Any]:
        """The row of the comparison whose first ratios show the claims.

        Args:
            setting: Of :data:`SETTINGS`: the last strategy's winner, or the uniform ratios, of the
                first budget with uniform ratios.

        Raises:
            BadInputError: No uniform ratios are within a budget.
        """
        rows = self.compared()
        uniform = [row for row in rows if row['method'] == 'uniform']
        if not uniform:
            raise BadInputError(
                'No uniform ratios are within a budget, so there is nothing to compare with; '
                'start again in another --work-dir with other budgets.'
            )
        if setting:
            return uniform[0]
        return [row for row in rows if row['budget'] == uniform[0]['budget']][-1]

    def _ratios(self, setting: str) -> str:
        """The ratios that a setting's claims are shown with, as JSON."""
        return json.dumps(self.row(setting)['ratios'][0])

    def _tune(self, name: str, setting: str, claim: str, seed: int) -> None:
        """Finetunes a setting of the comparison with one thing changed."""
        ratios = self.folder / f'{setting}claims.json'
        write_atomically(ratios, self._ratios(setting))
        config = Path(self.config('finetune'))
        start = self.weights('dense') if claim == 'unadapted' else self.adapted
        options = [f'load_from={start}', f'randomness.seed={seed}']
        options.append(f'model.backbone.pruning_ratios={ratios}')
        if claim != 'unadapted':
            options += ['model.backbone.type=RankedSparseViT', f'model.backbone.ranking={claim}']
            # Imports that come after a config is read are not made.
            base, config = config.resolve(), self.folder / 'ranked.py'
            write_atomically(config, RANKED.format(base=str(base)))
        start_anew(self.folder / name)
        self._call(
            *(name, 'train.py', config, '--work-dir', self.folder / name),
            *('--cfg-options', *options),
        )
