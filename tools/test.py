"""Tests any model of any OpenMMLab package: ``python tools/test.py CONFIG CHECKPOINT``."""

import argparse
import os
import sys
from copy import deepcopy

from mmengine.config import Config, ConfigDict
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from sparse_mm.engine.checks import (
    check_checkpoint,
    check_checkpoint_file,
    check_data,
    check_device,
    check_work_dir,
    report,
)
from sparse_mm.engine.command_line import (
    add_config_options,
    build_runner,
    load_config,
    run,
    set_default_loader_options,
)
from sparse_mm.engine.deployment import add_engine_options, deploy
from sparse_mm.engine.hosts import host_of, is_kind, load, scope_of
from sparse_mm.engine.inspection import leaf_datasets, metric_configs
from sparse_mm.errors import BadInputError


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description='Test (and evaluate) a model')
    add_config_options(parser)
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument(
        '--out', help='file (.pkl) for the predictions; with mmseg, a folder for the predicted maps'
    )
    parser.add_argument('--show', action='store_true', help='show the predictions in windows')
    parser.add_argument('--show-dir', help='folder for images with the predictions drawn in')
    parser.add_argument(
        '--wait-time', type=float, default=2, help='seconds that each window stays open'
    )
    add_engine_options(parser)
    parser.add_argument('--tta', action='store_true', help='test-time augmentation')
    parser.add_argument(
        '--task',
        choices=['mono_det', 'multi-view_det', 'lidar_det', 'lidar_seg', 'multi-modality_det'],
        default='mono_det',
        help='what mmdet3d is to draw; other packages do not need it (default: mono_det)',
    )
    return parser.parse_args()


def draw_predictions(cfg: Config, args: argparse.Namespace) -> None:
    """Switches on the visualization hook of the config's host package."""
    hook = (cfg.get('default_hooks') or {}).get('visualization')
    if hook is None:
        raise BadInputError(
            '--show and --show-dir need a visualization hook in the default_hooks of the config.'
        )
    host = host_of(cfg)
    if args.tta and not host.draws_augmented:
        raise BadInputError(
            f'{scope_of(cfg)} cannot draw augmented images; give --tta or --show, not both.'
        )
    hook.update(show=args.show, wait_time=args.wait_time, **host.draw)
    if host.has_task:
        hook['vis_task'] = args.task
    if args.show_dir is not None:
        cfg.merge_from_dict({host.pictures: args.show_dir})


def augment_test(cfg: Config) -> None:
    """Wraps the model for test-time augmentation; flips where the config names no other."""
    scope, host = scope_of(cfg), host_of(cfg)
    dataset = next(leaf_datasets(cfg.test_dataloader.dataset))
    if 'tta_model' not in cfg:
        if host.tta_model is None:
            raise BadInputError(f'--tta needs tta_model in the config; {scope} has no default.')
        cfg.tta_model = deepcopy(host.tta_model)
    if 'tta_pipeline' not in cfg:
        if host.tta_keys is None:
            raise BadInputError(f'--tta needs tta_pipeline in the config; {scope} has no default.')
        pipeline = deepcopy(dataset.pipeline)
        pack = pipeline.pop()
        if host.tta_keys:
            pack['meta_keys'] = host.tta_keys
        flips = [dict(type='RandomFlip', prob=1.0), dict(type='RandomFlip', prob=0.0)]
        cfg.tta_pipeline = [*pipeline, dict(type='TestTimeAug', transforms=[flips, [pack]])]
    roi_head = cfg.model.get('roi_head') or {}
    masks = isinstance(roi_head, dict) and roi_head.get('mask_head')
    if masks and not host.tta_joins_masks:
        print(f'{scope} merges the boxes of augmented images but not their masks: boxes only.')
        roi_head.update(mask_head=None, mask_roi_extractor=None)
        for metric in metric_configs(cfg.test_evaluator):
            if is_kind(metric['type'], 'CocoMetric'):
                metric['metric'] = 'bbox'
    dataset.pipeline = cfg.tta_pipeline
    cfg.model = ConfigDict(**cfg.tta_model, module=cfg.model)


def has_display() -> bool:
    """Whether windows can be opened; where it is not known, that they can."""
    if not sys.platform.startswith('linux'):
        return True
    return bool(os.environ.get('DISPLAY') or os.environ.get('WAYLAND_DISPLAY'))


def dump_predictions(runner: Runner, path: str) -> None:
    """Adds the metric that writes the predictions to a pickle file."""
    metric = load(host_of(runner.cfg).dump_metric)
    runner.test_evaluator.metrics.append(metric(out_file_path=path))


def main() -> None:
    """Checks everything that can be checked, then tests."""
    args = parse_args()
    cfg = load_config(args)
    deploy(cfg, args.engine, args.precision)
    cfg.load_from = args.checkpoint
    cfg.resume = False
    writes_maps = host_of(cfg).maps_folder
    if args.out and not writes_maps and not args.out.endswith(('.pkl', '.pickle')):
        raise BadInputError(f'--out must name a .pkl file, not {args.out!r}.')
    if args.out and writes_maps:
        for metric in metric_configs(cfg.test_evaluator):
            if is_kind(metric['type'], 'IoUMetric'):
                metric.update(output_dir=args.out, keep_results=True)
    if args.show and not has_display():
        raise BadInputError(
            '--show opens windows, and there is no display here; write pictures into a folder '
            'instead, by --show-dir FOLDER.'
        )
    if args.show or args.show_dir:
        draw_predictions(cfg, args)
    # What is for training alone; a CPU can test what was trained with AMP.
    for key in ('optim_wrapper', 'train_cfg', 'train_dataloader', 'param_scheduler'):
        cfg.pop(key, None)
    problems = check_device(cfg) + check_data(cfg, ('test',)) + check_work_dir(cfg.work_dir)
    report(problems + check_checkpoint_file(args.checkpoint))
    set_default_loader_options(cfg, 'test')
    if args.tta:
        augment_test(cfg)
    runner = build_runner(cfg)
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    model = model.module if args.tta else model
    report(check_checkpoint(args.checkpoint, model, whole=True))
    if args.out and not writes_maps:
        dump_predictions(runner, args.out)
    runner.test()


if __name__ == '__main__':
    run(main)
