"""Which weights a graph was made of: a digest for files, and a quick look for each pass."""

import hashlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from sparse_mm.models.backbones.prunable import KEY

# Numbers of each tensor that a quick look compares.
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
    """Notices that a module's weights have changed, at a cost that a pass can bear.

    Every write through a tensor counts its version up. Writes through ``.data``, as averaged
    weights (EMA) are exchanged by, do not; so some numbers of each tensor are compared, too: an
    exchange of weights changes them.
    """

    def __init__(self) -> None:
        self._seen: list[tuple[int, int]] | None = None
        self._samples: list[Tensor] = []

    def changed(self, module: nn.Module) -> bool:
        """Whether anything is other than in the call before; in the first call it is."""
        tensors = [tensor.detach() for tensor in _tensors(module)]
        seen = [(tensor.data_ptr(), _version(tensor)) for tensor in tensors]
        samples = _samples(tensors)
        same = (
            seen == self._seen
            and len(samples) == len(self._samples)
            and all(torch.equal(a, b) for a, b in zip(samples, self._samples, strict=True))
        )
        self._seen, self._samples = seen, samples
        return not same


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    yield from module.parameters()
    for name, buffer in module.named_buffers():
        if name.rpartition('.')[2] != KEY:
            yield buffer


def _version(tensor: Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version


def _samples(tensors: list[Tensor]) -> list[Tensor]:
    """Some numbers of all tensors, as bits, so that NaN is equal to itself: one tensor a dtype."""
    by_dtype: dict[torch.dtype, list[Tensor]] = {}
    for tensor in tensors:
        if tensor.numel():
            step = -(-tensor.numel() // SAMPLES)
            by_dtype.setdefault(tensor.dtype, []).append(tensor.reshape(-1)[::step])
    return [torch.cat(parts).view(torch.uint8) for parts in by_dtype.values()]
