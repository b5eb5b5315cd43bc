"""Attention inside windows as one Triton kernel.

PyTorch's fused attention takes one bias for each window and head: in shifted blocks of Swin a
``(num_windows, heads, N, N)`` tensor is made, cast and padded in every pass, several times as large
as queries, keys and values together. This kernel reads the packed ``(num_windows, N, 3, heads, d)``
as the linear layer left it, the ``(heads, N, N)`` bias and, for the few windows that need one, its
mask; logits and weights are never written to memory.

One program computes ``BLOCK_M`` query rows of one head, in a few windows one after another. Keys
come in blocks with a running maximum and sum (online softmax, as FlashAttention: Dao et al.,
NeurIPS 2022).

It is for inference: the operator has no backward pass, and :class:`TritonWindowAttention` leaves
what needs gradients to PyTorch's attention.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.library import triton_op, wrap_triton
from triton.runtime.jit import JITFunction

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
LARGEST_HEAD = 64  # channels; more would not leave registers enough
WINDOWS_PER_PROGRAM = 4


@triton.jit
def _kernel(  # type: ignore[no-untyped-def]
    qkv,  # (windows, N, 3, HEADS, D)
    bias,  # (HEADS, N, N)
    kinds,  # (windows,) int64, or anything where not MASKED
    masks,  # (kinds, N, N), or anything where not MASKED
    out,  # (windows, N, HEADS, D)
    windows,
    scale,
    N: tl.constexpr,
    HEADS: tl.constexpr,
    D: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
    PER_PROGRAM: tl.constexpr,
    MASKED: tl.constexpr,
    PRODUCTS_IN_FP32: tl.constexpr,
):
    first = tl.program_id(0) * PER_PROGRAM
    head = tl.program_id(1)
    rows = tl.program_id(2) * BLOCK_M + tl.arange(0, BLOCK_M)
    dims = tl.arange(0, BLOCK_D)
    token: tl.constexpr = 3 * HEADS * D  # from a token to the next
    queries = (rows < N)[:, None] & (dims < D)[None, :]
    for step in range(PER_PROGRAM):
        window = first + step
        if window < windows:
            start = qkv + window.to(tl.int64) * (N * token) + head * D
            query = tl.load(start + rows[:, None] * token + dims[None, :], mask=queries, other=0.0)
            kind = tl.load(kinds + window) if MASKED else 0
            largest = tl.full((BLOCK_M,), float('-inf'), tl.float32)
            total = tl.zeros((BLOCK_M,), tl.float32)
            answer = tl.zeros((BLOCK_M, BLOCK_D), tl.float32)
            for begin in range(0, N, BLOCK_N):
                columns = begin + tl.arange(0, BLOCK_N)
                keys = (columns < N)[:, None] & (dims < D)[None, :]
                at = start + HEADS * D + columns[:, None] * token + dims[None, :]
                key = tl.load(at, mask=keys, other=0.0)
                value = tl.load(at + HEADS * D, mask=keys, other=0.0)
                if PRODUCTS_IN_FP32:
                    products = tl.dot(query.to(tl.float32), tl.trans(key.to(tl.float32)))
                else:
                    products = tl.dot(query, tl.trans(key), input_precision='ieee')
                pairs = (rows < N)[:, None] & (columns < N)[None, :]
                pair = rows[:, None] * N + columns[None, :]
                logits = products * scale
                logits += tl.load(bias + head * N * N + pair, mask=pairs, other=0.0).to(tl.float32)
                if MASKED:
                    # The first mask is zeros: most windows read none.
                    split = pairs & (kind > 0)
                    mask = tl.load(masks + kind * (N * N) + pair, mask=split, other=0.0)
                    logits += mask.to(tl.float32)
                logits = tl.where((columns < N)[None, :], logits, float('-inf'))
                larger = tl.maximum(largest, tl.max(logits, 1))
                weights = tl.exp(logits - larger[:, None])
                shrink = tl.exp(largest - larger)
                total = total * shrink + tl.sum(weights, 1)
                answer = answer * shrink[:, None]
                weights = weights.to(value.dtype)
                if PRODUCTS_IN_FP32:
                    answer += tl.dot(weights.to(tl.float32), value.to(tl.float32))
                else:
                    answer += tl.dot(weights, value, input_precision='ieee')
                largest = larger
            answer = answer / total[:, None]
            at = (window.to(tl.int64) * N + rows[:, None]) * (HEADS * D) + head * D + dims[None, :]
            tl.store(out + at, answer.to(out.dtype.element_ty), mask=queries)


# With TRITON_INTERPRET=1 Triton runs kernels on a CPU, in numpy, which has no bfloat16: there the
# products of what was loaded are computed in fp32, as a GPU's matrix units sum them.
INTERPRETED = not isinstance(_kernel, JITFunction)


def constants(
    length: int, heads: int, size: int, masked: bool, dtype: torch.dtype
) -> dict[str, int | bool]:
    """What the kernel is compiled for.

    Blocks are as large as registers allow: larger ones spill on Hopper. Products in fp32 do not run
    on matrix units, and take more of them.

    Args:
        length: Tokens of a window ``N``.
        heads: Heads.
        size: Channels of a head.
        masked: Whether windows have masks.
        dtype: Of queries, keys and values.
    """
    rows, columns = (32, 16) if dtype == torch.float32 else (64, 32)
    fitting = max(16, triton.next_power_of_2(length))
    return dict(
        N=length,
        HEADS=heads,
        D=size,
        BLOCK_M=min(rows, fitting),
        BLOCK_N=min(columns, fitting),
        BLOCK_D=max(16, triton.next_power_of_2(size)),
        PER_PROGRAM=WINDOWS_PER_PROGRAM,
        MASKED=masked,
        PRODUCTS_IN_FP32=INTERPRETED and dtype == torch.bfloat16,
    )


@triton_op('sparse_mm::window_attention', mutates_args={})
def window_attention(
    qkv: Tensor, bias: Tensor, kinds: Tensor | None, masks: Tensor | None, scale: float
) -> Tensor:
    """Attention among the tokens of each window, without dropout and without gradients.

    Args:
        qkv: ``(num_windows, N, 3, heads, d)``, fp32, fp16 or bf16.
        bias: ``(heads, N, N)``, of any floating dtype; added to the logits in fp32.
        kinds: ``(num_windows,)`` int64, which of ``masks`` holds for each window; None for no mask.
        masks: ``(kinds, N, N)``, of any floating dtype; the first is zeros and is not read.
        scale: Of the logits.

    Returns:
        ``(num_windows, N, heads * d)``, in the dtype of ``qkv``.
    """
    windows, length, _, heads, size = qkv.shape
    out = torch.empty((windows, length, heads * size), dtype=qkv.dtype, device=qkv.device)
    masked = kinds is not None and masks is not None
    settings = constants(length, heads, size, masked, qkv.dtype)
    grid = (
        -(-windows // WINDOWS_PER_PROGRAM),
        heads,
        -(-length // settings['BLOCK_M']),
    )
    launch: Any = _kernel if INTERPRETED else wrap_triton(_kernel)
    packed = qkv.contiguous()
    launch[grid](
        packed,
        bias.contiguous(),
        kinds if masked else packed,
        masks.contiguous() if masks is not None and masked else packed,
        out,
        windows,
        scale,
        **settings,
    )
    return out


class TritonWindowAttention:
    """Computes :func:`~sparse_mm.models.layers.window_attention.attend` by the kernel."""

    def takes(self, qkv: Tensor, bias: Tensor, dropout: float) -> bool:
        """Whether the kernel computes this: on a GPU, without gradients or dropout."""
        gradients = torch.is_grad_enabled() and (qkv.requires_grad or bias.requires_grad)
        return (
            (qkv.is_cuda or INTERPRETED)
            and not gradients
            and dropout == 0
            and qkv.dtype in DTYPES
            and qkv.shape[-1] <= LARGEST_HEAD
        )

    def run(
        self,
        qkv: Tensor,
        bias: Tensor,
        kinds: Tensor | None,
        masks: Tensor | None,
        scale: float | None,
    ) -> Tensor:
        """See :func:`window_attention`."""
        if scale is None:
            scale = qkv.shape[-1] ** -0.5
        out: Tensor = window_attention(qkv, bias, kinds, masks, scale)
        return out
