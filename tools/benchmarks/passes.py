"""One pass of a backbone as it is timed: inference, or a training step."""

from collections.abc import Callable, Collection, Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from random import Random
from statistics import mean
from typing import Any

import torch
from torch import Tensor, nn

from sparse_mm.cpu.linear import linear
from sparse_mm.deploy import DeployedBackbone
from sparse_mm.engine.inspection import input_channels
from sparse_mm.search.space import Candidate, RatioSpace
from sparse_mm.search.timing import DTYPES, autocast
from tools.benchmarks.counting import counting
from tools.benchmarks.runs import Run, build

COMPILE_MODES = ('none', 'default', 'reduce-overhead', 'max-autotune')
# Random ratios: MACs and memory are those of so many draws, the first ones of the timing itself.
COUNTED_DRAWS = 16


@dataclass(frozen=True)
class Setup:
    """How all runs compute.

    Attributes:
        device: ``'cpu'``, ``'cuda'``, ``'cuda:1'``.
        batch: Images.
        dtype: ``'float32'``, or what autocast casts to.
        train: Whether a pass is a training step: forward, backward, no optimizer.
        compile: The mode of ``torch.compile``, or ``'none'``.
    """

    device: str
    batch: int
    dtype: str = 'float32'
    train: bool = False
    compile: str = 'none'


class Pass:
    """A backbone with its input; calling it runs it once.

    Args:
        run: Where its size and ratios come from.
        setup: How it computes.
        backbone: What :func:`~tools.benchmarks.runs.build` made of the run.
        image_size: Another size than the run's.
    """

    def __init__(
        self,
        run: Run,
        setup: Setup,
        backbone: nn.Module,
        image_size: tuple[int, int] | None = None,
    ) -> None:
        device = torch.device(setup.device)
        self.setup = setup
        self.backbone: Any = backbone.to(device)
        self.backbone.train(setup.train)  # its return value is not to be trusted: mmdet's has none
        self.forward: Callable[[Tensor], Any] = self.backbone
        if run.deployed and device.type != 'meta':  # there MACs are counted, which are the model's
            if run.whole:
                model = self.backbone.model
                model.backbone = DeployedBackbone(model.backbone, run.engine, run.precision).eval()
            else:
                self.forward = DeployedBackbone(self.backbone, run.engine, run.precision).eval()
        if setup.compile != 'none':
            # Sizes are fixed here, and are so where speed is wanted.
            self.forward = torch.compile(self.backbone, mode=setup.compile, dynamic=False)
        batch, _, *size = run.input_shape(setup.batch, image_size)
        self.images = torch.randn(batch, input_channels(self.backbone), *size, device=device)
        self.context = autocast(device, setup.dtype)
        self.draws: Iterator[Candidate] | None = None
        if run.draws_ratios:
            self.draws = drawn_ratios(self.backbone)

    def __call__(self) -> None:
        """Runs it once."""
        if self.draws is not None:
            self.backbone.set_pruning_ratios(next(self.draws))
        if self.setup.compile != 'none':
            torch.compiler.cudagraph_mark_step_begin()
        # The context is entered anew in each pass, since it keeps what it has cast while it is
        # open.
        if not self.setup.train:
            with torch.inference_mode(), self.context:
                self.forward(self.images)
            return
        self.backbone.zero_grad(set_to_none=True)
        with self.context:
            loss = _any_loss(self.forward(self.images))
        loss.backward()


def drawn_ratios(backbone: Any) -> Iterator[Candidate]:
    """The ratios that ``SparsityAdaptationHook`` draws, step by step."""
    space = RatioSpace.build(backbone.depths)
    return (space.draw(Random(f'0 adaptation {step}')) for step in count())


def _tensors(outputs: Any) -> Iterator[Tensor]:
    """Finds the tensors in whatever a backbone returns."""
    if isinstance(outputs, Tensor):
        yield outputs
    elif isinstance(outputs, dict):
        yield from _tensors(list(outputs.values()))
    elif isinstance(outputs, (list, tuple)):
        for item in outputs:
            yield from _tensors(item)


def _any_loss(outputs: Any) -> Tensor:
    """A loss that sends gradients through all outputs."""
    return torch.stack(
        [out.float().square().mean() for out in _tensors(outputs) if out.requires_grad]
    ).sum()


def count_gmacs(run: Run, setup: Setup, backbone: nn.Module) -> float:
    """Counts the multiply-accumulates of a pass (those of the backward pass, too, in training).

    Where ratios are drawn, it is the mean over the first draws.

    Args:
        run: Where size and ratios come from.
        setup: How it computes.
        backbone: The run's backbone; it stays as it is.
    """
    # On the meta device nothing is computed, yet everything runs; but post-processing looks at
    # the numbers.
    plain = Setup(setup.device if run.whole else 'meta', setup.batch, train=setup.train)
    once = Pass(replace(run, engine='torch', precision='float32'), plain, deepcopy(backbone))
    passes = COUNTED_DRAWS if run.draws_ratios else 1
    counts = []
    for _ in range(passes):
        with counting() as counter:
            once()
        counts.append(counter.get_total_flops() / 2e9)
    return mean(counts)


def build_all(runs: list[Run]) -> list[nn.Module]:
    """Builds all backbones, those that share weights with the same ones."""
    built: dict[str, nn.Module] = {}
    for run in runs:
        torch.manual_seed(0)
        built[run.name] = build(run)
        if run.weights_of is not None:
            built[run.name].load_state_dict(built[run.weights_of].state_dict())
    return list(built.values())


def failing(runs: list[Run], setup: Setup, backbones: list[nn.Module]) -> dict[str, str]:
    """Tries the backbones in PyTorch's pure bfloat16, which not all hosts' can compute in.

    Returns:
        By the names of the runs that fail, why.
    """
    found = {}
    for run, backbone in zip(runs, backbones, strict=True):
        if run.whole or (run.engine, run.precision) != ('torch', 'bfloat16'):
            continue
        try:
            Pass(run, replace(setup, batch=1), backbone)()
        except RuntimeError as error:
            found[run.name] = str(error).splitlines()[0]
    return found


def matrix_products(
    setup: Setup, side: int, precisions: Collection[str] = ()
) -> dict[str, Callable[[], Any]]:
    """The products of two square matrices by which the machine is judged.

    PyTorch multiplies matrices on a CPU by MKL, but convolves by oneDNN, which can be far faster
    (:mod:`sparse_mm.cpu.linear`); so in fp32 on a CPU there are two.

    Args:
        setup: Device and dtype.
        side: Of the matrices.
        precisions: In which passes compute besides ``setup.dtype``.
    """
    dtype = DTYPES[setup.dtype]
    first, second = torch.randn(2, side, side, device=setup.device, dtype=dtype)
    products: dict[str, Callable[[], Any]] = {'torch.mm': partial(torch.mm, first, second)}
    if torch.device(setup.device).type == 'cpu' and setup.dtype == 'float32':
        products['oneDNN'] = partial(linear, first, second)
    for name in sorted({*precisions} - {setup.dtype}):
        pair = first.to(DTYPES[name]), second.to(DTYPES[name])
        products[f'torch.mm, {name}'] = partial(torch.mm, *pair)
    return products
