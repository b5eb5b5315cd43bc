"""Faster passes on a GPU. The models do not depend on this package."""

from importlib.util import find_spec

from sparse_mm.errors import BadInputError
from sparse_mm.models.layers.window_attention import KERNELS

__all__ = ['use_window_kernel']


def use_window_kernel(use: bool = True) -> None:
    """Switches the Triton kernel for window attention on or off.

    It is off by default: it is tested in Triton's interpreter and compiled for GPUs, and has not
    run on one yet. ``tools/gpu_check.py`` compares it with PyTorch's attention. Passes with
    gradients or dropout, or not on a GPU, always use PyTorch's attention.

    Args:
        use: Whether to use it.

    Raises:
        BadInputError: Triton is not installed.
    """
    KERNELS.clear()
    if not use:
        return
    if find_spec('triton') is None:
        raise BadInputError(
            'The kernel for attention in windows needs triton, which comes with the CUDA builds of '
            'torch and is not installed here; install such a build, or leave the kernel off.'
        )
    from sparse_mm.cuda.window_attention import TritonWindowAttention

    KERNELS.append(TritonWindowAttention())
