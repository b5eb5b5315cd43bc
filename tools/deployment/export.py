"""Exports a config's backbone, or its whole model, to ONNX or to a program of torch.export.

The pruning ratios are constants of the exported graph, which does not compute pruned windows. The
file is saved only after its outputs have been compared with PyTorch's.

python tools/deployment/export.py CONFIG CHECKPOINT --out backbone.onnx
python tools/deployment/export.py CONFIG CHECKPOINT --out model.onnx --whole

Models of clips are exported for one number of frames, too; several views of a video are a batch.
A JSON file beside a whole model describes its outputs and its preprocessing.
tools/deployment/run_exported.py runs it.
"""

import argparse
import json
import os
import sys
from contextlib import redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import sparse_mm  # noqa: F401, before MMEngine, which asks for the home of a user without one

# isort: split
import torch
from mmengine.config import Config

from sparse_mm.checkpoints import read_checkpoint
from sparse_mm.deploy.export import compare, random_images, to_onnx, to_program
from sparse_mm.deploy.structure import output_names
from sparse_mm.deploy.whole_model import CLASSIFIER, WholeModel
from sparse_mm.engine.checks import check_checkpoint, check_part, report
from sparse_mm.engine.checks.folders import is_elsewhere
from sparse_mm.engine.command_line import Override, read_config, read_ratios, run, whole
from sparse_mm.engine.files import write_atomically
from sparse_mm.engine.image_sizes import usual_clip_length, usual_image_size
from sparse_mm.engine.inspection import (
    build_backbone,
    build_model,
    input_channels,
    our_backbone,
    sees_clips,
)
from sparse_mm.engine.preprocessing import describe_preprocessing
from sparse_mm.engine.quiet import init_weights_quietly
from sparse_mm.errors import BadInputError
from sparse_mm.models.backbones.swin_backbone import SwinBackbone
from sparse_mm.named_weights import part_of, weights_of

# What a format needs besides torch.
PACKAGES: dict[str, tuple[str, ...]] = {
    '.onnx': ('onnx', 'onnxscript', 'onnxruntime'),
    '.pt2': (),
}


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('config', help='config of a model with one of our backbones')
    parser.add_argument('checkpoint', nargs='?', help='its weights (default: random ones)')
    parser.add_argument(
        '--out', required=True, help='file to write: .onnx, or .pt2 for torch.export.load'
    )
    parser.add_argument(
        '--shape',
        nargs=2,
        type=whole,
        metavar=('H', 'W'),
        help='image size in pixels; by default the fixed size of the test pipeline',
    )
    parser.add_argument(
        '--whole',
        action='store_true',
        help='the model, not its backbone alone: a classifier up to its scores, a segmentor up to '
        'its logits, a detector up to what neck and dense head give',
    )
    parser.add_argument(
        '--frames',
        type=whole,
        help='frames of a clip, for models of clips; by default those of the test pipeline',
    )
    parser.add_argument('--batch', type=whole, default=1, help='images or clips (default: 1)')
    parser.add_argument(
        '--free-batch',
        action='store_true',
        help='let the file take any number of images or clips, not --batch alone',
    )
    parser.add_argument(
        '--ratios',
        help='pruning ratios, as JSON ("[0.5, 0, 0.2, 0]", "0.6") or a JSON file; by default the '
        "config's or the checkpoint's",
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=Override,
        help='override settings of the config, key=value; lists as key="[a,b]" or key=a,b',
    )
    return parser.parse_args()


def check_out(out: Path) -> None:
    """Checks, before anything is computed, that the file's format is known and can be made.

    Raises:
        BadInputError: It cannot.
    """
    if out.suffix not in PACKAGES:
        raise BadInputError(
            f'--out {str(out)!r} must end in {" or ".join(PACKAGES)}, which says what to export to.'
        )
    missing = [name for name in PACKAGES[out.suffix] if find_spec(name) is None]
    if missing:
        raise BadInputError(
            f'Exporting to {out.suffix} needs {", ".join(missing)}; '
            'pip install -r requirements/deployment.txt.'
        )
    if is_elsewhere(str(out)):
        raise BadInputError(f'--out {str(out)!r} is not on this machine; choose a local one.')
    if out.is_dir():
        raise BadInputError(f'--out {str(out)!r} is a folder; name a file.')
    temporary = temporary_path(out)
    try:
        if not out.parent.exists():
            out.parent.mkdir(parents=True)
        temporary.touch()
        temporary.unlink()
    except OSError as error:
        raise BadInputError(
            f'--out {str(out)!r} cannot be written ({error.strerror}); choose another.'
        ) from error


def temporary_path(out: Path) -> Path:
    """Where a file lies until it has been checked: beside the one that it becomes."""
    return out.with_name(f'.{out.stem}.{os.getpid()}{out.suffix}')


