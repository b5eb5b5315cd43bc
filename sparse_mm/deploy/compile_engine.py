"""PyTorch's compiler, Inductor."""

import os
import shutil

import torch
from torch import Tensor

from sparse_mm.deploy.engine import DTYPES, Engine, Graph, Pass
from sparse_mm.errors import BadInputError


class CompileEngine(Engine):
    """The backbone's exported program, compiled for one size and batch.

    Each graph is a program of its own, with code of its own: ``torch.compile`` would count the
    graphs of one model together, and go back to PyTorch after the eighth.
    """

    name = 'compile'
    devices = 'cpu', 'cuda'

    def check(self, precision: str) -> None:
        """Checks that there is a compiler, besides."""
        super().check(precision)
        names = (os.environ.get('CXX', 'c++'), 'g++', 'clang++')
        if not any(map(shutil.which, names)):
            raise BadInputError(
                f'engine={self.name!r} needs a C++ compiler; install g++ (Debian: '
                'build-essential), or choose another engine.'
            )

    def prepare(self, graph: Graph) -> Pass:
        """Exports the program, and compiles it, which happens in its first pass."""
        dtype = DTYPES[graph.precision]
        backbone, images = graph.backbone.to(dtype), graph.images.to(dtype)
        # strict=False takes the program as PyTorch runs it, without Dynamo's rules for Python.
        program = torch.export.export(backbone, (images,), strict=False)
        compiled = torch.compile(program.module(), fullgraph=True, dynamic=False)
        compiled(images)

        def run(images: Tensor) -> list[Tensor]:
            outputs = compiled(images.to(dtype))
            return [outputs] if isinstance(outputs, Tensor) else list(outputs)

        return run
