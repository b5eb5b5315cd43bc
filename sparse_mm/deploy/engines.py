"""The engines by their names."""

from sparse_mm.deploy.compile_engine import CompileEngine
from sparse_mm.deploy.engine import DTYPES, Engine
from sparse_mm.deploy.graph_engine import GraphEngine
from sparse_mm.deploy.onnxruntime_engine import OnnxRuntimeEngine
from sparse_mm.deploy.openvino_engine import OpenVinoEngine
from sparse_mm.deploy.torch_engine import TorchEngine
from sparse_mm.errors import BadInputError, nearest

ENGINES: dict[str, Engine] = {
    engine.name: engine
    for engine in (
        *(TorchEngine(), CompileEngine(), GraphEngine()),
        *(OnnxRuntimeEngine(), OpenVinoEngine()),
    )
}
PRECISIONS = tuple(DTYPES)


def check_engine(name: str, precision: str) -> Engine:
    """Returns an engine that is installed and supports a precision.

    Raises:
        BadInputError: There is none; the sentence says what to install or to choose.
    """
    if name not in ENGINES:
        raise BadInputError(
            f'engine must be one of {", ".join(ENGINES)}, not {name!r}{nearest(name, ENGINES)}'
            f'{"" if nearest(name, ENGINES) else "."}'
        )
    if precision not in PRECISIONS:
        raise BadInputError(f'precision must be {" or ".join(PRECISIONS)}, not {precision!r}.')
    engine = ENGINES[name]
    engine.check(precision)
    return engine
