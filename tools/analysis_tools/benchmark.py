"""Times backbones side by side: ``benchmark.py --run NAME CONFIG [key=value ...] --run ...``.

Each ``--run`` names a config, or a registered backbone, and overrides; ``--preset`` has the tables
of the documentation. All runs take turns within one measurement, together with products of two
square matrices. So ratios are reliable on a noisy machine, too, and speeds can be compared with the
machine's rate for matrix products. Memory is measured separately, afterwards.
"""

import argparse
import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # Python adds a script's folder alone

from sparse_mm.deploy import ENGINES, PRECISIONS
from sparse_mm.engine.checks import check_device_name, check_work_dir, report
from sparse_mm.engine.command_line import finite, run, whole
from sparse_mm.engine.files import write_atomically
from sparse_mm.errors import BadInputError
from sparse_mm.search.timing import DTYPES, describe_device, rounds_in_turns
from tools.benchmarks import memory
from tools.benchmarks.passes import (
    COMPILE_MODES,
    COUNTED_DRAWS,
    Pass,
    Setup,
    build_all,
    count_gmacs,
    failing,
    matrix_products,
)
from tools.benchmarks.report import (
    add_engines,
    add_memory,
    machine,
    markdown,
    plot,
    summarise_products,
    summarise_run,
)
from tools.benchmarks.runs import PRESETS, RANDOM, Run, on_engines, read_run

PLOTS = ('.png', '.pdf', '.svg')


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--run',
        nargs='+',
        action='append',
        metavar=('NAME', 'CONFIG'),
        help='a name; a config file, or a registered backbone such as mmdet.SwinTransformer; '
        'overrides of it, key=value (pruning_ratios=random: drawn in every pass)',
    )
    parser.add_argument('--preset', choices=list(PRESETS), help="one of the documentation's tables")
    parser.add_argument(
        '--baseline', metavar='NAME', help='run to compare the others with (default: the first)'
    )
    parser.add_argument(
        '--train', action='store_true', help='time training steps: forward and backward'
    )
    parser.add_argument(
        '--whole',
        action='store_true',
        help="time the configs' whole models: backbone, neck, heads, post-processing",
    )
    parser.add_argument('--batch', type=whole, help="images or clips (default: the preset's, or 1)")
    parser.add_argument(
        '--shape', nargs=2, type=whole, metavar=('H', 'W'), help="instead of the runs' own sizes"
    )
    parser.add_argument(
        '--frames', type=whole, help="of clips, for models of clips, instead of the runs' own"
    )
    parser.add_argument(
        '--engine',
        nargs='+',
        choices=list(ENGINES),
        default=['torch'],
        help='engines that compute each run, all in the same turns (default: torch)',
    )
    parser.add_argument(
        '--precision',
        nargs='+',
        choices=list(PRECISIONS),
        default=['float32'],
        help='precisions of the backbones, for engines that support them (default: float32)',
    )
    parser.add_argument(
        '--dtype', choices=list(DTYPES), default='float32', help='dtype of autocast'
    )
    parser.add_argument('--threads', type=whole, help='number of CPU threads')
    parser.add_argument(
        '--device',
        default='cuda' if torch.cuda.is_available() else 'cpu',
        help='device to measure on',
    )
    parser.add_argument(
        '--compile', choices=COMPILE_MODES, default='none', help='mode of torch.compile'
    )
    parser.add_argument('--seconds', type=finite, default=60, help='about how long (default: 60)')
    parser.add_argument(
        '--matrix',
        type=whole,
        metavar='SIDE',
        help='side of the square matrices whose product gives the rate of the machine (default: '
        '2048, and 8192 on CUDA, because smaller ones do not use the whole GPU)',
    )
    parser.add_argument('--no-memory', action='store_true', help='do not measure peak memory')
    parser.add_argument('--json', help='file to write the figures to')
    parser.add_argument(
        '--plot', help=f'picture to draw latency over MACs into ({", ".join(PLOTS)})'
    )
    return parser.parse_args()


