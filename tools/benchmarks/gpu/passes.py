"""Backbones to check, and the ways in which a pass of theirs can run."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparse_mm.cuda.recording import Recording
from sparse_mm.models import (
    BootstrappedSparseFormer,
    SparseFormer,
    SparseViT,
    SparseViTV2,
    VideoSparseFormer,
)
from tools.benchmarks.runs import MIDDLE_L, MIDDLE_T, SWIN_L, SWIN_T

Outputs = tuple[Tensor, ...]
HALVES = {'bf16': torch.bfloat16, 'fp16': torch.float16}
PRECISIONS = ('fp32', 'amp bf16', 'amp fp16', 'bf16', 'fp16')
"""``amp``: fp32 weights under autocast; ``bf16`` and ``fp16``: weights and images are half."""
MODES = ('eager', 'graph', 'compile')

# For dry runs: four stages as the real ones have, of hardly any channels.
TINY_SWIN = dict(
    embed_dims=8, depths=[2, 2, 2, 2], num_heads=[1, 1, 2, 2], window_size=7, drop_path_rate=0.0
)
TINY_FORMER = dict(num_tokens=4, dims=(16, 32), depth=1, drop_path_rate=0.0)
MIDDLE_TINY = [[0.6], [0], [0.4], [0]]


@dataclass(frozen=True)
class Swin:
    """A Swin with the ratios that the tables compare.

    Attributes:
        settings: Its arguments, those of mmdet's.
        middle: The middle setting of its ratios.
    """

    settings: dict[str, Any]
    middle: Any

    def build(self, ratios: Any = None, **more: Any) -> nn.Module:
        """A SparseViT in evaluation mode whose weights are large enough to tell things apart."""
        torch.manual_seed(0)
        settings = {**self.settings, 'drop_path_rate': 0.0, **more}
        return lively(SparseViT(**settings, pruning_ratios=ratios))

    def rows(self) -> dict[str, Any]:
        """The ratios by the names that the tables give them."""
        return {'dense': None, 'middle': self.middle, '60 %': 0.6}


def swin_t(tiny: bool) -> Swin:
    """Swin-T, or what stands for it in a dry run."""
    return Swin(TINY_SWIN, MIDDLE_TINY) if tiny else Swin(SWIN_T, MIDDLE_T)


def swin_l(tiny: bool) -> Swin:
    """Swin-L, likewise."""
    return Swin(TINY_SWIN, MIDDLE_TINY) if tiny else Swin(SWIN_L, MIDDLE_L)


def lively(model: nn.Module) -> nn.Module:
    """Gives a model weights by which every part of it counts; those of a start say little."""
    for parameter in model.parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5)
    model.eval()  # mmdet's Swin returns nothing here
    return model


def former(tiny: bool, arch: str = 'tiny', **more: Any) -> nn.Module:
    """A SparseFormer as it starts: without stochastic depth."""
    torch.manual_seed(0)
    if tiny:
        more.update(num_heads=2, num_points=4, feature_channels=8)
    settings: Any = TINY_FORMER if tiny else arch
    model = SparseFormer(settings, **{'drop_path_rate': 0.0, **more})
    model.init_weights()
    return model.eval()


@dataclass(frozen=True)
class Case:
    """A backbone to compare with the CPU.

    Attributes:
        name: In the table.
        build: Makes it, the same in every call.
        size: ``(H, W)`` of its images, or ``(T, H, W)`` of its clips.
    """

    name: str
    build: Callable[[], nn.Module]
    size: tuple[int, ...]

    def inputs(self, batch: int, seed: int = 0) -> Tensor:
        """Images whose neighbouring pixels are alike, so that windows differ in what they show."""
        generator = torch.Generator().manual_seed(seed)
        *frames, height, width = self.size
        count = batch * (frames[0] if frames else 1)
        coarse = torch.randn(count, 3, 8, 8, generator=generator)
        images = F.interpolate(coarse, size=(height, width), mode='bicubic')
        if frames:  # (B, 3, T, H, W)
            return images.unflatten(0, (batch, -1)).transpose(1, 2).contiguous()
        return images


def cases(tiny: bool) -> Iterator[Case]:
    """All backbones, with every way in which their passes differ."""
    swin, size = swin_t(tiny), (64, 80) if tiny else (224, 280)
    square = (32, 32) if tiny else (224, 224)
    yield Case('SparseViT, dense', swin.build, size)
    yield Case('SparseViT, middle', lambda: swin.build(swin.middle), size)
    yield Case('SparseViT, 60 %', lambda: swin.build(0.6), size)
    padded = (60, 90) if tiny else (250, 330)
    yield Case('SparseViT, padded maps, 60 %', lambda: swin.build(0.6), padded)
    yield Case(
        'SparseViT, padding before norm, 60 %',
        lambda: swin.build(0.6, pad_before_norm=True),
        padded,
    )
    yield Case('SparseViT, window 12, 60 %', lambda: swin.build(0.6, window_size=12), size)
    yield Case('SparseViTV2, 60 %', lambda: _version_2(tiny), (64, 64) if tiny else (256, 256))
    yield Case('SparseFormer', lambda: former(tiny), square)
    yield Case('SparseFormer, tokens', lambda: former(tiny, out_type='tokens'), square)
    yield Case('BootstrappedSparseFormer', lambda: _bootstrapped(tiny), square)
    yield Case('VideoSparseFormer', lambda: _video(tiny), (4 if tiny else 8, *square))


def _version_2(tiny: bool) -> nn.Module:
    torch.manual_seed(0)
    arch: Any = 'tiny'
    if tiny:
        arch = dict(
            embed_dims=8, depths=[2, 2, 2], num_heads=[1, 1, 2], extra_norm_every_n_blocks=0
        )
    last = 2 if tiny else 3
    model = SparseViTV2(arch, window_size=4 if tiny else 8, out_indices=(last,), drop_path_rate=0.0)
    model.init_weights()
    model.set_pruning_ratios(0.6)
    return model.eval()


def _bootstrapped(tiny: bool) -> nn.Module:
    torch.manual_seed(0)
    arch: Any = 'augreg_base'
    if tiny:
        arch = dict(num_tokens=4, dims=(64, 64), depth=1, activation='gelu')
    model = BootstrappedSparseFormer(arch, **(dict(num_points=4, channels=8) if tiny else {}))
    model.init_weights()
    return model.eval()


def _video(tiny: bool) -> nn.Module:
    torch.manual_seed(0)
    settings: dict[str, Any] = dict(drop_path_rate=0.0)
    if tiny:
        settings.update(
            arch=TINY_FORMER, replicates=2, num_heads=2, num_points=4, feature_channels=8
        )
    model = VideoSparseFormer(**settings)
    model.init_weights()
    return model.eval()


def prepare(
    model: nn.Module, images: Tensor, mode: str = 'eager', precision: str = 'fp32'
) -> Callable[[Tensor], Outputs]:
    """Makes a function of images that runs inference in one of the ways.

    Args:
        model: On the device; it stays as it is.
        images: Of the shape that will be given, fp32.
        mode: ``'eager'``; ``'graph'``, a CUDA graph of the eager pass; ``'compile'``,
            ``torch.compile`` with its own graphs. A CPU has no graphs, and a dry run there
            compiles nothing: those passes are eager ones.
        precision: One of :data:`PRECISIONS`.

    Returns:
        ``fp32 images -> outputs``. Pure half precision takes the images down itself.
    """
    half = HALVES.get(precision.removeprefix('amp '))
    amp = half is not None and precision.startswith('amp ')
    kind = images.device.type
    if half is not None and not amp:
        model = deepcopy(model).to(half)
    forward: Callable = model
    if mode == 'compile' and kind == 'cuda':
        # Where the compiler would go back to eager in silence, the row fails.
        torch._dynamo.config.fail_on_recompile_limit_hit = True
        forward = torch.compile(model, mode='reduce-overhead', dynamic=False)

    def run(given: Tensor) -> Outputs:
        if mode == 'compile':
            torch.compiler.cudagraph_mark_step_begin()
        # A graph must not read what autocast keeps while its context is open.
        context: Any = nullcontext()
        if amp:
            context = torch.autocast(kind, half, cache_enabled=mode != 'graph')
        with torch.inference_mode(), context:
            outputs = forward(given if half is None or amp else given.to(half))
        return (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)

    return Recording(run, images) if mode == 'graph' and kind == 'cuda' else run


def distance(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """The largest relative error ``‖a - b‖ / ‖b‖`` among outputs."""
    errors = []
    for one, other in zip(found, expected, strict=True):
        a, b = one.detach().double().cpu(), other.detach().double().cpu()
        errors.append(float((a - b).norm() / b.norm().clamp(min=1e-12)))
    return max(errors)
