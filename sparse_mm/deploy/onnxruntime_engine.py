"""ONNX Runtime on a CPU."""

import torch
from torch import Tensor

from sparse_mm.deploy.engine import FLOAT32, Engine, Graph, Pass
from sparse_mm.deploy.export import BATCH, IMAGES


class OnnxRuntimeEngine(Engine):
    """The exported graph in ONNX Runtime; its CPU kernels have no bfloat16."""

    name = 'onnxruntime'
    precisions = (FLOAT32,)
    packages = 'onnx', 'onnxscript', 'onnxruntime'

    def prepare(self, graph: Graph) -> Pass:
        """Reads the exported file for one batch."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3  # it warns of each weight that it does not need
        # With a fixed batch, sizes are constants, and expressions of them are folded.
        options.add_free_dimension_override_by_name(BATCH, len(graph.images))
        session = onnxruntime.InferenceSession(
            str(graph.onnx()), options, providers=['CPUExecutionProvider']
        )

        def run(images: Tensor) -> list[Tensor]:
            return [torch.from_numpy(out) for out in session.run(None, {IMAGES: images.numpy()})]

        return run

    def versions(self) -> dict[str, str]:
        """Versions of what it computes with."""
        import onnxruntime

        return {**super().versions(), 'onnxruntime': onnxruntime.__version__}
