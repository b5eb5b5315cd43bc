"""Counts the multiply-accumulates (MACs) that PyTorch executes, and those that papers leave out.

Three things hide products from a counter, and none may here: a CPU's fused attention is an operator
that PyTorch's counter does not know; so is the fast path of ``nn.MultiheadAttention``, a third of a
Vision Transformer; and a model that is moved to the meta device computes nothing, yet everything
runs, so that counting costs no time.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from sparse_mm.models.layers.adaptive_mixing import AdaptiveMixing, StaticMixing


@contextmanager
def counting() -> Iterator[FlopCounterMode]:
    """Counts what runs inside, every product of it: two operations for each MAC."""
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
            yield counter
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)


@torch.no_grad()
def count_macs(model: Callable[..., Any], *inputs: Any, **options: Any) -> int:
    """Runs a model once, in whatever mode it is, and counts its multiply-accumulates.

    Padding counts, as in the papers.
    """
    with counting() as counter:
        model(*inputs, **options)
    return counter.get_total_flops() // 2


class WithoutRandomNumbers(TorchFunctionMode):
    """Leaves fresh weights as memory gives them: what is only counted needs no numbers."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        """Skips what fills a tensor with random numbers."""
        kwargs = kwargs or {}
        initialiser = getattr(func, '__module__', None) == 'torch.nn.init'
        if initialiser or func in (Tensor.uniform_, Tensor.normal_):
            return args[0] if args else kwargs['tensor']
        return func(*args, **kwargs)


@dataclass(frozen=True)
class Counts:
    """What a model costs.

    Attributes:
        macs: All multiply-accumulates.
        mixing_macs: Those of them in which sampled features are mixed: by the weights that a token
            generated, or by those that all share.
        params: Parameters.
    """

    macs: int
    mixing_macs: int
    params: int


@torch.no_grad()
def count(model: nn.Module, shape: tuple[int, ...]) -> Counts:
    """Counts one pass of a model in evaluation mode, and its parameters.

    Args:
        model: It is moved to the meta device, which takes its weights.
        shape: Of its input, the batch first.
    """
    params = sum(parameter.numel() for parameter in model.parameters())
    model.requires_grad_(False).to('meta').eval()  # gradients would be traced, too
    with counting() as counter:
        model(torch.zeros(shape, device='meta'))
    by_module = counter.get_flop_counts()
    root = type(model).__name__
    mixing = 0
    for name, module in model.named_modules():
        if isinstance(module, AdaptiveMixing):
            mixing += by_module[f'{root}.{name}'][torch.ops.aten.bmm]
        elif isinstance(module, StaticMixing):
            for part in 'mix_channels', 'mix_points':
                mixing += sum(by_module[f'{root}.{name}.{part}'].values())
    return Counts(counter.get_total_flops() // 2, mixing // 2, params)
