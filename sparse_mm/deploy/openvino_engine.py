"""OpenVINO on a CPU."""

import os
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sparse_mm.deploy.engine import BFLOAT16, Engine, Graph, Pass
from sparse_mm.errors import BadInputError

HINTS = {'float32': 'f32', BFLOAT16: 'bf16'}
# Limits oneDNN, of which OpenVINO has its own; the second name is that of older releases.
LIMITS = 'ONEDNN_MAX_CPU_ISA', 'DNNL_MAX_CPU_ISA'
BELOW_AVX512 = 'SSE41', 'AVX', 'AVX2', 'AVX2_VNNI', 'AVX2_VNNI_2'
PROCESSOR = Path('/proc/cpuinfo')


def check_processor_limit() -> None:
    """Checks that no environment variable disables the processor's AVX-512 for oneDNN.

    OpenVINO reads the processor's features, and oneDNN the variable. If they differ, OpenVINO
    2026.4 cannot compile a convolution, and larger graphs crash the process.

    Raises:
        BadInputError: One does.
    """
    limits = [(name, os.environ.get(name, '')) for name in LIMITS]
    below = [(name, isa) for name, isa in limits if isa.upper() in BELOW_AVX512]
    if below and PROCESSOR.is_file() and 'avx512f' in PROCESSOR.read_text():
        name, isa = below[0]
        raise BadInputError(
            f"engine='openvino' fails on a processor with AVX-512 where {name}={isa} limits it, "
            'and can end the process without a word; unset it, or choose another engine.'
        )


@cache
def openvino_core() -> Any:
    """The process's one ``Core``, which is never dropped.

    Each ``Core`` sets a signal stack for the thread, and restores the previous one when it is
    destroyed. If two are destroyed in the order of their creation, the second restores the first
    one's stack, whose memory is freed, and the next signal (Ctrl-C, the end of a loader's process)
    crashes the process.
    """
    import openvino

    check_processor_limit()
    return openvino.Core()


class OpenVinoEngine(Engine):
    """The exported graph in OpenVINO, compiled for one batch."""

    name = 'openvino'
    packages = 'onnx', 'onnxscript', 'openvino'

    def check(self, precision: str) -> None:
        """Checks besides that OpenVINO would not crash."""
        super().check(precision)
        check_processor_limit()

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
