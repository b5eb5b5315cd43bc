"""The tables: latency and throughput of backbones, by mode and precision."""

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
import torchvision
from mmengine.registry import MODELS
from torch import Tensor, nn

from tools.benchmarks.gpu.passes import Swin, former, lively, prepare, swin_l, swin_t
from tools.benchmarks.gpu.sections import Section
from tools.benchmarks.gpu.timing import latencies_ms, throughput_ms

Builders = dict[str, Callable[[], nn.Module]]
EAGER = (('eager', 'fp32'), ('eager', 'amp bf16'), ('eager', 'bf16'))
GRAPHS = (('graph', 'fp32'), ('graph', 'amp bf16'), ('graph', 'bf16'))
COMPILED = (('compile', 'bf16'),)
MMDET = 'mmdet Swin'


def swin_t_batch_4(section: Section) -> None:
    """Swin-T at 672×672, batch 4: the paper's table."""
    _swins(section, swin_t(section.tiny), (672, 672), 4, (*EAGER, *GRAPHS))


def swin_t_batch_1(section: Section) -> None:
    """Swin-T at 672×672, batch 1."""
    _swins(section, swin_t(section.tiny), (672, 672), 1, (*EAGER[::2], *GRAPHS[::2]))


def cameras(section: Section) -> None:
    """Swin-T, six cameras at 256×704."""
    _swins(section, swin_t(section.tiny), (256, 704), 6, (*EAGER[::2], *GRAPHS[::2]))


def swin_l_cityscapes(section: Section) -> None:
    """Swin-L at 1024×2048, batch 1."""
    _swins(section, swin_l(section.tiny), (1024, 2048), 1, (EAGER[1], *GRAPHS[1:]))


def compiled(section: Section) -> None:
    """Compiled, pure bf16: Swin-T at 672×672, batch 4 and 1, and six cameras."""
    swin = swin_t(section.tiny)
    cases = ((672, 672), 4), ((672, 672), 1), ((256, 704), 6)
    for size, batch in cases[: 1 if section.tiny else None]:
        _swins(section, swin, size, batch, COMPILED)


def _swins(
    section: Section,
    swin: Swin,
    size: tuple[int, int],
    batch: int,
    ways: Sequence[tuple[str, str]],
) -> None:
    builders: Builders = {MMDET: partial(_mmdet, swin)}
    builders |= {name: partial(swin.build, ratios) for name, ratios in swin.rows().items()}
    if section.tiny:
        size, batch = (64, 80), 1
        if len(ways) < 6:
            ways = ways[-1:]  # the table of all ways has tried the others
    measure(section, builders, size, batch, ways, baseline='dense')


def _mmdet(swin: Swin) -> nn.Module:
    torch.manual_seed(0)
    settings = {**swin.settings, 'drop_path_rate': 0.0}
    return lively(MODELS.build(dict(type='mmdet.SwinTransformer', **settings)))


def classifiers(section: Section) -> None:
    """SparseFormers at 224×224 against torchvision's ResNet-50, Swins and DeiTs."""
    builders: Builders = {'torchvision Swin-T': partial(_torchvision, 'swin_t')}
    builders['SparseFormer-T'] = partial(former, section.tiny)
    if not section.tiny:
        builders |= {
            'torchvision ResNet-50': partial(_torchvision, 'resnet50'),
            'torchvision Swin-S': partial(_torchvision, 'swin_s'),
            'torchvision Swin-B': partial(_torchvision, 'swin_b'),
            'torchvision DeiT-S': partial(_deit, 384, 6),
            'torchvision DeiT-B': partial(_deit, 768, 12),
            'SparseFormer-S': partial(former, False, 'small'),
            'SparseFormer-B': partial(former, False, 'base'),
        }
    size, batch = ((32, 32), 1) if section.tiny else ((224, 224), 32)
    ways = (EAGER[0], EAGER[2], GRAPHS[2])
    measure(section, builders, size, batch, ways, baseline='torchvision Swin-T')


def _torchvision(name: str) -> nn.Module:
    torch.manual_seed(0)
    return torchvision.models.get_model(name, weights=None).eval()


def _deit(width: int, heads: int) -> nn.Module:
    """DeiT (Touvron et al., ICML 2021): a Vision Transformer of patches of 16 and 12 blocks."""
    torch.manual_seed(0)
    return torchvision.models.VisionTransformer(224, 16, 12, heads, width, 4 * width).eval()


def measure(
    section: Section,
    builders: Builders,
    size: tuple[int, int],
    batch: int,
    ways: Sequence[tuple[str, str]],
    baseline: str,
) -> None:
    """Measures all backbones in each of the ways, the backbones of one way in turns.

    A backbone that cannot be built, or run in some way, leaves a row that says why.

    Args:
        section: Takes the rows.
        builders: The backbones.
        size: ``(H, W)``.
        batch: Images.
        ways: Modes and precisions.
        baseline: Whose latency the others are compared with.
    """
    case = dict(size=f'{size[0]}×{size[1]}', batch=batch)
    models: dict[str, nn.Module] = {}
    for name, build in builders.items():
        try:
            models[name] = build().to(section.device)
        except Exception as error:  # a host package that this machine cannot import
            section.note(f'{name} could not be built: {_reason(error)}')
    images = torch.randn(batch, 3, *size, device=section.device)
    for left, (mode, precision) in zip(range(len(ways), 0, -1), ways, strict=True):
        if section.left() <= 0:
            section.note(f'No time was left for {mode}, {precision}.')
            continue
        runs, built = {}, {}
        for name, run, seconds in _prepared(section, models, images, mode, precision):
            runs[name], built[name] = run, seconds
        if not runs:
            continue
        latency = latencies_ms(section, runs, section.left() / left / 3)
        for name, run in runs.items():
            queued = throughput_ms(section, run)
            row: dict[str, Any] = dict(
                case, mode=mode, precision=precision, backbone=name, latency_ms=latency[name]
            )
            row['faster than baseline'] = None
            if baseline in latency:
                row['faster than baseline'] = latency[baseline] / latency[name]
            row.update(queued_ms=queued, images_per_s=1e3 * batch / queued, built_s=built[name])
            section.add(**row)
        runs.clear()  # graphs keep memory of their own
        gc.collect()
        if mode == 'compile':
            torch.compiler.reset()  # it would stop compiling after eight models of a kind


def _prepared(
    section: Section, models: dict[str, nn.Module], images: Tensor, mode: str, precision: str
) -> Iterator[tuple[str, Callable[[], Any], float]]:
    for name, model in models.items():
        began = time.perf_counter()
        try:
            function = prepare(model, images, mode, precision)
            function(images)
            section.wait()
        except Exception as error:
            section.note(f'{name} does not run in {mode}, {precision}: {_reason(error)}')
            continue
        yield name, partial(function, images), time.perf_counter() - began


def _reason(error: Exception) -> str:
    return f'{type(error).__name__}: {" ".join(str(error).split())[:200]}'
