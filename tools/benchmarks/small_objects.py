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
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # Python adds a script's folder alone

from sparse_mm.engine.checks import check_work_dir, report
from sparse_mm.engine.command_line import read_config, run, whole
from sparse_mm.engine.files import write_atomically
from sparse_mm.engine.image_sizes import usual_image_size
from sparse_mm.errors import BadInputError
from sparse_mm.search.budget import Budget
from sparse_mm.search.evolution import STRATEGIES
from tools.benchmarks.small_objects_report import (
    SETTINGS,
    claims_table,
    dense_table,
    relative_latencies,
    resized,
    training,
)
from tools.benchmarks.small_objects_runs import Runs
from tools.benchmarks.tool_runs import ROOT, digest_of, keep_settings

CONFIGS = 'configs/sparsevit_maskrcnn_small_shapes'
DENSE = {'dense': 'dense', 'half': 'dense, half the resolution', 'narrow': 'dense, 20 channels'}


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


def table(runs: Runs, args: argparse.Namespace) -> str:
    """The result, in Markdown."""
    cfgs = {kind: read_config(runs.config(kind)) for kind in DENSE}
    models = [(cfg, usual_image_size(cfg, 'test')[0]) for cfg in cfgs.values()]
    sizes = [] if args.until == 'dense' else list(dict.fromkeys(args.sizes))
    models += [(cfgs['dense'], size) for size in sizes]
    print('measuring latencies', flush=True)
    latencies = relative_latencies(models, seconds=120)
    lines = [training(runs.folder, runs.weights('dense')), '']
    lines += dense_table(runs.folder, DENSE, sizes, args.tune_seeds, latencies)
    if args.until == 'dense':
        return '\n'.join(lines)
    lines += ['', (runs.folder / 'searches' / 'comparison.md').read_text().strip(), '']
    rows = {name: runs.row(setting) for setting, name in SETTINGS.items()}
    lines += claims_table(runs.folder, rows, args.tune_seeds)
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
    runs = Runs(args)
    configs = map(runs.config, (*DENSE, 'adapt', '', 'finetune'))
    missing = [name for name in configs if not Path(name).is_file()]
    if missing:
        raise BadInputError(f'There is no config {missing[0]!r}; --configs is how names begin.')
    report(check_work_dir(args.work_dir))
    kinds = [*DENSE, *(('adapt', '', 'finetune') if args.until == 'end' else ())]
    settings: dict[str, object] = dict(epochs=args.epochs)
    for kind in kinds:
        settings[f'config {kind}'.strip()] = digest_of(read_config(runs.config(kind)))
    if args.until == 'end':
        settings |= dict(evaluations=args.evaluations, budget=args.budget)
        for kind in ('adapt', 'finetune'):  # what cannot be resized is told before hours of work
            resized(read_config(runs.config(kind)), args.sizes[0])
    keep_settings(runs.folder, **settings)
    runs.run()
    result = table(runs, args)
    write_atomically(runs.folder / 'small_objects.md', result + '\n')
    print(result)


if __name__ == '__main__':
    run(main)