def read_runs(args: argparse.Namespace) -> list[Run]:
    """Reads what to compare.

    Raises:
        BadInputError: Nothing, or two things of one name, or what cannot be combined.
    """
    if bool(args.run) == bool(args.preset):
        raise BadInputError('Give the backbones to compare either by --run or by --preset.')
    if args.whole and (args.preset or args.train or args.compile != 'none'):
        raise BadInputError(
            '--whole times the inference of whole models, which --run names by their configs; '
            'leave --preset, --train and --compile out.'
        )
    size = tuple(args.shape) if args.shape else None
    if args.preset:
        runs = PRESETS[args.preset].rows(args.train, size)
    else:
        runs = [read_run(given, size, args.whole, args.frames) for given in args.run]
    in_clips = [item.name for item in runs if item.frames is not None]
    if args.frames is not None and not in_clips:
        raise BadInputError('--frames is for models of clips, and none of the runs is one.')
    names = [item.name for item in runs]
    for name in names:
        if names.count(name) > 1:
            raise BadInputError(f'Two runs are called {name!r}; give each a name of its own.')
    if args.baseline is not None and args.baseline not in names:
        raise BadInputError(
            f'--baseline {args.baseline} is none of the runs: {", ".join(map(repr, names))}.'
        )
    if args.engine != ['torch'] or args.precision != ['float32']:
        if args.train or args.compile != 'none' or args.dtype != 'float32':
            raise BadInputError(
                '--engine and --precision are for inference without --compile and --dtype; an '
                "engine 'compile' and a precision 'bfloat16' are among them."
            )
        if in_clips:
            raise BadInputError(
                f'--engine and --precision need images, and {in_clips[0]!r} is a model of clips; '
                '--compile and --dtype time it, and tools/deployment/export.py exports it.'
            )
        runs = on_engines(runs, args.engine, args.precision)
    drawn = [item.name for item in runs if item.draws_ratios]
    if drawn and any(item.deployed for item in runs):
        raise BadInputError(
            f'An engine has a graph for each setting of the ratios, and {drawn[0]!r} has another '
            'one in every pass; leave one of the two out.'
        )
    if drawn and args.compile != 'none':
        raise BadInputError(
            f'--compile {args.compile} compiles one setting of the ratios, and {drawn[0]!r} has '
            'another one in every pass; leave one of the two out.'
        )
    return runs


def check(args: argparse.Namespace) -> None:
    """Refuses what cannot be measured, before anything is built.

    Raises:
        BadInputError: A number, a device or a file does not fit.
    """
    if args.matrix is None:
        args.matrix = 8192 if args.device.startswith('cuda') else 2048
    problems = check_device_name(args.device)
    counts = [args.batch, args.threads, args.frames, *(args.shape or ())]
    if min((n for n in counts if n is not None), default=1) < 1 or args.seconds <= 0:
        problems.append(
            '--batch, --shape, --frames and --threads must be at least 1, --seconds above 0.'
        )
    if args.matrix < 16 or args.matrix % 16:
        problems.append(f'--matrix must be a multiple of 16, not {args.matrix}.')
    if args.plot and Path(args.plot).suffix not in PLOTS:
        problems.append(f'--plot must end in {", ".join(PLOTS)}, not {args.plot!r}.')
    for option, path in (('--json', args.json), ('--plot', args.plot)):
        problems += check_work_dir(str(Path(path).parent), option) if path else []
    report(problems)


