"""PyTorch itself, in float32 or wholly in bfloat16."""

from torch import Tensor

from sparse_mm.deploy.engine import DTYPES, Engine, Graph, Pass
from sparse_mm.deploy.structure import flat_outputs


class TorchEngine(Engine):
    """The backbone as it is; ``bfloat16`` casts weights and images, not operators one by one."""

    name = 'torch'
    devices = 'cpu', 'cuda'
    fixed_size = False

    def prepare(self, graph: Graph) -> Pass:
        """Casts the backbone."""
        dtype = DTYPES[graph.precision]
        backbone = graph.backbone.to(dtype)

        def run(images: Tensor) -> list[Tensor]:
            return flat_outputs(backbone(images.to(dtype)))

        return run
