"""What needs a GPU, by MMEngine's own names."""

from typing import Any

from sparse_mm.engine.hosts.types import is_kind, types_in

AMP_OPTIM_WRAPPER = 'AmpOptimWrapper'  # of MMEngine; mixed precision, by an accelerator alone
AMP_SETTINGS = 'dtype', 'loss_scale', 'use_fp16'  # which only that one takes


def uses_amp(optim_wrapper: Any) -> bool:
    """Whether an optimizer wrapper, or one of several, computes in mixed precision."""
    return any(is_kind(kind, AMP_OPTIM_WRAPPER) for kind in types_in(optim_wrapper))


def uses_sync_bn(model: Any) -> bool:
    """Whether a model normalises over the batches of all devices, which needs CUDA."""
    return any(is_kind(kind, 'SyncBN', 'SyncBatchNorm') for kind in types_in(model))
