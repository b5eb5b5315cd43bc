"""PyTorch on a GPU, as recorded CUDA graphs."""

import torch
from torch import Tensor

from sparse_mm.cuda.recording import Recording
from sparse_mm.deploy.engine import DTYPES, Engine, Graph, Pass
from sparse_mm.deploy.structure import flat_outputs
from sparse_mm.errors import BadInputError


def a_gpu_is_there() -> bool:
    """Whether torch sees one."""
    return torch.cuda.is_available()


class GraphEngine(Engine):
    """The backbone recorded once; a pass is then one call of the host's.

    Otherwise the host limits half precision: it launches some hundred kernels one by one, and the
    time that pruning saves on the device is spent waiting.
    """

    name = 'graph'
    devices = ('cuda',)

    def check(self, precision: str) -> None:
        """Checks that there is a GPU, besides."""
        super().check(precision)
        if not a_gpu_is_there():
            raise BadInputError(
                f'engine={self.name!r} records CUDA graphs, and torch sees no CUDA device; choose '
                "another engine, such as 'compile'."
            )

    def prepare(self, graph: Graph) -> Pass:
        """Records the cast backbone's pass."""
        dtype = DTYPES[graph.precision]
        backbone = graph.backbone.to(dtype)

        def run(images: Tensor) -> tuple[Tensor, ...]:
            return tuple(flat_outputs(backbone(images)))

        recording = Recording(run, graph.images.to(dtype))
        return lambda images: list(recording(images))
