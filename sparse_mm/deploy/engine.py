"""The interface of engines, which compute one graph."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from sparse_mm.errors import BadInputError

FLOAT32, BFLOAT16 = 'float32', 'bfloat16'
DTYPES = {FLOAT32: torch.float32, BFLOAT16: torch.bfloat16}
# Takes images (B, C, H, W), float32; gives the backbone's outputs, float32, flat.
Pass = Callable[[Tensor], Sequence[Tensor]]


@dataclass(frozen=True)
class Graph:
    """One backbone at one size with its current ratios, all of them constants.

    Attributes:
        backbone: A copy of the backbone, in evaluation mode and float32; the engine may change it.
        images: An example, ``(B, C, H, W)`` float32: the size and the batch of all its passes.
        precision: ``'float32'`` or ``'bfloat16'``.
        onnx: Gives the path of the same as ONNX, whose batch is free: from the cache, or made.
    """

    backbone: nn.Module
    images: Tensor
    precision: str
    onnx: Callable[[], Path]


class Engine(ABC):
    """A way to compute graphs.

    Attributes:
        name: Its name for ``engine=``.
        precisions: Those that it computes in.
        packages: Modules that it needs besides torch, with the packages that bring them.
        devices: Types of the devices that it computes on.
        fixed_size: Whether each size and batch needs a graph of its own.
    """

    name: ClassVar[str]
    precisions: ClassVar[tuple[str, ...]] = (FLOAT32, BFLOAT16)
    packages: ClassVar[tuple[str, ...]] = ()
    devices: ClassVar[tuple[str, ...]] = ('cpu',)
    fixed_size: ClassVar[bool] = True

    def check(self, precision: str) -> None:
        """Checks that the engine is installed and supports a precision.

        Raises:
            BadInputError: It does not.
        """
        if precision not in self.precisions:
            raise BadInputError(
                f'engine={self.name!r} computes in {" or ".join(self.precisions)}, not in '
                f'{precision!r}; choose another precision or engine.'
            )
        missing = [name for name in self.packages if find_spec(name) is None]
        if missing:
            raise BadInputError(
                f'engine={self.name!r} needs {", ".join(missing)}; pip install '
                '"sparse_mm[deploy]", or pip install -r requirements/deployment.txt in a checkout.'
            )

    @abstractmethod
    def prepare(self, graph: Graph) -> Pass:
        """Makes a function that computes the graph.

        Raises:
            BadInputError: It cannot.
        """

    def versions(self) -> dict[str, str]:
        """Versions of what it computes with, for people."""
        return {'torch': torch.__version__}
