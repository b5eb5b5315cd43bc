"""Measures the latency of each module of a SparseViT, for a search on another machine.

Run it on the machine where the model will be deployed; name the file it writes as ``latency_table``
of the search. No data and no weights are needed.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from sparse_mm.deploy import check_engine
from sparse_mm.engine.checks import check_device_name, check_work_dir, report
from sparse_mm.engine.command_line import add_config_options, finite, load_config, run, whole
from sparse_mm.engine.deployment import add_engine_options, undeploy
from sparse_mm.engine.files import write_atomically
from sparse_mm.engine.image_sizes import say_sliding, usual_image_size
from sparse_mm.engine.inspection import backbone_shape, build_backbone, find_backbone
from sparse_mm.engine.search.tables import is_steady, measure
from sparse_mm.errors import BadInputError
from sparse_mm.progress import counting_bar
from sparse_mm.search.cost import CostModel, LatencyTable
from sparse_mm.search.space import CHOICES, Candidate, RatioSpace
from sparse_mm.search.timing import DTYPES

# Settings whose whole latency is compared with the table's sum, one ratio per stage.
CHECKS = ((0.0, 0.0, 0.0, 0.0), (0.6, 0.0, 0.4, 0.0), (0.3, 0.3, 0.3, 0.3), (0.6, 0.6, 0.6, 0.6))


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_config_options(parser)
    parser.add_argument('--out', default='latency_table.json', help='file to write')
    parser.add_argument(
        '--shape',
        nargs=2,
        type=whole,
        metavar=('H', 'W'),
        help='image size in pixels; by default the fixed size of the validation pipeline',
    )
    parser.add_argument('--batch', type=whole, default=4, help='images (default: 4)')
    add_engine_options(parser)
    parser.add_argument(
        '--dtype', choices=list(DTYPES), default='float32', help='dtype of the backbone'
    )
    parser.add_argument(
        '--choices', nargs='+', type=finite, default=list(CHOICES), help='ratios to measure'
    )
    parser.add_argument(
        '--device',
        default='cuda' if torch.cuda.is_available() else 'cpu',
        help='device to measure on',
    )
    parser.add_argument('--seconds', type=finite, default=60, help='about how long (default: 60)')
    return parser.parse_args()


def describe(conditions: Mapping[str, Any]) -> str:
    """How a table was measured, as ``name: value, …``."""
    values = {
        name.replace('_', ' '): value
        for name, value in conditions.items()
        if name not in ('spread', 'dense_ms', 'identity')
    }
    values['differences of repeated measurements'] = f'{conditions["spread"]:.1%}'
    return ', '.join(f'{name}: {value}' for name, value in values.items())


def main() -> None:
    """Measures, writes the table, and compares its sums with whole passes."""
    args = parse_args()
    cfg = load_config(args)
    out = Path(args.out)
    problems = check_work_dir(str(out.parent), '--out') + check_device_name(args.device)
    if out.exists():
        problems.append(f'{args.out!r} exists; move it away or choose another with --out.')
    if args.batch < 1 or args.seconds <= 0 or (args.shape and min(args.shape) < 1):
        problems.append('--batch and --shape must be at least 1, --seconds above 0.')
    named = undeploy(cfg)
    engine = args.engine or named.get('engine', 'torch')
    precision = args.precision or named.get('precision', 'float32')
    check_engine(engine, precision)
    if args.dtype != 'float32' and (engine, precision) != ('torch', 'float32'):
        problems.append('Give --precision with --engine, or --dtype for autocast, not both.')
    report(problems)
    image_size = tuple(args.shape) if args.shape else usual_image_size(cfg, 'val')
    backbone = find_backbone(build_backbone(cfg)).to(args.device)
    space = RatioSpace.build(backbone.depths, args.choices)
    shape = backbone_shape(backbone, image_size, args.batch)

    def candidate(ratios: Sequence[float]) -> Candidate:
        return tuple(
            (min(choices, key=lambda choice: abs(choice - ratio)),) * pairs
            for ratio, choices, pairs in zip(ratios, space.choices, space.num_pairs, strict=True)
        )

    checks = [candidate((row * len(backbone.depths))[: len(backbone.depths)]) for row in CHECKS]
    with counting_bar('Measuring') as progress:
        measured = measure(
            backbone,
            shape,
            space,
            engine,
            precision,
            args.dtype,
            args.seconds,
            progress,
            checks,
            relative=False,
        )
    if not is_steady(measured):
        spread = measured.conditions['spread']
        raise BadInputError(
            f'Repeated, the latencies differ by {spread:.0%} on this busy machine; stop other '
            'programs, or measure longer with --seconds.'
        )
    write_atomically(out, measured.to_json())
    table = LatencyTable.read(out)
    costs = CostModel(shape, space, table)
    size = args.batch, shape.in_channels, *image_size
    print(f'{" x ".join(map(str, size))}, {describe(table.conditions)}')
    if not args.shape and say_sliding(cfg, 'val'):
        print(say_sliding(cfg, 'val'))
    print(f'{"ratios":50} whole  table (of dense)  table / whole')
    for check, spent in table.checks:
        total, dense = costs.ms(check), table.checks[0][1]
        name = ' '.join(f'{list(stage)}' for stage in check)
        print(
            f'{name:50} {spent / dense:5.3f}  {total / costs.dense_ms:5.3f}  {total / spent:21.3f}'
        )
    print(f'written: {out}')


if __name__ == '__main__':
    run(main)
