"""Times backbones side by side: ``benchmark.py --run NAME CONFIG [key=value ...] --run ...``.

Each ``--run`` names a config and what to change in it. All take turns within one measurement, so
their ratios hold on a noisy machine, too.
"""

import argparse
import json
from contextlib import AbstractContextManager
from copy import deepcopy
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import torch
from mmengine.config import Config, DictAction
from mmengine.registry import MODELS, init_default_scope
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from sparse_mm.engine import preflight
from sparse_mm.engine.command_line import load_config, run
from sparse_mm.engine.search.backbone import fixed_image_size
from sparse_mm.engine.search.records import write_atomically
from sparse_mm.errors import BadInputError
from sparse_mm.sparsity.timing import DTYPES, autocast, describe_device, time_in_turns


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--run',
        nargs='+',
        action='append',
        required=True,
        metavar=('NAME', 'CONFIG'),
        help='a name, a config and overrides of it, key=value; the first run is the baseline',
    )
    parser.add_argument('--batch', type=int, default=1, help='images (default: 1)')
    parser.add_argument(
        '--shape', nargs=2, type=int, metavar=('H', 'W'), help="instead of the configs' own sizes"
    )
    parser.add_argument('--dtype', choices=list(DTYPES), default='float32', help='autocast to it')
    parser.add_argument('--threads', type=int, help='threads of the CPU')
    parser.add_argument(
        '--device', default='cuda' if torch.cuda.is_available() else 'cpu', help='where to measure'
    )
    parser.add_argument('--seconds', type=float, default=60, help='about how long (default: 60)')
    parser.add_argument('--json', help='file to write the figures to')
    return parser.parse_args()


def read_run(given: list[str]) -> tuple[str, Config]:
    """Reads one ``--run``.

    Raises:
        BadInputError: It names no config, or an override is not key=value.
    """
    if len(given) < 2 or not all('=' in item for item in given[2:]):
        raise BadInputError(
            f'--run {" ".join(given)} must be a name, a config and overrides as key=value.'
        )
    options = argparse.Namespace()
    DictAction([], 'options')(argparse.ArgumentParser(), options, given[2:])
    return given[0], load_config(
        argparse.Namespace(
            config=given[1],
            cfg_options=options.options,
            launcher='none',
            work_dir=None,
            local_rank=0,
        )
    )


def build_backbone(cfg: Config) -> nn.Module:
    """Builds a config's backbone alone, from scratch: speed does not depend on the weights."""
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    backbone = MODELS.build({**cfg.model.get('backbone', cfg.model), 'init_cfg': None})
    backbone.init_weights()
    return backbone.eval()


def run_once(backbone: nn.Module, images: Tensor, context: AbstractContextManager) -> None:
    """One pass; autocast is entered anew, since it keeps what it has cast while it is open."""
    with context:
        backbone(images)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Times all runs."""
    device = torch.device(args.device)
    named = [read_run(given) for given in args.run]
    rows: list[dict[str, Any]] = []
    passes = []
    for name, cfg in named:
        size = tuple(args.shape) if args.shape else fixed_image_size(cfg, 'test')
        backbone = build_backbone(cfg)
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            deepcopy(backbone).to('meta')(torch.zeros(args.batch, 3, *size, device='meta'))
        backbone = backbone.to(device)
        images: Tensor = torch.randn(args.batch, 3, *size, device=device)
        passes.append(partial(run_once, backbone, images, autocast(device, args.dtype)))
        macs = counter.get_total_flops() / 2e9
        rows.append(dict(name=name, image_size=list(size), gmacs=macs))
    with torch.inference_mode():
        times = time_in_turns(passes, device, args.seconds)
    for row, values in zip(rows, times, strict=True):
        row['median_ms'] = median(values)
        row['quartiles_ms'] = quantiles(values, n=4)[::2]
        row['of_baseline'] = row['median_ms'] / rows[0]['median_ms']
    conditions = dict(
        describe_device(device), dtype=args.dtype, batch=args.batch, rounds=len(times[0])
    )
    return dict(conditions=conditions, runs=rows)


def main() -> None:
    """Prints a Markdown table; milliseconds only where they mean something, on a GPU."""
    args = parse_args()
    counts = [args.batch, *(args.shape or ()), 1 if args.threads is None else args.threads]
    if min(counts) < 1 or args.seconds <= 0:
        raise BadInputError('--batch, --shape and --threads must be at least 1, --seconds above 0.')
    if args.device.startswith('cuda') and not torch.cuda.is_available():
        raise BadInputError('--device asks for CUDA, and torch sees no such device; try cpu.')
    if args.json:
        preflight.check_work_dir(str(Path(args.json).parent))
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    result = measure(args)
    on_gpu = args.device.startswith('cuda')
    milliseconds = ' ms |' if on_gpu else ''
    print(', '.join(f'{key}: {value}' for key, value in result['conditions'].items()))
    print(f'\n| backbone | size | GMACs | of {args.run[0][0]}: MACs | latency |{milliseconds}')
    print('| --- ' * (6 if on_gpu else 5) + '|')
    for row in result['runs']:
        macs = row['gmacs'] / result['runs'][0]['gmacs']
        height, width = row['image_size']
        last = f' {row["median_ms"]:.2f} |' if on_gpu else ''
        print(
            f'| {row["name"]} | {height}×{width} | {row["gmacs"]:.2f} | {macs:.3f} | '
            f'{row["of_baseline"]:.3f} |{last}'
        )
    if args.json:
        write_atomically(Path(args.json), json.dumps(result, indent=1))


if __name__ == '__main__':
    run(main)
