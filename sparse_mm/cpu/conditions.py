"""Decides if a pass may be computed in another way: only if nothing can observe it.

Hooks, wrappers, captured graphs and gradients observe the modules one by one, so with any of them
the plain path runs.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.modules import module as nn_module

_disabled = ContextVar('cpu_disabled', default=False)
# Hooks on all modules; those called always or with keywords are among them.
_GLOBAL_HOOKS: tuple[dict, ...] = (
    nn_module._global_forward_hooks,
    nn_module._global_forward_pre_hooks,
    nn_module._global_backward_hooks,
    nn_module._global_backward_pre_hooks,
)


@contextmanager
def disabled() -> Iterator[None]:
    """Within it all passes take the plain path: for counting, and for comparing the two."""
    token = _disabled.set(True)
    try:
        yield
    finally:
        _disabled.reset(token)


def nobody_watches() -> bool:
    """Whether nothing in this thread observes the operators: no gradients, modes or captures."""
    return not (
        _disabled.get()
        or torch.is_grad_enabled()
        or torch.is_autocast_enabled('cpu')
        or torch.compiler.is_compiling()
        or torch.jit.is_tracing()
        or torch._C._len_torch_dispatch_stack()
        or torch._C._len_torch_function_stack()
        or torch._C._functorch.peek_interpreter_stack() is not None
        or forward_ad._current_level >= 0
        or any(_GLOBAL_HOOKS)
    )


def may_take(model: nn.Module, images: Tensor, known: frozenset[type]) -> bool:
    """Whether a pass is one of inference in fp32 or bf16, by a model as it was built.

    Args:
        model: A backbone.
        images: Its input.
        known: Types of modules, of which no subclass is taken.
    """
    return (
        nobody_watches()
        and images.dtype in (torch.float32, torch.bfloat16)
        and is_plain(images)
        and images.dim() == 4
        and is_as_built(model, known, images.dtype)
    )


def is_plain(tensor: Tensor) -> bool:
    """Whether a tensor is an ordinary one, dense and in a CPU's memory."""
    kind = type(tensor)
    return (
        (kind is nn.Parameter or kind is Tensor)
        and tensor.is_cpu
        and tensor.layout is torch.strided
    )


def is_as_built(model: nn.Module, known: frozenset[type], dtype: torch.dtype) -> bool:
    """Whether every module is exactly of a known type, with nothing attached or replaced.

    It runs in every pass, so it reads the modules' dictionaries directly.

    Args:
        model: A backbone.
        known: Types of modules, of which no subclass is taken.
        dtype: Of all floating parameters and buffers.
    """
    waiting: list[nn.Module | None] = [model]
    while waiting:
        module = waiting.pop()
        if module is None:
            continue
        own = module.__dict__
        if (
            type(module) not in known
            or own['training']
            or own['_forward_hooks']
            or own['_forward_pre_hooks']
            or own['_backward_hooks']
            or own['_backward_pre_hooks']
            or 'forward' in own
            or own.get('_compiled_call_impl') is not None
        ):
            return False
        for tensors in own['_parameters'], own['_buffers']:
            for tensor in tensors.values():
                if tensor is None:
                    continue
                if not is_plain(tensor):
                    return False
                if tensor.dtype is not dtype and tensor.is_floating_point():
                    return False
        waiting.extend(own['_modules'].values())
    return True
