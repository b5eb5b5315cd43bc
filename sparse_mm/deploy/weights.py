"""Identifies the weights of a graph: a digest for files, a quick comparison before each pass."""

import hashlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from sparse_mm.models.backbones.prunable import KEY

# Numbers of each tensor that the quick comparison reads.
SAMPLES = 16


def digest_of_weights(module: nn.Module) -> str:
    """A digest of all parameters and buffers, by name; without the ratios, which a graph names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        if name.rpartition('.')[2] == KEY:
            continue
        value = tensor.detach().cpu().contiguous()
        digest.update(f'{name} {value.dtype} {tuple(value.shape)} '.encode())
        if value.numel():
            digest.update(value.flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


class WeightsWatch:
    """Detects changed weights of a module, quickly enough for every pass.

    Every write to a tensor increases its version. Writes through ``.data``, by which averaged
    weights (EMA) are swapped in, do not, so some values of each tensor are compared, too. They are
    compared as bits, so NaN is equal to itself.
    """

    def __init__(self) -> None:
        self._seen: list[tuple[int, int]] | None = None
        self._views: list[list[Tensor]] = []
        self._samples: list[Tensor] = []

    def changed(self, module: nn.Module) -> bool:
        """Whether anything is other than in the call before; in the first call it is."""
        tensors = list(_tensors(module))
        seen = [(tensor.data_ptr(), _version(tensor)) for tensor in tensors]
        same = seen == self._seen
        if not same:
            # Kept for the next calls: to take all tensors apart costs as much as a pass on a GPU.
            self._views = _views([tensor.detach() for tensor in tensors])
        samples = [torch.cat(parts).view(torch.uint8) for parts in self._views]
        same = same and all(torch.equal(a, b) for a, b in zip(samples, self._samples, strict=True))
        self._seen, self._samples = seen, samples
        return not same


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    yield from module.parameters()
    for name, buffer in module.named_buffers():
        if name.rpartition('.')[2] != KEY:
            yield buffer


def _version(tensor: Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version


def _views(tensors: list[Tensor]) -> list[list[Tensor]]:
    """Some numbers of all tensors, in their own memory: one list a dtype."""
    by_dtype: dict[torch.dtype, list[Tensor]] = {}
    for tensor in tensors:
        if tensor.numel():
            step = -(-tensor.numel() // SAMPLES)
            # In the order of the memory, channels last for one, or it would be a copy.
            order = sorted(range(tensor.dim()), key=tensor.stride().__getitem__, reverse=True)
            flat = tensor.permute(order).reshape(-1)
            by_dtype.setdefault(tensor.dtype, []).append(flat[::step])
    return list(by_dtype.values())
