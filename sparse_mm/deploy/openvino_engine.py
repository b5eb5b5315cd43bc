"""OpenVINO on a CPU."""

import torch
from torch import Tensor

from sparse_mm.deploy.engine import BFLOAT16, Engine, Graph, Pass

HINTS = {'float32': 'f32', BFLOAT16: 'bf16'}


class OpenVinoEngine(Engine):
    """The exported graph in OpenVINO, compiled for one batch."""

    name = 'openvino'
    packages = 'onnx', 'onnxscript', 'openvino'

    def prepare(self, graph: Graph) -> Pass:
        """Compiles the exported file for one size and batch."""
        import openvino

        core = openvino.Core()
        model = core.read_model(str(graph.onnx()))
        model.reshape(list(graph.images.shape))  # with free sizes it would choose slower kernels
        settings = dict(
            INFERENCE_NUM_THREADS=torch.get_num_threads(),
            PERFORMANCE_HINT='LATENCY',
            INFERENCE_PRECISION_HINT=HINTS[graph.precision],
        )
        compiled = core.compile_model(model, 'CPU', settings)
        request = compiled.create_infer_request()

        def run(images: Tensor) -> list[Tensor]:
            found = request.infer([images.numpy()], share_inputs=True)
            return [torch.from_numpy(found[output]) for output in compiled.outputs]

        return run

    def versions(self) -> dict[str, str]:
        """Versions of what it computes with."""
        import openvino

        return {**super().versions(), 'openvino': openvino.__version__}
