"""OpenVINO on a CPU."""

from functools import cache
from typing import Any

import torch
from torch import Tensor

from sparse_mm.deploy.engine import BFLOAT16, Engine, Graph, Pass

HINTS = {'float32': 'f32', BFLOAT16: 'bf16'}


@cache
def openvino_core() -> Any:
    """The process's one ``Core``, which is never dropped.

    Each has a stack for the thread's signals, and puts back what stood there before when it goes.
    Of two that go in the order in which they came, the second puts back the first one's, whose
    memory is gone: the next signal (Ctrl-C, the end of a loader's process) then ends the process.
    """
    import openvino

    return openvino.Core()


class OpenVinoEngine(Engine):
    """The exported graph in OpenVINO, compiled for one batch."""

    name = 'openvino'
    packages = 'onnx', 'onnxscript', 'openvino'

    def prepare(self, graph: Graph) -> Pass:
        """Compiles the exported file for one size and batch."""
        core = openvino_core()
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
