"""Counts the multiply-accumulates (MACs) that a model executes, and its parameters.

Every matrix product, convolution and attention product that PyTorch executes is counted, so pruned
windows are not included, and padding is. The papers' tables count in the same way.
"""

import argparse
import json
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # Python adds a script's folder alone

from sparse_mm.engine.command_line import add_config_options, load_config, read_ratios, run, whole
from sparse_mm.engine.hosts import Host, host_of, load
from sparse_mm.engine.image_sizes import say_sliding, usual_clip_length, usual_image_size
from sparse_mm.engine.inspection import (
    build_backbone,
    build_model,
    input_channels,
    main_backbone,
    sees_clips,
)
from sparse_mm.errors import BadInputError
from tools.benchmarks.counting import count_macs


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_config_options(parser)
    parser.add_argument(
        '--shape',
        nargs=2,
        type=whole,
        metavar=('H', 'W'),
        help='image size in pixels; by default the fixed size of the test pipeline',
    )
    parser.add_argument(
        '--frames',
        type=whole,
        help='frames of a clip, for models of clips; by default those of the test pipeline',
    )
    parser.add_argument('--batch', type=whole, default=1, help='images (default: 1)')
    parser.add_argument('--backbone', action='store_true', help='count the backbone alone')
    parser.add_argument(
        '--ratios', help='pruning ratios, as JSON ("[0.5, 0, 0.2, 0]", "0.6") or a JSON file'
    )
    parser.add_argument('--json', action='store_true', help='print one line of JSON')
    return parser.parse_args()


def model_inputs(host: Host, images: torch.Tensor) -> tuple[Any, list | None]:
    """Gives the inputs and data samples with which a whole model runs in ``mode='tensor'``.

    Args:
        host: The package that the model is of.
        images: ``(B, C, H, W)``.
    """
    if host.sample is None:
        return images, None
    sample = load(host.sample)
    inputs = images if host.images_key is None else {host.images_key: images}
    return inputs, [sample(metainfo=meta_of(images.shape[-2:])) for _ in images]


def meta_of(shape: tuple[int, ...]) -> dict[str, Any]:
    """What a data sample says of an image of ``(H, W)`` that was not resized."""
    size = tuple(shape)
    names = 'img_shape', 'ori_shape', 'pad_shape', 'batch_input_shape'
    return {**dict.fromkeys(names, size), 'scale_factor': (1.0, 1.0)}


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Builds the model, runs it once on random images, gives what was counted."""
    cfg = load_config(args)
    given = [args.batch, *(args.shape or ()), *([] if args.frames is None else [args.frames])]
    if min(given) < 1:
        raise BadInputError('--batch, --shape and --frames must be at least 1.')
    shape = tuple(args.shape or usual_image_size(cfg, 'test'))
    model = build_backbone(cfg) if args.backbone else build_model(cfg)
    backbone: Any = main_backbone(model)
    if args.ratios is not None:
        if not hasattr(backbone, 'set_pruning_ratios'):
            raise BadInputError(f'--ratios: {type(backbone).__name__} cannot be pruned.')
        backbone.set_pruning_ratios(read_ratios(args.ratios))

    frames = []
    if sees_clips(backbone):
        frames = [args.frames or usual_clip_length(cfg, 'test')]
    elif args.frames is not None:
        raise BadInputError(f'--frames: {type(backbone).__name__} is no model of clips.')
    counted = backbone if args.backbone else model
    images = torch.randn(args.batch, input_channels(backbone), *frames, *shape)
    if args.backbone:
        # On the meta device nothing is computed, yet everything runs.
        macs = count_macs(backbone.to('meta'), images.to('meta'))
    elif hasattr(model, 'encode_decode'):  # mmseg: as it tests, where heads ask for the metas
        macs = count_macs(model.encode_decode, images, [meta_of(shape)] * args.batch)
    else:
        inputs, samples = model_inputs(host_of(cfg), images)
        macs = count_macs(model, inputs, data_samples=samples, mode='tensor')
    return dict(
        macs=macs,
        params=sum(parameter.numel() for parameter in counted.parameters()),
        counted='backbone' if args.backbone else 'model',
        type=type(counted).__name__,
        shape=[*frames, *shape],
        channels=images.shape[1],
        batch=args.batch,
        sliding='' if args.shape else say_sliding(cfg, 'test'),
        pruning_ratios=getattr(backbone, 'pruning_ratios', None),
    )


def main() -> None:
    """Prints what a model costs."""
    args = parse_args()
    with redirect_stdout(sys.stderr):  # MMEngine logs to stdout, which is for the result
        result = measure(args)
    if args.json:
        print(json.dumps(result))
        return
    macs, batch = result['macs'], result['batch']
    size = ' x '.join(map(str, [batch, result['channels'], *result['shape']]))
    what = 'image' if len(result['shape']) == 2 else 'clip'
    print(f'{result["counted"]} ({result["type"]}), {size}')
    if result['sliding']:
        print(result['sliding'])
    print(f'pruning ratios: {result["pruning_ratios"]}')
    print(f'MACs:       {macs / 1e9:.2f} G ({macs / 1e9 / batch:.2f} G per {what})')
    print(f'parameters: {result["params"] / 1e6:.2f} M')


if __name__ == '__main__':
    run(main)
