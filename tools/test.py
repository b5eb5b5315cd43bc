"""Tests any model of any OpenMMLab package: ``python tools/test.py CONFIG CHECKPOINT``."""

import argparse
import inspect
import os
import re
import socket
import sys
from copy import deepcopy
from typing import Any

import sparse_mm  # noqa: F401, before MMEngine, which asks for the home of a user without one

# isort: split
import torch
from mmengine.config import Config, ConfigDict
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import METRICS, DefaultScope
from mmengine.runner import Runner

from sparse_mm.engine.checks import (
    check_checkpoint,
    check_checkpoint_file,
    check_data,
    check_device,
    check_loops,
    check_settings,
    check_types,
    check_work_dir,
    needs_cuda,
    report,
)
from sparse_mm.engine.command_line import (
    add_config_options,
    build_runner,
    finite,
    load_config,
    run,
    set_default_loader_options,
    start_together,
)
from sparse_mm.engine.deployment import (
    add_engine_options,
    add_sizes_option,
    deploy,
    read_sizes,
)
from sparse_mm.engine.hosts import (
    MASK_METRICS,
    data_prefixes,
    host_of,
    is_kind,
    load,
    name_of,
    scope_of,
)
from sparse_mm.engine.inspection import leaf_datasets, metric_configs
from sparse_mm.errors import BadInputError
from sparse_mm.ranks import on_every_process


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
        '--wait-time', type=finite, default=2, help='seconds that each window stays open'
    )
    add_engine_options(parser)
    add_sizes_option(parser)
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
    if host.draws_loaded_truth:
        check_order_of_truth(cfg)
    hook.update(show=args.show, wait_time=args.wait_time, **host.draw)
    if host.has_task:
        hook['vis_task'] = args.task
    if args.show_dir is not None:
        cfg.merge_from_dict({host.pictures: args.show_dir})


def check_order_of_truth(cfg: Config) -> None:
    """Checks that annotations are not resized with images that are drawn in their own size.

    Raises:
        BadInputError: A test pipeline loads them before it resizes.
    """
    for dataset in leaf_datasets(cfg.test_dataloader.dataset):
        steps = [name_of(step['type']) for step in dataset.get('pipeline') or ()]
        resized = [i for i, name in enumerate(steps) if 'Resize' in name]
        if 'LoadAnnotations' in steps[: max(resized, default=0)]:
            raise BadInputError(
                'Predictions are drawn on images as they are loaded, beside annotations that the '
                'test pipeline resizes; let LoadAnnotations follow Resize there, as in the '
                "host's own configs, or leave it out."
            )


def augment_test(cfg: Config) -> None:
    """Wraps the model for test-time augmentation; flips where the config names no other."""
    scope, host = scope_of(cfg), host_of(cfg)
    # Configs of classes have no scope by default, in which names would be looked up.
    prefix = '' if cfg.get('default_scope') else f'{scope}.'
    datasets = list(leaf_datasets(cfg.test_dataloader.dataset))
    if 'tta_model' not in cfg:
        if host.tta_model is None:
            raise BadInputError(f'--tta needs tta_model in the config; {scope} has no default.')
        cfg.tta_model = dict(deepcopy(host.tta_model), type=f'{prefix}{host.tta_model["type"]}')
    if 'tta_pipeline' not in cfg:
        if host.tta_keys is None:
            raise BadInputError(f'--tta needs tta_pipeline in the config; {scope} has no default.')
        for dataset in datasets:
            dataset.pipeline = flipped(dataset.pipeline, f'{prefix}RandomFlip', host.tta_keys)
    else:
        for dataset in datasets:
            dataset.pipeline = deepcopy(cfg.tta_pipeline)
    if not host.tta_joins_masks:
        judge_boxes_alone(cfg, scope)
    cfg.model = ConfigDict(**cfg.tta_model, module=cfg.model)


def flipped(pipeline: list, flip: str, keys: tuple[str, ...]) -> list:
    """A test pipeline that gives each image as it is and mirrored.

    Args:
        pipeline: The plain one.
        flip: The transform that mirrors.
        keys: What its last transform must pack.
    """
    *steps, pack = deepcopy(pipeline)
    if keys:
        pack['meta_keys'] = keys
    flips = [dict(type=flip, prob=1.0), dict(type=flip, prob=0.0)]
    return [*steps, dict(type='TestTimeAug', transforms=[flips, [pack]])]


def judge_boxes_alone(cfg: Config, scope: str) -> None:
    """Leaves masks out of a test whose host joins boxes alone.

    Raises:
        BadInputError: The evaluator judges nothing but masks.
    """
    said = f'{scope} merges the boxes of augmented images but not their masks'
    roi_head = cfg.model.get('roi_head') or {}
    if isinstance(roi_head, dict) and roi_head.get('mask_head'):
        roi_head.update(mask_head=None, mask_roi_extractor=None)
    for metric in metric_configs(cfg.test_evaluator):
        named = metric.get('metric', 'bbox')
        named = [named] if isinstance(named, str) else list(named)
        if is_kind(metric['type'], 'CocoMetric') and 'segm' in named:
            metric['metric'] = [name for name in named if name != 'segm'] or 'bbox'
            print(f'{said}: boxes only.')
        elif is_kind(metric['type'], *MASK_METRICS):
            raise BadInputError(
                f'{said}, which {name_of(metric["type"])} judges; test without --tta.'
            )


