"""Tests any model of any OpenMMLab package: ``python tools/test.py CONFIG CHECKPOINT``."""

import argparse
from copy import deepcopy

from mmengine.config import Config, ConfigDict
from mmengine.evaluator import DumpResults
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from sparse_mm.engine.checks import preflight
from sparse_mm.engine.command_line import (
    add_config_options,
    build_runner,
    load_config,
    run,
    set_default_loader_options,
)
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
    scope = cfg.get('default_scope')
    if scope == 'mmpretrain' and args.tta:
        raise BadInputError(
            'mmpretrain cannot draw augmented images; give --tta or --show, not both.'
        )
    hook.update(show=args.show, wait_time=args.wait_time)
    if scope == 'mmseg':
        hook['interval'] = 1  # its own default draws every 50th image alone
    hook['enable' if scope == 'mmpretrain' else 'draw'] = True
    if scope == 'mmdet3d':
        hook['vis_task'] = args.task
    if args.show_dir is None:
        return
    if scope == 'mmpretrain':
        hook['out_dir'] = args.show_dir
    elif scope == 'mmseg':
        cfg.visualizer['save_dir'] = args.show_dir
    else:
        hook['test_out_dir'] = args.show_dir


def augment_test(cfg: Config) -> None:
    """Wraps the model for test-time augmentation; flips where the config names no other."""
    scope = cfg.get('default_scope')
    dataset = cfg.test_dataloader.dataset
    while 'dataset' in dataset:
        dataset = dataset.dataset
    if 'tta_model' not in cfg:
        if scope == 'mmdet':
            merge = dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=100)
            cfg.tta_model = dict(type='DetTTAModel', tta_cfg=merge)
        elif scope == 'mmpretrain':
            cfg.tta_model = dict(type='AverageClsScoreTTA')
        else:
            raise BadInputError(f'--tta needs tta_model in the config; {scope} has no default.')
    if 'tta_pipeline' not in cfg:
        if scope not in ('mmdet', 'mmpretrain'):
            raise BadInputError(f'--tta needs tta_pipeline in the config; {scope} has no default.')
        pipeline = deepcopy(dataset.pipeline)
        pack = pipeline.pop()
        if scope == 'mmdet':
            keys = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')
            pack['meta_keys'] = (*keys, 'flip', 'flip_direction')
        flips = [dict(type='RandomFlip', prob=1.0), dict(type='RandomFlip', prob=0.0)]
        cfg.tta_pipeline = [*pipeline, dict(type='TestTimeAug', transforms=[flips, [pack]])]
    roi_head = cfg.model.get('roi_head') or {}
    if scope == 'mmdet' and isinstance(roi_head, dict) and roi_head.get('mask_head'):
        print('mmdet merges the boxes of augmented images but not their masks: boxes only.')
        roi_head.update(mask_head=None, mask_roi_extractor=None)
        cfg.test_evaluator.metric = 'bbox'
    dataset.pipeline = cfg.tta_pipeline
    cfg.model = ConfigDict(**cfg.tta_model, module=cfg.model)


def dump_predictions(runner: Runner, path: str) -> None:
    """Adds the metric that writes the predictions to a pickle file."""
    if runner.cfg.get('default_scope') == 'mmdet':
        from mmdet.evaluation import DumpDetResults

        runner.test_evaluator.metrics.append(DumpDetResults(out_file_path=path))
    else:
        runner.test_evaluator.metrics.append(DumpResults(out_file_path=path))


def main() -> None:
    """Checks everything that can be checked, then tests."""
    args = parse_args()
    cfg = load_config(args)
    cfg.load_from = args.checkpoint
    cfg.resume = False
    is_mmseg = cfg.get('default_scope') == 'mmseg'
    if args.out and not is_mmseg and not args.out.endswith(('.pkl', '.pickle')):
        raise BadInputError(f'--out must name a .pkl file, not {args.out!r}.')
    if args.out and is_mmseg:
        cfg.test_evaluator.update(output_dir=args.out, keep_results=True)
    if args.show or args.show_dir:
        draw_predictions(cfg, args)
    # What is for training alone; a CPU can test what was trained with AMP.
    for key in ('optim_wrapper', 'train_cfg', 'train_dataloader', 'param_scheduler'):
        cfg.pop(key, None)
    preflight.check_device(cfg)
    preflight.check_data(cfg, ('test',))
    preflight.check_work_dir(cfg.work_dir)
    set_default_loader_options(cfg, 'test')
    if args.tta:
        augment_test(cfg)
    runner = build_runner(cfg)
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    model = model.module if args.tta else model
    preflight.check_checkpoint(args.checkpoint, model, whole=True)
    if args.out and not is_mmseg:
        dump_predictions(runner, args.out)
    runner.test()


if __name__ == '__main__':
    run(main)
