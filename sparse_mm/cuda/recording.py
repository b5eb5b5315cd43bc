"""A pass recorded as a CUDA graph, which is replayed without launching each kernel."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class _Reads(TorchDispatchMode):
    """Collects the tensors that a pass reads and has not made: weights, tables of windows."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[int, Tensor] = {}
        self._made: dict[int, Tensor] = {}  # kept alive, so that no other takes their identity

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        for value in tree_leaves((args, kwargs or {})):
            if isinstance(value, Tensor) and id(value) not in self._made:
                self.found[id(value)] = value
        out = function(*args, **(kwargs or {}))
        self._made.update((id(v), v) for v in tree_leaves(out) if isinstance(v, Tensor))
        return out


class Recording:
    """A pass over images of one shape, as a CUDA graph.

    A replay reads the memory that the pass read when it was recorded. So a recording keeps that
    memory: weights that are written to in place count in the next replay, while a model whose
    weights were *replaced*, or whose pruning ratios have changed, needs another recording.

    Args:
        run: The pass, ``images -> outputs``. It must not wait for the device, and under autocast
            needs ``cache_enabled=False``: what autocast keeps would be freed behind the graph.
        images: Its input, ``(B, C, H, W)`` on the device.
        warm_up: Passes before the recording; libraries make their plans and workspaces there.
    """

    def __init__(
        self, run: Callable[[Tensor], tuple[Tensor, ...]], images: Tensor, warm_up: int = 3
    ) -> None:
        self.images = images.clone()
        with torch.inference_mode():
            aside = torch.cuda.Stream(images.device)
            aside.wait_stream(torch.cuda.current_stream(images.device))
            with torch.cuda.stream(aside):
                for _ in range(warm_up):
                    run(self.images)
                with _Reads() as reads:
                    run(self.images)
            torch.cuda.current_stream(images.device).wait_stream(aside)
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph):
                self.outputs = run(self.images)
        self.reads = list(reads.found.values())

    def __call__(self, images: Tensor) -> tuple[Tensor, ...]:
        """Replays the pass on other images of the same shape; the outputs are the caller's own."""
        self.images.copy_(images)
        self.graph.replay()
        return tuple(out.clone() for out in self.outputs)