def has_display() -> bool:
    """Whether windows can be opened; where it is not known, that they can.

    A display that is named and not there, as after an ssh session, would end the process.
    """
    if not sys.platform.startswith('linux') or os.environ.get('WAYLAND_DISPLAY'):
        return True
    named = re.fullmatch(r'(?:(.*)/)?([^:/]*):(\d+)(?:\.\d+)?', os.environ.get('DISPLAY', ''))
    if named is None:
        return False
    _, host, number = named.groups()
    path = f'/tmp/.X11-unix/X{number}'  # where X servers listen, on every system
    places: list[tuple[int, Any]] = [(socket.AF_INET, (host, 6000 + int(number)))]
    if host in ('', 'unix'):
        places = [(socket.AF_UNIX, path), (socket.AF_UNIX, f'\0{path}')]
    for family, address in places:
        with socket.socket(family) as door:
            door.settimeout(2)
            try:
                door.connect(address)
            except OSError:
                continue
            return True
    return False


def dump_predictions(runner: Runner, path: str) -> None:
    """Adds the metric that writes the predictions to a pickle file."""
    metric = load(host_of(runner.cfg).dump_metric)(out_file_path=path)
    runner.test_evaluator.metrics.append(metric)
    if data_prefixes(runner.cfg.test_evaluator):
        # An evaluator for joined data sets evaluates one metric for each, and no more.
        runner.register_hook(EvaluateAfterTest(metric))


def write_maps(cfg: Config, folder: str) -> None:
    """Lets every metric that can write what is predicted do so, as mmseg's own tool does.

    Raises:
        BadInputError: None can.
    """
    named = metric_configs(cfg.get('test_evaluator') or [])
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope') or 'mmengine'):
        writing = [metric for metric in named if _may_write(metric['type'])]
    if not writing:
        types = ', '.join(name_of(metric['type']) for metric in named)
        raise BadInputError(
            f'--out: no metric of the test_evaluator ({types}) writes what is predicted; leave it '
            'out, or add IoUMetric.'
        )
    for metric in writing:
        metric.update(output_dir=folder, keep_results=True)


def _may_write(kind: Any) -> bool:
    """Whether a metric takes a folder to write into; unknown ones are reported later."""
    metric = METRICS.get(kind) if isinstance(kind, str) else kind
    if not isinstance(metric, type):
        return True
    # A class of a user's own may pass what it does not name to the one above it.
    made = (vars(above)['__init__'] for above in metric.mro() if '__init__' in vars(above))
    return any('output_dir' in inspect.signature(one).parameters for one in made)


class EvaluateAfterTest(Hook):
    """Lets a metric compute what it is for, which the evaluator leaves out."""

    def __init__(self, metric: BaseMetric) -> None:
        self.metric = metric

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """All batches are processed."""
        self.metric.evaluate(len(runner.test_dataloader.dataset))


def main() -> None:
    """Checks everything that can be checked, then tests."""
    args = parse_args()
    cfg = load_config(args)
    report(check_settings(cfg, 'test'))
    deploy(cfg, args.engine, args.precision, sizes=read_sizes(args.sizes))
    cfg.load_from = args.checkpoint
    cfg.resume = False
    writes_maps = host_of(cfg).maps_folder
    if args.out and not writes_maps and not args.out.endswith(('.pkl', '.pickle')):
        raise BadInputError(f'--out must name a .pkl file, not {args.out!r}.')
    if args.out and writes_maps:
        write_maps(cfg, args.out)
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
    device = check_device(cfg)
    if needs_cuda(cfg, 'test') and not torch.cuda.is_available():
        device.append(
            'NuScenesMetric joins the boxes of a frame on CUDA alone, and torch sees no such '
            "device; set test_evaluator.type='MonoNuScenesMetric', which needs none."
        )
    problems = device + check_loops(cfg) + check_types(cfg, ('test',))
    problems += check_data(cfg, ('test',)) + check_work_dir(cfg.work_dir)
    start_together(cfg, device, problems + check_checkpoint_file(args.checkpoint))
    set_default_loader_options(cfg, 'test')
    if args.tta:
        augment_test(cfg)
    runner = build_runner(cfg)
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    model = model.module if args.tta else model
    on_every_process(lambda: report(check_checkpoint(args.checkpoint, model, whole=True)))
    if args.out and not writes_maps:
        dump_predictions(runner, args.out)
    runner.test()


if __name__ == '__main__':
    run(main)
