"""Exports a config's backbone for one size of images: to ONNX, or to a program of torch.export.

The pruning ratios are constants of what is exported: windows that they prune are computed nowhere
in it. The file takes its name only after it ran and gave what PyTorch gives.

python tools/deployment/export.py CONFIG CHECKPOINT --out backbone.onnx
"""

import argparse
import json
import logging
import os
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.config import DictAction
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from sparse_mm.checkpoints import read_checkpoint, weights_of
from sparse_mm.engine.checks import check_checkpoint, report
from sparse_mm.engine.command_line import read_config, read_ratios, run
from sparse_mm.engine.inspection import (
    build_model,
    input_channels,
    our_backbone,
    usual_image_size,
)
from sparse_mm.errors import BadInputError
from sparse_mm.models.backbones.swin_backbone import SwinBackbone

# What a format needs besides torch.
PACKAGES: dict[str, tuple[str, ...]] = {
    '.onnx': ('onnx', 'onnxscript', 'onnxruntime'),
    '.pt2': (),
}
# Has GridSample and LayerNormalization, and is what PyTorch's exporter itself is written for.
OPSET = 18
# Largest difference from PyTorch, of an output's largest value.
TOLERANCE = 1e-3

Pass = Callable[[Tensor], list[Tensor]]


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
        type=int,
        metavar=('H', 'W'),
        help='image size in pixels; by default the fixed size of the test pipeline',
    )
    parser.add_argument('--batch', type=int, default=1, help='images (default: 1)')
    parser.add_argument(
        '--ratios',
        help='pruning ratios, as JSON ("[0.5, 0, 0.2, 0]", "0.6") or a JSON file; by default the '
        "config's or the checkpoint's",
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
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


def build_backbone(args: argparse.Namespace) -> tuple[Any, tuple[int, int]]:
    """Builds the config's backbone with its weights and ratios; gives the image size, too.

    Raises:
        BadInputError: The config has no such backbone or size, the checkpoint is of another model,
            or the ratios do not fit.
    """
    cfg = read_config(args.config, args.cfg_options)
    shape = tuple(args.shape or usual_image_size(cfg, 'test'))
    model = build_model(cfg)
    backbone = our_backbone(model)
    if args.checkpoint is None:
        backbone.init_cfg = None
        backbone.init_weights()
    else:
        report(check_checkpoint(args.checkpoint, model, whole=True))
        weights = weights_of(read_checkpoint(args.checkpoint), args.checkpoint)
        model.load_state_dict(weights, strict=False)
    if args.ratios is not None:
        if not isinstance(backbone, SwinBackbone):
            raise BadInputError(f'--ratios: {type(backbone).__name__} cannot be pruned.')
        backbone.set_pruning_ratios(read_ratios(args.ratios))
    return backbone, shape


def output_names(backbone: nn.Module) -> list[str]:
    """Names what a backbone gives."""
    if isinstance(backbone, SwinBackbone):
        return [f'stage{i}' for i in backbone.out_indices]
    return ['pooled'] if backbone.out_type == 'pooled' else ['tokens', 'rois', 'features']


def random_images(batch: int, shape: tuple[int, int], channels: int = 3) -> Tensor:
    """Draws soft random colours, the same in each run.

    White noise would tell little: its windows matter so equally that rounding decides which are
    kept, and where latent tokens look, from pixel to pixel nothing is alike, so that two orders of
    summation in PyTorch alone can give tokens that differ by percents.
    """
    generator = torch.Generator().manual_seed(0)
    cells = torch.randn(batch, channels, 8, 8, generator=generator)
    return F.interpolate(cells, size=shape, mode='bicubic')


def to_program(module: nn.Module, images: Tensor, path: Path, meta: dict[str, str]) -> Pass:
    """Writes a program of ``torch.export``; gives a function that runs the written file."""
    program = torch.export.export(module, (images,))
    torch.export.save(program, path, extra_files=meta)
    loaded = torch.export.load(path).module()
    return lambda x: list(loaded(x))


def to_onnx(
    module: nn.Module, images: Tensor, path: Path, meta: dict[str, str], names: list[str]
) -> Pass:
    """Writes ONNX; gives a function that runs the written file in onnxruntime, on the CPU."""
    # Imported here: the other format needs none of these.
    import onnxruntime
    from onnxscript import opset18 as op

    def stable_sort(x: Any, stable: bool = True, dim: int = -1, descending: bool = False) -> Any:
        """What PyTorch's exporter lacks; TopK, too, gives equal values in their order."""
        count = op.Constant(value_ints=[x.shape[dim]])
        return op.TopK(x, count, axis=dim, largest=int(descending), sorted=1)

    # It tells of each node that it does not fold.
    logging.getLogger('onnxscript').setLevel(logging.ERROR)
    # By the plain attention: the exporter loses how the CPU's fused one lays out its result.
    with sdpa_kernel(SDPBackend.MATH):
        exported: Any = torch.onnx.export(
            torch.export.export(module, (images,)),
            input_names=['images'],
            output_names=names,
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
            custom_translation_table={torch.ops.aten.sort.stable: stable_sort},
        )
    exported.model.metadata_props.update(meta)
    exported.save(path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options, providers=['CPUExecutionProvider'])
    return lambda x: [torch.from_numpy(y) for y in session.run(None, {'images': x.numpy()})]


def compare(found: list[Tensor], expected: list[Tensor], names: list[str]) -> list[float]:
    """Gives the largest difference of each output, of its largest value.

    Raises:
        BadInputError: One is above the tolerance.
    """
    differences = []
    for name, ours, theirs in zip(names, found, expected, strict=True):
        largest = theirs.abs().max().clamp(min=1e-12)
        difference = float((ours - theirs).abs().max() / largest)
        if not difference <= TOLERANCE:  # this way round, NaN is too much
            raise BadInputError(
                f"The exported file's {name} differs from PyTorch's by {difference:.2g} of its "
                f'largest value (allowed: {TOLERANCE:g}); nothing was written.'
            )
        differences.append(difference)
    return differences


@torch.no_grad()
def main() -> None:
    """Checks, exports, runs what was exported, and only then gives it its name."""
    args = parse_args()
    out = Path(args.out)
    check_out(out)
    if args.batch < 1 or (args.shape and min(args.shape) < 1):
        raise BadInputError('--batch and --shape must be at least 1.')
    temporary = temporary_path(out)
    with redirect_stdout(sys.stderr):  # what others print while they work
        backbone, shape = build_backbone(args)
        images = random_images(args.batch, shape, input_channels(backbone))
        names = output_names(backbone)
        expected = list(backbone(images))
        if isinstance(backbone, SwinBackbone):
            backbone.fix_image_size(shape)
        ratios = getattr(backbone, 'pruning_ratios', None)
        meta = dict(backbone=type(backbone).__name__, pruning_ratios=json.dumps(ratios))
        try:
            if out.suffix == '.onnx':
                exported = to_onnx(backbone, images, temporary, meta, names)
            else:
                exported = to_program(backbone, images, temporary, meta)
            differences = compare(exported(images), expected, names)
            os.replace(temporary, out)
        finally:
            temporary.unlink(missing_ok=True)
    weights = 'random weights' if args.checkpoint is None else args.checkpoint
    print(f'{type(backbone).__name__}, {weights}')
    if ratios is not None:
        print(f'pruning ratios: {ratios}')
    print(f'{"images":10} {" x ".join(map(str, images.shape))}')
    for name, value, difference in zip(names, expected, differences, strict=True):
        size = ' x '.join(map(str, value.shape))
        print(f'{name:10} {size:24} largest difference {difference:.1e} of its largest value')
    print(f'written: {out} ({out.stat().st_size / 1e6:.1f} MB)')


if __name__ == '__main__':
    run(main)
