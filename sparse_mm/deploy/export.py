"""Exporting a backbone for one size of images: to ONNX, or to a program of ``torch.export``.

The pruning ratios are constants of the exported graph, which does not compute pruned windows.
"""

import logging
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from sparse_mm.errors import BadInputError

# Has LayerNormalization, and is what PyTorch's exporter itself is written for.
OPSET = 18
# Largest difference from PyTorch, of an output's largest value.
TOLERANCE = 1e-3
# The input of an exported graph, and its dimension where that is free.
IMAGES, BATCH = 'images', 'batch'

Pass = Callable[[Tensor], list[Tensor]]


def random_images(batch: int, shape: tuple[int, ...], channels: int = 3, seed: int = 0) -> Tensor:
    """Draws soft random colours of a shape, ``(H, W)`` or ``(T, H, W)``, the same in each run.

    White noise is a bad test input. Its windows are so equally important that rounding decides
    which are kept, and neighbouring pixels are so different that rounding of sampling points can
    change latent tokens by percents, even in PyTorch itself.
    """
    generator = torch.Generator().manual_seed(seed)
    cells = torch.randn(batch, channels, *(8 for _ in shape), generator=generator)
    return F.interpolate(cells, size=shape, mode='bicubic' if len(shape) == 2 else 'trilinear')


@contextmanager
def without_deprecations() -> Iterator[None]:
    """Within it a deprecation inside of PyTorch's exporter is not shown."""
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', '.*treespec', FutureWarning)
        yield


def captured(module: nn.Module, images: Tensor, free_batch: bool) -> Any:
    """Captures a module by ``torch.export``, for the images' own batch or for any."""
    if not free_batch:
        return torch.export.export(module, (images,))
    # A dimension of 1 would become a constant.
    two = torch.cat([images[:1], images[:1]])
    return torch.export.export(module, (two,), dynamic_shapes=({0: torch.export.Dim(BATCH)},))


def to_program(
    module: nn.Module, images: Tensor, path: Path, meta: dict[str, str], free_batch: bool = False
) -> Pass:
    """Writes a program of ``torch.export``; gives a function that runs the written file."""
    program = captured(module, images, free_batch)
    torch.export.save(program, path, extra_files=meta)
    loaded = torch.export.load(path).module()
    return lambda x: list(loaded(x))


@without_deprecations()
def write_onnx(
    module: nn.Module,
    images: Tensor,
    path: Path,
    meta: Mapping[str, str],
    names: Sequence[str],
    free_batch: bool = False,
) -> None:
    """Writes ONNX.

    Args:
        module: In evaluation mode, on a CPU.
        images: An example, ``(B, C, H, W)`` or ``(B, C, T, H, W)``.
        path: The file.
        meta: Kept in the file.
        names: Of the outputs.
        free_batch: Whether the graph takes any number of images; else ``B``.
    """
    # Imported here: the other format needs none of it.
    from sparse_mm.deploy.operators import translations

    # They log each node that they do not fold or merge.
    for name in ('onnxscript', 'onnx_ir'):
        logging.getLogger(name).setLevel(logging.ERROR)
    # By the plain attention: the exporter loses how the CPU's fused one lays out its result.
    with sdpa_kernel(SDPBackend.MATH), redirect_stdout(sys.stderr):
        program = captured(module, images, free_batch)
        exported: Any = torch.onnx.export(
            program,
            input_names=[IMAGES],
            output_names=list(names),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
            optimize=False,
            custom_translation_table=translations(),
        )
    _simplify(exported.model)
    exported.model.metadata_props.update(meta)
    exported.save(path)


def _simplify(model: Any) -> None:
    """Folds constants and removes nodes without effect; engines optimise the rest.

    The exporter's own optimisation searches for hundreds of patterns, some of them by going through
    all nodes at each node. For a Swin with 24 blocks that took two thirds of the export.
    """
    from onnx_ir.passes import common as passes
    from onnxscript.optimizer import fold_constants

    passes.InlinePass()(model)
    fold_constants(model, onnx_shape_inference=True)
    _drop_idle_transposes(model)
    for simplify in (
        passes.RemoveUnusedNodesPass(),
        passes.RemoveUnusedFunctionsPass(),
        passes.RemoveUnusedOpsetsPass(),
        passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        passes.DeduplicateInitializersPass(),
        passes.CommonSubexpressionEliminationPass(),
        passes.OutputFixPass(),
        passes.NameFixPass(),
    ):
        simplify(model)


def _drop_idle_transposes(model: Any) -> None:
    """Removes transposes without effect, each of which copies a map in ONNX Runtime.

    The exporter writes them around whatever reads or writes rows by their numbers.
    """
    from onnx_ir.convenience import replace_all_uses_with

    for node in list(model.graph):
        if node.op_type != 'Transpose' or node.outputs[0].is_graph_output():
            continue
        order = node.attributes.get('perm')
        if order is not None and list(order.as_ints()) == sorted(order.as_ints()):
            replace_all_uses_with(node.outputs[0], node.inputs[0])


def to_onnx(
    module: nn.Module,
    images: Tensor,
    path: Path,
    meta: dict[str, str],
    names: list[str],
    free_batch: bool = False,
) -> Pass:
    """Writes ONNX; gives a function that runs the written file in onnxruntime, on the CPU."""
    import onnxruntime

    write_onnx(module, images, path, meta, names, free_batch)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options, providers=['CPUExecutionProvider'])
    return lambda x: [torch.from_numpy(y) for y in session.run(None, {IMAGES: x.numpy()})]


def compare(
    found: Sequence[Tensor],
    expected: Sequence[Tensor],
    names: Sequence[str],
    tolerance: float = TOLERANCE,
) -> list[float]:
    """Gives the largest difference of each output, of its largest value.

    Raises:
        BadInputError: One is above the tolerance.
    """
    differences = []
    for name, ours, theirs in zip(names, found, expected, strict=True):
        largest = theirs.abs().max().clamp(min=1e-12)
        difference = float((ours - theirs).abs().max() / largest)
        if not difference <= tolerance:  # this way round, NaN is too much
            raise BadInputError(
                f"The exported file's {name} differs from PyTorch's by {difference:.2g} of its "
                f'largest value (allowed: {tolerance:g}); nothing was written.'
            )
        differences.append(difference)
    return differences
