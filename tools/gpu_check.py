"""Checks all backbones on a GPU in a few minutes, and measures their speed.

    python tools/gpu_check.py [--seconds 420] [--out work_dirs/gpu_check]

Correctness against the CPU, attention kernels, tables, training steps, and a learning curve while
time is left. Each section runs in a process of its own with a share of the time; results are
written at once, so an interrupted run keeps them. docs/gpu.md has the whole recipe.
"""

import argparse
import os
import sys
import time
from contextlib import suppress
from pathlib import Path

# MMEngine asks for a GPU when it is imported: by NVML, for after an answer of the CUDA driver this
# process could not be forked.
os.environ.setdefault('PYTORCH_NVML_BASED_CUDA_CHECK', '1')
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # Python adds a script's folder alone

from mmengine.registry import MODELS

from sparse_mm.engine.checks import check_work_dir, report
from sparse_mm.engine.command_line import finite, run
from sparse_mm.errors import BadInputError
from tools.benchmarks.gpu.attention import attention
from tools.benchmarks.gpu.correctness import (
    backbones,
    changing_ratios,
    compiled_backbones,
    gradients,
)
from tools.benchmarks.gpu.machine import machine
from tools.benchmarks.gpu.record import Record
from tools.benchmarks.gpu.sections import Plan, how_to_start, run_all
from tools.benchmarks.gpu.tables import (
    cameras,
    classifiers,
    compiled,
    swin_l_cityscapes,
    swin_t_batch_1,
    swin_t_batch_4,
)
from tools.benchmarks.gpu.targets import compare
from tools.benchmarks.gpu.training import kernels, learning_curve, training_steps
from tools.benchmarks.gpu.window_kernel import window_kernel

# In the order of their worth: a run that is cut has the first ones.
PLANS = [
    Plan('machine', machine, 3),
    Plan('correctness', backbones, 12),
    Plan('gradients', gradients, 8),
    Plan('changing_ratios', changing_ratios, 3),
    Plan('attention', attention, 8),
    Plan('swin_t_batch_4', swin_t_batch_4, 12),
    Plan('swin_t_batch_1', swin_t_batch_1, 6),
    Plan('swin_l', swin_l_cityscapes, 10),
    Plan('cameras', cameras, 5),
    Plan('classifiers', classifiers, 8),
    Plan('kernels', kernels, 5),
    Plan('training_steps', training_steps, 8),
    Plan('window_kernel', window_kernel, 8),
    Plan('compiled', compiled, 14),
    Plan('compiled_correctness', compiled_backbones, 8),
    Plan('learning_curve', learning_curve, 8),
]


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--seconds', type=finite, default=420, help='time for all sections (default: 420)'
    )
    parser.add_argument(
        '--out', default='work_dirs/gpu_check', help='folder for gpu_check.json and gpu_check.md'
    )
    parser.add_argument(
        '--only', nargs='+', choices=[plan.name for plan in PLANS], help='run only these sections'
    )
    parser.add_argument(
        '--dry-run',
        action='store_true',
        help='everything once, as small as can be, on the CPU: shows that the kit itself works',
    )
    return parser.parse_args()


def main() -> None:
    """Runs the sections; ends with 1 where anything failed."""
    args = parse_args()
    if args.seconds <= 0:
        raise BadInputError(f'--seconds must be above 0, not {args.seconds:g}.')
    report(check_work_dir(args.out, '--out'))
    device = 'cpu' if args.dry_run else 'cuda'
    with suppress(Exception):  # the sections that want it say what is missing
        MODELS.get('mmdet.SwinTransformer')  # imported once for all of them
    method = how_to_start(device)
    if method is None:
        raise BadInputError(
            'torch sees no CUDA device; run this where there is one, or try the kit itself by '
            '--dry-run.'
        )
    record = Record(
        Path(args.out),
        dict(
            command=' '.join(['python tools/gpu_check.py', *sys.argv[1:]]),
            began=time.strftime('%Y-%m-%d %H:%M:%S'),
            seconds=args.seconds,
            dry_run=args.dry_run,
        ),
    )
    plans = [plan for plan in PLANS if args.only is None or plan.name in args.only]
    run_all(plans, record, device, args.dry_run, args.seconds, method)
    began = time.monotonic()
    record.begin('targets', 'What was hoped for, predicted and found', 0)
    for row in compare(record.found['sections']):
        record.add('targets', 'row', row)
    record.end('targets', 'done', time.monotonic() - began)
    print(f'\n{record.folder / "gpu_check.md"}')
    if record.failures:
        sys.exit('\n'.join([f'{len(record.failures)} failures:', *record.failures]))
    print('no failure')


if __name__ == '__main__':
    run(main)