def measure(runs: list[Run], setup: Setup, args: argparse.Namespace) -> dict[str, Any]:
    """Counts, times, and measures memory."""
    backbones = build_all(runs)
    left_out = failing(runs, setup, backbones)
    pairs = [pair for pair in zip(runs, backbones, strict=True) if pair[0].name not in left_out]
    if not pairs:
        raise BadInputError(f'No run can be computed: {"; ".join(left_out.values())}.')
    runs, backbones = (list(part) for part in zip(*pairs, strict=True))
    names = [item.name for item in runs]
    wanted = [args.baseline, f'{args.baseline}, {runs[0].engine} {runs[0].precision}']
    places = [0] if args.baseline is None else [names.index(n) for n in wanted if n in names]
    if not places:
        raise BadInputError(
            f'--baseline {args.baseline} cannot be computed here ({"; ".join(left_out.values())}); '
            'choose another run.'
        )
    baseline = min(places)
    rows = [
        dict(
            name=item.name,
            settings=item.settings,
            image_size=[*([] if item.frames is None else [item.frames]), *item.image_size],
            gmacs=count_gmacs(item, setup, backbone),
        )
        for item, backbone in zip(runs, backbones, strict=True)
    ]
    passes = [Pass(item, setup, backbone) for item, backbone in zip(runs, backbones, strict=True)]
    # float32 is each run's default, under --dtype's autocast, too.
    precisions = {item.precision for item in runs} - {'float32'}
    products = matrix_products(setup, args.matrix, precisions)
    device = torch.device(setup.device)
    rounds = rounds_in_turns([*passes, *products.values()], device, args.seconds)
    seconds = [[ms / 1e3 for ms in values] for values in zip(*rounds, strict=True)]
    rates = summarise_products(
        dict(zip(products, seconds[len(runs) :], strict=True)), side=args.matrix
    )
    summarise = partial(summarise_run, baseline=seconds[baseline], products=rates, side=args.matrix)
    rows = [summarise(row, values) for row, values in zip(rows, seconds, strict=False)]
    if any(item.deployed for item in runs):
        add_engines(rows, runs, baseline)
    conditions = dict(
        describe_device(device),
        **machine(),
        mode='training step' if setup.train else 'inference' + ' of whole models' * args.whole,
        dtype=setup.dtype,
        compile=setup.compile,
        batch=setup.batch,
        rounds=len(rounds),
        baseline=runs[baseline].name,
    )
    deployed = any(item.deployed for item in runs)
    if not args.no_memory and not deployed and memory.can_measure(setup):
        add_memory(rows, memory.peak_memory(runs, setup, torch.get_num_threads()), baseline)
        conditions['memory'] = memory.define(setup.device)
    return dict(
        conditions=conditions,
        matrix=args.matrix,
        matrix_products=rates,
        runs=rows,
        left_out=left_out,
    )


def describe(result: dict[str, Any]) -> str:
    """Says under which conditions, what was found, and what the columns mean."""
    conditions = dict(result['conditions'])
    definition = conditions.pop('memory', None)
    rates = ', '.join(
        f'{product["name"]} {product["gflops"]:.0f} GFLOP/s'
        for product in result['matrix_products']
    )
    side = result['matrix']
    notes = [
        f'faster by: of {conditions["baseline"]}; median of the rounds (quartiles)',
        f'product of two {side}×{side} matrices, in the same rounds: {rates}',
    ]
    if 'in_engine' in result['runs'][0]:
        notes.append('in its engine: of the baseline in the same engine and precision')
    notes += [f'left out: {name}, {reason}' for name, reason in result['left_out'].items()]
    if definition:
        notes.append(definition)
    if any(row['settings'].get('pruning_ratios') == RANDOM for row in result['runs']):
        notes.append(f'random ratios: GMACs are the mean, memory the most of {COUNTED_DRAWS} draws')
    settings = ', '.join(f'{key}: {value}' for key, value in conditions.items())
    return '\n'.join([settings, '', markdown(result), '', *(f'- {note}' for note in notes)])


def main() -> None:
    """Prints the table; writes the file and the picture."""
    args = parse_args()
    check(args)
    runs = read_runs(args)
    batch = args.batch or (PRESETS[args.preset].batch if args.preset else 1)
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    result = measure(runs, Setup(args.device, batch, args.dtype, args.train, args.compile), args)
    print(describe(result))
    if args.json:
        write_atomically(Path(args.json), json.dumps(result, indent=1))
    if args.plot:
        kind = Path(args.plot).suffix.removeprefix('.')
        write_atomically(Path(args.plot), plot(result, kind))


if __name__ == '__main__':
    run(main)
