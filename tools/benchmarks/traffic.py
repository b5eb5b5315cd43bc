"""Counts the kernels, bytes and synchronisations of a pass on a GPU, without a GPU.

    python -m tools.benchmarks.traffic

Passes run on fake CUDA tensors, which have shapes but no values. Each operator that is not a view
is a kernel; its bytes are those of its inputs and outputs, and for a gather only those that it
reads. This is eager PyTorch, so operators that a compiler would fuse are counted separately.
Attention is the memory-efficient kernel, which PyTorch uses with a bias and without cuDNN.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from functools import lru_cache
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sparse_mm.models.backbones import sparse_former_unit
from sparse_mm.models.layers import roi_attention, window_attention, windows

aten = torch.ops.aten
# Neither views nor kernels.
FREE = {
    *(aten.empty.memory_format, aten.empty_strided.default, aten.empty_like.default),
    *(aten.new_empty.default, aten._unsafe_view.default, aten.lift_fresh.default),
    *(aten.detach.default, aten.sym_size.int),
}
GATHERS = {
    *(aten.index_select.default, aten.index.Tensor, aten.gather.default, aten.embedding.default),
}
# The host must know a number before it can go on.
WAITS = {
    *(aten._local_scalar_dense.default, aten.nonzero.default, aten.masked_select.default),
    *(aten.equal.default, aten.unique_dim.default, aten._unique2.default),
    *(aten.unique_consecutive.default, aten.bincount.default, aten.repeat_interleave.Tensor),
    *(aten.allclose.default, aten.is_nonzero.default),
}


class Traffic(TorchDispatchMode):
    """Counts what runs within it.

    Attributes:
        kernels: How often each operator ran.
        moved: Bytes, in all.
        waits: What made the host wait for the device, or the device for the host's memory.
    """

    def __init__(self) -> None:
        super().__init__()
        self.kernels: Counter[str] = Counter()
        self.moved = 0
        self.waits: list[str] = []

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if function.namespace == 'prim':  # reading a fake tensor's device
            return function(*args, **kwargs)
        inputs = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        if _waits(function, inputs, args, kwargs):
            self.waits.append(str(function))
        out = function(*args, **kwargs)
        outputs = [x for x in tree_leaves(out) if isinstance(x, Tensor)]
        on_device = any(not x.is_cpu for x in (*inputs, *outputs))
        if on_device and not function.is_view and function not in FREE:
            self.kernels[str(function)] += 1
            written = sum(map(_bytes, outputs))
            read = sum(map(_bytes, inputs))
            if function in GATHERS:
                read = written + sum(_bytes(x) for x in inputs if not x.is_floating_point())
            self.moved += read + written
        return out


def _bytes(x: Tensor) -> int:
    """Of the memory behind a tensor that it shows: an expanded dimension is there once."""
    count = 1
    for side, stride in zip(x.shape, x.stride(), strict=True):
        count *= side if stride else 1
    return count * x.element_size()


def _waits(function: Any, inputs: list[Tensor], args: tuple, kwargs: dict) -> bool:
    if function in WAITS:
        return True
    if function in (aten.index.Tensor, aten.index_put.default, aten.index_put_.default):
        # Truth values as an index: how many are true is the size of what comes out.
        return any(x.dtype in (torch.bool, torch.uint8) for x in inputs[1:])
    if function in (aten._to_copy.default, aten.copy_.default):
        devices = {x.device.type for x in inputs}
        if 'device' in kwargs and kwargs['device'] is not None:
            devices.add(torch.device(kwargs['device']).type)
        non_blocking = kwargs.get('non_blocking', args[2] if len(args) > 2 else False)
        return len(devices) > 1 and not non_blocking
    return False


def _efficient_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bias: Tensor | None = None,
    dropout: float = 0.0,
    scale: float | None = None,
) -> Tensor:
    """What PyTorch does on a GPU: the bias is padded to rows of eight, then its kernel runs."""
    if bias is not None:
        length = bias.shape[-1]
        bias = F.pad(bias, (0, -length % 8))[..., :length]
        bias = bias.expand(*query.shape[:3], length)
    out: Tensor = aten._scaled_dot_product_efficient_attention(
        query, key, value, bias, torch.is_grad_enabled(), dropout, False, scale=scale
    )[0]
    return out


@contextmanager
def as_on_a_gpu() -> Iterator[None]:
    """Within it models compute what they would on a GPU, on devices that have no numbers."""
    with ExitStack() as stack:
        for module in (window_attention, sparse_former_unit, roi_attention):
            stack.enter_context(patch.object(module, 'attention', _efficient_attention))
        # Tables are kept from pass to pass, as on a GPU; here they are fake ones.
        cached = lru_cache(windows.make_window_grid)
        stack.enter_context(patch.object(windows, '_cached_window_grid', cached))
        yield


def count_pass(
    model: nn.Module, size: tuple[int, int], batch: int = 1, dtype: torch.dtype = torch.bfloat16
) -> Traffic:
    """Counts an inference pass on images ``(batch, 3, H, W)``, tables of windows made before."""
    with as_on_a_gpu(), torch.no_grad(), FakeTensorMode():
        state = {}
        for name, value in (*model.named_parameters(), *model.named_buffers()):
            kind = dtype if value.is_floating_point() else value.dtype
            # Only the shape counts: the model may lie on the meta device.
            state[name] = torch.empty_strided(
                value.shape, value.stride(), dtype=kind, device='cuda'
            )
        images = torch.empty(batch, 3, *size, device='cuda', dtype=dtype)
        torch.func.functional_call(model, state, (images,))
        with Traffic() as traffic:
            torch.func.functional_call(model, state, (images,))
    return traffic


def count_training_step(model: nn.Module, images: Tensor) -> Traffic:
    """Counts forward and backward pass on the meta device, which has no numbers to wait for.

    Fake CUDA tensors have no backward pass where there is no driver.

    Args:
        model: In training mode; it stays as it is.
        images: Of the size to count.
    """
    there: Any = deepcopy(model).to('meta')
    given = images.to('meta')
    with as_on_a_gpu():
        there(given)
        with Traffic() as traffic:
            outputs = [out for out in there(given) if out.requires_grad]
            torch.stack([out.float().square().mean() for out in outputs]).sum().backward()
    return traffic


def main() -> None:
    """Prints the counts of the documentation's table."""
    from mmengine.registry import MODELS

    from sparse_mm.models import SparseFormer, SparseViT
    from tools.benchmarks.runs import MIDDLE_L, MIDDLE_T, SWIN_L, SWIN_T

    def ours(swin: dict, ratios: Any) -> nn.Module:
        return SparseViT(**{**swin, 'drop_path_rate': 0.0}, pruning_ratios=ratios).eval()

    print('| backbone | images | kernels | GB moved |\n| --- | --- | --- | --- |')
    rows: list[tuple[str, nn.Module, tuple[int, int], int]] = []
    theirs = MODELS.build(dict(type='mmdet.SwinTransformer', **SWIN_T))
    theirs.eval()
    torch.set_default_device('meta')  # nothing is computed: ours need no numbers
    rows.append(('mmdet Swin-T', theirs, (672, 672), 4))
    for name, ratios in (('dense', None), ('middle', MIDDLE_T), ('60 %', 0.6)):
        rows.append((f'SparseViT-T, {name}', ours(SWIN_T, ratios), (672, 672), 4))
    for name, ratios in (('dense', None), ('middle', MIDDLE_L), ('60 %', 0.6)):
        rows.append((f'SparseViT-L, {name}', ours(SWIN_L, ratios), (1024, 2048), 1))
    rows.append(('SparseFormer-T', SparseFormer().eval(), (224, 224), 32))
    for name, model, size, batch in rows:
        traffic = count_pass(model, size, batch)
        shape = f'{batch} × {size[0]}×{size[1]}'
        kernels = traffic.kernels.total()
        print(f'| {name} | {shape} | {kernels} | {traffic.moved / 1e9:.2f} |', flush=True)


if __name__ == '__main__':
    main()
