"""Trains any model of any OpenMMLab package: ``python tools/train.py CONFIG``."""

import argparse

import sparse_mm  # noqa: F401, before MMEngine, which asks for the home of a user without one

# isort: split
from mmengine.config import Config

from sparse_mm.engine.checks import (
    check_best,
    check_checkpoint,
    check_checkpoint_file,
    check_data,
    check_device,
    check_loops,
    check_no_earlier_run,
    check_settings,
    check_types,
    check_work_dir,
    report,
)
from sparse_mm.engine.command_line import (
    add_config_options,
    build_runner,
    load_config,
    run,
    set_default_loader_options,
    start_together,
)
from sparse_mm.engine.config_file import lost_hooks
from sparse_mm.engine.hooks import CheckLossHook, CheckResumeHook
from sparse_mm.engine.hosts import AMP_OPTIM_WRAPPER
from sparse_mm.engine.resuming import (
    checkpoint_folder,
    find_resume_point,
    write_whole_checkpoints,
)
from sparse_mm.engine.work_dir import guard_work_dir
from sparse_mm.errors import BadInputError
from sparse_mm.ranks import on_every_process, on_main_process


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description='Train a model')
    add_config_options(parser)
    parser.add_argument('--amp', action='store_true', help='train with automatic mixed precision')
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help="scale the learning rate by batch size / the config's auto_scale_lr.base_batch_size",
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        help='resume from this checkpoint; without a value, from the latest in the work directory',
    )
    return parser.parse_args()


def apply_options(cfg: Config, args: argparse.Namespace) -> None:
    """Writes the options into the config, as the tools of the host packages do."""
    if args.amp:
        cfg.optim_wrapper.type = AMP_OPTIM_WRAPPER
        cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')
    if args.auto_scale_lr:
        if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
            raise BadInputError(
                '--auto-scale-lr needs auto_scale_lr=dict(enable=False, base_batch_size=...) in '
                'the config.'
            )
        cfg.auto_scale_lr.enable = True
    if args.resume is not None:
        cfg.resume = True
        if args.resume != 'auto':
            cfg.load_from = args.resume
    set_default_loader_options(cfg, 'train')
    set_default_loader_options(cfg, 'val')


def find_problems(cfg: Config, named: str | None) -> list[str]:
    """Everything that this process can find wrong before it meets the others.

    Args:
        cfg: The run's config.
        named: The checkpoint that the user names.
    """
    splits = ('train', 'val') if cfg.get('val_cfg') else ('train',)
    problems = check_loops(cfg) + check_types(cfg, splits) + check_data(cfg, splits)
    problems += check_best(cfg) + check_work_dir(cfg.work_dir)
    if named:
        problems += check_checkpoint_file(named)
    return problems


def main() -> None:
    """Checks everything that can be checked, then trains."""
    args = parse_args()
    cfg = load_config(args)
    report(check_settings(cfg, 'train'))
    apply_options(cfg, args)
    named = None if args.resume == 'auto' else cfg.get('load_from')
    device = check_device(cfg)
    problems = device + find_problems(cfg, named)
    if problems and not cfg.get('resume'):  # else it is looked for under the lock
        problems += check_no_earlier_run(cfg.work_dir, checkpoint_folder(cfg))
    start_together(cfg, device, problems)
    said = guard_work_dir(cfg.work_dir)
    lost = lost_hooks(args.config, cfg)
    if lost:
        said.append(
            f'custom_hooks of {args.config!r} replace those of the config that it inherits: '
            f'{", ".join(lost)} will not run; to keep them, write '
            'custom_hooks = [*_base_.custom_hooks, ...].'
        )
    if cfg.get('resume'):
        found = named
        if found is None:
            found, more = find_resume_point(cfg.work_dir, checkpoint_folder(cfg))
            said += more
        cfg.resume = found is not None
        cfg.load_from = found or cfg.get('load_from')
    else:
        folder = checkpoint_folder(cfg)
        on_main_process(lambda: report(check_no_earlier_run(cfg.work_dir, folder)))
    write_whole_checkpoints(cfg)
    runner = build_runner(cfg, CheckResumeHook, CheckLossHook)
    for sentence in said:
        runner.logger.info(sentence)
    if cfg.get('load_from'):
        whole = bool(cfg.get('resume'))
        on_every_process(lambda: report(check_checkpoint(cfg.load_from, runner.model, whole)))
    runner.train()


if __name__ == '__main__':
    run(main)