def build(args: argparse.Namespace) -> tuple[Config, Any, Any, tuple[int, ...]]:
    """Builds the config's model with its weights and ratios.

    Returns:
        The config, the model (the backbone alone unless ``--whole``), its backbone, and the image
        size, of clips ``(T, H, W)``.

    Raises:
        BadInputError: The config has no such backbone or size, the checkpoint is of another model,
            or the ratios do not fit.
    """
    cfg = read_config(args.config, args.cfg_options)
    shape: tuple[int, ...] = tuple(args.shape or usual_image_size(cfg, 'test'))
    # A text model, or whatever else stands beside the backbone, is built if it is wanted.
    model = build_model(cfg) if args.whole else build_backbone(cfg)
    backbone = our_backbone(model)
    if sees_clips(backbone):
        shape = (args.frames or usual_clip_length(cfg, 'test'), *shape)
    elif args.frames is not None:
        raise BadInputError(f'--frames: {type(backbone).__name__} is no model of clips.')
    if args.checkpoint is None:
        backbone.init_cfg = None
        init_weights_quietly(backbone)
    elif args.whole:
        report(check_checkpoint(args.checkpoint, model, whole=True))
        weights = weights_of(read_checkpoint(args.checkpoint), args.checkpoint)
        model.load_state_dict(weights, strict=False)
    else:
        report(check_part(args.checkpoint, backbone))
        weights = weights_of(read_checkpoint(args.checkpoint), args.checkpoint)
        backbone.load_state_dict(part_of(weights, backbone.state_dict()), strict=False)
    if args.ratios is not None:
        if not isinstance(backbone, SwinBackbone):
            raise BadInputError(f'--ratios: {type(backbone).__name__} cannot be pruned.')
        backbone.set_pruning_ratios(read_ratios(args.ratios))
    return cfg, model, backbone, shape


def class_names(checkpoint: str | None) -> tuple[str, ...]:
    """The classes that a checkpoint names, which MMEngine keeps in it."""
    meta = (read_checkpoint(checkpoint).get('meta') or {}) if checkpoint else {}
    return tuple((meta.get('dataset_meta') or {}).get('classes') or ())


def description_path(out: Path) -> Path:
    """Where a whole model is described."""
    return out.with_suffix('.json')


@torch.no_grad()
def main() -> None:
    """Checks, exports, runs what was exported, and only then gives it its name."""
    args = parse_args()
    out = Path(args.out)
    check_out(out)
    given = [args.batch, *(args.shape or ()), *([] if args.frames is None else [args.frames])]
    if min(given) < 1:
        raise BadInputError('--batch, --shape and --frames must be at least 1.')
    temporary = temporary_path(out)
    with redirect_stdout(sys.stderr):  # what others print while they work
        cfg, model, backbone, shape = build(args)
        images = random_images(args.batch, shape, input_channels(backbone))
        description: dict[str, Any] = {}
        if args.whole:
            module: Any = WholeModel(model, (shape[-2], shape[-1])).eval()
            if args.free_batch and module.kind != CLASSIFIER:
                raise BadInputError(
                    f'--free-batch: the whole graph of a {module.kind} is for one batch; leave it '
                    'out.'
                )
            expected, names, levels = module.describe(images)
            description = dict(
                kind=module.kind,
                outputs={
                    n: [None if args.free_batch else len(e), *e.shape[1:]]
                    for n, e in zip(names, expected, strict=True)
                },
                neck_levels=levels,
                threshold=module.threshold,
                classes=list(class_names(args.checkpoint)),
                preprocessing=describe_preprocessing(cfg, shape),
            )
        else:
            module, names = backbone, output_names(backbone)
            expected = list(backbone(images))
        if isinstance(backbone, SwinBackbone):
            backbone.fix_image_size((shape[-2], shape[-1]))
        ratios = getattr(backbone, 'pruning_ratios', None)
        meta = dict(backbone=type(backbone).__name__, pruning_ratios=json.dumps(ratios))
        try:
            if out.suffix == '.onnx':
                exported = to_onnx(module, images, temporary, meta, names, args.free_batch)
            else:
                exported = to_program(module, images, temporary, meta, args.free_batch)
            differences = compare(exported(images), expected, names)
            os.replace(temporary, out)
            if args.whole:
                write_atomically(description_path(out), json.dumps(description, indent=1))
        finally:
            temporary.unlink(missing_ok=True)
    weights = 'random weights' if args.checkpoint is None else args.checkpoint
    print(f'{type(backbone).__name__}, {weights}')
    if ratios is not None:
        print(f'pruning ratios: {ratios}')
    batch = 'any' if args.free_batch else args.batch
    print(f'{"images":10} {" x ".join(map(str, [batch, *images.shape[1:]]))}')
    for name, value, difference in zip(names, expected, differences, strict=True):
        size = ' x '.join(map(str, value.shape))
        print(f'{name:10} {size:24} largest difference {difference:.1e} of its largest value')
    print(f'written: {out} ({out.stat().st_size / 1e6:.1f} MB)')
    if args.whole:
        print(f'written: {description_path(out)}')


if __name__ == '__main__':
    run(main)
