"""Compares latency tables that are measured on a quiet and on a busy machine.

``python tools/benchmarks/latency_under_load.py CONFIG``: tables of the config's backbone are
measured in turns, quiet and with processes beside them that multiply matrices without a pause. What
a search takes from a table are ratios to the dense latency, so these are compared, for uniform and
for drawn settings. Run it where nothing else runs.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from random import Random
from statistics import median

from sparse_mm.engine.checks import report
from sparse_mm.engine.children import ending_with_parent
from sparse_mm.engine.command_line import add_config_options, finite, load_config, run, whole
from sparse_mm.engine.image_sizes import usual_image_size
from sparse_mm.engine.inspection import backbone_shape, build_backbone, find_backbone
from sparse_mm.engine.search.tables import is_steady
from sparse_mm.engine.search.tables import measure as measure_as_search
from sparse_mm.search.cost import BackboneShape, CostModel, LatencyTable
from sparse_mm.search.space import Candidate, RatioSpace

DRAWN = 200  # settings to compare, besides the uniform ones
NEIGHBOUR = """
import torch
torch.set_num_threads(1)
matrix = torch.randn(512, 512)
while True:
    matrix @ matrix
"""


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_config_options(parser)
    parser.add_argument('--batch', type=whole, default=2, help='images (default: 2)')
    parser.add_argument(
        '--seconds', type=finite, default=20, help='seconds to measure a table (default: 20)'
    )
    parser.add_argument('--turns', type=whole, default=3, help='tables of each kind (default: 3)')
    parser.add_argument('--neighbours', type=whole, default=4, help='busy processes (default: 4)')
    parser.add_argument('--json', help='file for the figures')
    return parser.parse_args()


@contextmanager
def busy_neighbours(count: int) -> Iterator[list[subprocess.Popen]]:
    """Busy processes, of one thread each, beside a ``with`` block."""
    command = ending_with_parent([sys.executable, '-c', NEIGHBOUR])
    neighbours = [subprocess.Popen(command) for _ in range(count)]
    try:
        yield neighbours
    finally:
        for neighbour in neighbours:
            neighbour.kill()
            neighbour.wait()


def candidates_of(space: RatioSpace) -> list[Candidate]:
    """The settings to compare, always the same ones."""
    rng = Random(0)
    return [*space.uniform(), *(space.draw(rng) for _ in range(DRAWN))]


def ratios_to_dense(
    table: LatencyTable, shape: BackboneShape, space: RatioSpace
) -> dict[Candidate, float]:
    """The latency of each setting over that of the dense backbone, by a table."""
    costs = CostModel(shape, space, table)
    return {candidate: costs.cost(candidate, 'latency') for candidate in candidates_of(space)}


def deviation(found: dict[Candidate, float], expected: dict[Candidate, float]) -> float:
    """The largest relative difference over the settings."""
    return max(abs(found[candidate] / expected[candidate] - 1) for candidate in expected)


def compare(
    quiet: Sequence[dict[Candidate, float]], busy: Sequence[dict[Candidate, float]]
) -> tuple[list[float], list[float]]:
    """How far each table is from the median of the quiet ones: of the quiet, and of the busy."""
    usual = {candidate: median(ratios[candidate] for ratios in quiet) for candidate in quiet[0]}
    return [deviation(ratios, usual) for ratios in quiet], [
        deviation(ratios, usual) for ratios in busy
    ]


def main() -> None:
    """Measures in turns and prints how far the tables are from each other."""
    args = parse_args()
    cfg = load_config(args)
    if min(args.batch, args.turns, args.neighbours) < 1 or args.seconds <= 0:
        report(['--batch, --turns and --neighbours must be at least 1, --seconds above 0.'])
    backbone = find_backbone(build_backbone(cfg))
    space = RatioSpace.build(backbone.depths)
    shape = backbone_shape(backbone, usual_image_size(cfg, 'val'), args.batch)

    def measure(kind: str) -> dict[Candidate, float]:
        measured = measure_as_search(
            backbone, shape, space, 'torch', 'float32', 'float32', args.seconds, lambda *_: None
        )
        said = measured.conditions
        print(
            f'{kind:6} rounds {said["rounds"]:4}, {said["clock"]} clock, threads: '
            f'{said["threads"]}, spread {said["spread"]:.1%}'
            f'{"" if is_steady(measured) else " (a search would refuse it)"}, dense '
            f'{said["dense_ms"][said["clock"]]:.1f} ms',
            flush=True,
        )
        return ratios_to_dense(measured, shape, space)

    quiet, busy = [], []
    for _ in range(args.turns):
        quiet.append(measure('quiet'))
        with busy_neighbours(args.neighbours):
            busy.append(measure('busy'))
    found = dict(zip(('quiet', 'busy'), compare(quiet, busy), strict=True))
    print('Largest difference of a ratio to dense from the median of the quiet tables:')
    for kind, values in found.items():
        print(f'{kind:6} ' + ', '.join(f'{value:.1%}' for value in values))
    if args.json:
        with open(args.json, 'w') as file:
            json.dump(dict(found, **{k: vars(args)[k] for k in ('neighbours', 'seconds')}), file)


if __name__ == '__main__':
    run(main)
