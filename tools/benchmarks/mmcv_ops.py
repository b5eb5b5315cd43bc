"""Times mmcv's compiled operators and ours side by side, at the sizes that detectors use."""

import argparse
import importlib
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import mmcv.ops
import torch
from torch import Tensor

from sparse_mm import mmcv_ops
from sparse_mm.engine.command_line import whole
from sparse_mm.errors import BadInputError


def clustered_boxes(count: int, objects: int = 30, size: float = 800.0) -> tuple[Tensor, Tensor]:
    """Boxes around a few objects, as a detector proposes them, ``(count, 4)``, and scores."""
    centre = torch.rand(objects, 2) * size
    extent = torch.rand(objects, 2) * 100 + 20
    boxes = torch.cat([centre - extent / 2, centre + extent / 2], dim=1)
    return boxes[torch.randint(objects, (count,))] + torch.randn(count, 4) * 5, torch.rand(count)


def turned_boxes(count: int) -> tuple[Tensor, Tensor]:
    """Rotated boxes as a 3D detector proposes them, ``(count, 5)``, and scores."""
    boxes, scores = clustered_boxes(count)
    middle, extent = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    return torch.cat([middle, extent.clamp(min=4), torch.randn(count, 1)], dim=1), scores


def layers(device: torch.device) -> dict[str, tuple[Callable[[], Tensor], list[Tensor]]]:
    """Operators with a gradient: what to call, and the leaves."""
    x = torch.randn(2, 256, 100, 136, device=device, requires_grad=True)
    boxes = clustered_boxes(512)[0].clamp(min=0).to(device)
    rois = torch.cat([torch.arange(512, device=device)[:, None] % 2, boxes], dim=1)
    small = torch.randn(2, 256, 50, 68, device=device, requires_grad=True)
    offset = torch.randn(2, 18, 50, 68, device=device, requires_grad=True)
    mask = torch.rand(2, 9, 50, 68, device=device, requires_grad=True)
    plain = mmcv.ops.DeformConv2d(256, 256, 3, padding=1).to(device)
    modulated = mmcv.ops.ModulatedDeformConv2d(256, 256, 3, padding=1).to(device)
    psa = torch.randn(2, 59 * 59, 30, 30, device=device, requires_grad=True)
    table = {
        'roi_align': (lambda: mmcv.ops.roi_align(x, rois, 7, 0.125, 0, 'avg', True), [x]),
        'roi_align, fixed': (lambda: mmcv.ops.roi_align(x, rois, 14, 0.125, 2, 'avg', True), [x]),
        'DeformConv2d': (lambda: plain(small, offset), [small, offset, plain.weight]),
        'ModulatedDeformConv2d': (
            lambda: modulated(small, offset, mask),
            [small, offset, mask, modulated.weight],
        ),
    }
    if device.type == 'cuda':
        logits = torch.randn(20000, 80, device=device, requires_grad=True)
        target = torch.randint(0, 81, (20000,), device=device)
        table['sigmoid_focal_loss'] = (
            lambda: mmcv.ops.sigmoid_focal_loss(logits, target, 2.0, 0.25, None, 'none'),
            [logits],
        )
        table['roi_pool'] = (lambda: mmcv.ops.roi_pool(x, rois, 7, 0.125), [x])
    else:
        table['PSAMask'] = (lambda: mmcv.ops.PSAMask('collect', 59)(psa), [psa])
    return table


def decisions(device: torch.device) -> dict[str, Callable[[], Any]]:
    """Operators without a gradient."""
    boxes, scores = (tensor.to(device) for tensor in clustered_boxes(1000))
    turned, turned_scores = (tensor.to(device) for tensor in turned_boxes(500))
    labels = torch.randint(80, (1000,), device=device)
    dets = torch.cat([boxes, scores[:, None]], dim=1)
    nms = dict(type='nms', iou_threshold=0.5)
    points, solid = torch.rand(1, 30000, 3) * 50, torch.rand(1, 40, 7) * 20
    table: dict[str, Callable[[], Any]] = {
        'nms': lambda: mmcv.ops.nms(boxes, scores, 0.7),
        'batched_nms': lambda: mmcv.ops.batched_nms(boxes, scores, labels, nms),
        'soft_nms, linear': lambda: mmcv.ops.soft_nms(boxes, scores),
        'soft_nms, Gaussian': lambda: mmcv.ops.soft_nms(boxes, scores, method='gaussian'),
        'nms_match': lambda: mmcv.ops.nms_match(dets, 0.7),
        'bbox_overlaps': lambda: mmcv.ops.bbox_overlaps(boxes, boxes[:100]),
        'box_iou_rotated': lambda: mmcv.ops.box_iou_rotated(turned, turned[:100]),
        'nms_rotated': lambda: mmcv.ops.nms_rotated(turned, turned_scores, 0.3),
    }
    if device.type == 'cpu':
        table['points_in_boxes_cpu'] = lambda: mmcv.ops.points_in_boxes_cpu(points, solid)
    return table


def with_gradient(function: Callable[[], Tensor], leaves: list[Tensor]) -> None:
    """Runs an operator and its backward pass."""
    output = function()
    torch.autograd.grad(output, leaves, torch.ones_like(output))


def compare(function: Callable[[], Any], device: torch.device, rounds: int) -> tuple[float, float]:
    """Milliseconds with the compiled operators and with ours, medians of rounds in turns."""
    modules = [
        module
        for name, module in sys.modules.items()
        if name.startswith('mmcv.ops.') and hasattr(module, 'ext_module')
    ]
    compiled = {module: module.ext_module for module in modules}  # type: ignore[attr-defined]
    times: dict[str, list[float]] = {'compiled': [], 'ours': []}
    try:
        for _ in range(rounds + 1):
            for kind, values in times.items():
                for module in modules:
                    module.ext_module = (  # type: ignore[attr-defined]
                        compiled[module] if kind == 'compiled' else mmcv_ops
                    )
                start = time.perf_counter()
                function()
                if device.type == 'cuda':
                    torch.cuda.synchronize()
                values.append((time.perf_counter() - start) * 1e3)
    finally:
        for module in modules:
            module.ext_module = compiled[module]  # type: ignore[attr-defined]
    return median(times['compiled'][1:]), median(times['ours'][1:])  # the first warms up


def main() -> None:
    """Prints one line for each operator and pass."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--device', default='cpu', help='cpu or cuda')
    parser.add_argument('--rounds', type=whole, default=15, help='passes of each')
    args = parser.parse_args()
    if not importlib.import_module('mmcv._ext').__file__.endswith(('.so', '.pyd')):
        raise BadInputError(
            'This compares with compiled mmcv, which is not installed here; docs/mmcv.md says how '
            'to unpack one beside the environment.'
        )
    torch.manual_seed(0)
    device = torch.device(args.device)
    print(f'{"operator":24}{"pass":>10}{"compiled ms":>13}{"ours ms":>9}{"ratio":>7}')
    runs: list[tuple[str, str, Callable[[], Any]]] = []
    for name, (function, leaves) in layers(device).items():
        runs.append((name, 'forward', function))
        runs.append((name, 'both', lambda f=function, x=leaves: with_gradient(f, x)))
    runs += [(name, '', function) for name, function in decisions(device).items()]
    for name, kind, function in runs:
        theirs, ours = compare(function, device, args.rounds)
        print(f'{name:24}{kind:>10}{theirs:13.2f}{ours:9.2f}{ours / theirs:7.2f}', flush=True)


if __name__ == '__main__':
    try:
        main()
    except BadInputError as error:
        sys.exit(f'error: {error}')
