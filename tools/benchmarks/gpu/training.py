"""Training: what a step costs, where its time goes, and that it learns."""

import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from itertools import cycle
from random import Random
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn

from sparse_mm.datasets import ShapePictures
from sparse_mm.models import SparseViT
from sparse_mm.search.space import RatioSpace
from tools.benchmarks.gpu.machine import any_loss, profile_pass
from tools.benchmarks.gpu.passes import HALVES, prepare, swin_t
from tools.benchmarks.gpu.sections import Section
from tools.benchmarks.gpu.tables import MMDET
from tools.benchmarks.gpu.timing import latencies_ms

ATTENTION = ('attention', 'fmha', 'sdpa', 'flash')  # in the names of kernels


def _context(device: torch.device, precision: str) -> Any:
    if precision == 'fp32':
        return nullcontext()
    return torch.autocast(device.type, HALVES[precision.removeprefix('amp ')])


def _step(model: nn.Module, images: Tensor, precision: str, prepare_step: Callable) -> None:
    prepare_step()
    model.zero_grad(set_to_none=True)
    with _context(images.device, precision):
        loss = any_loss(tuple(model(images)))
    loss.backward()


def _draws(model: Any) -> Callable[[], None]:
    """Draws ratios as the adaptation does, the same ones again after 16 steps."""
    space = RatioSpace.build(model.depths)
    drawn = cycle([space.draw(Random(f'0 adaptation {step}')) for step in range(16)])
    return lambda: model.override_ratios(next(drawn))


def training_steps(section: Section) -> None:
    """Training steps, forward and backward: Swin-T at 672×672, batch 4."""
    swin = swin_t(section.tiny)
    size, batch = ((64, 80), 1) if section.tiny else ((672, 672), 4)
    images = torch.randn(batch, 3, *size, device=section.device)
    models: dict[str, tuple[nn.Module, Callable]] = {}
    settings = dict(type='mmdet.SwinTransformer', **{**swin.settings, 'drop_path_rate': 0.0})
    try:
        theirs = MODELS.build(settings).to(section.device)
        theirs.train()
        models[MMDET] = theirs, lambda: None
    except Exception as error:
        section.note(f'{MMDET} could not be built: {error}')
    for name, ratios in swin.rows().items():
        models[name] = swin.build(ratios).to(section.device).train(), lambda: None
    drawn = swin.build().to(section.device).train()
    models['random ratios'] = drawn, _draws(drawn)
    for left, precision in ((2, 'amp bf16'), (1, 'fp32')):
        runs = {
            name: partial(_step, model, images, precision, before)
            for name, (model, before) in models.items()
        }
        latency = latencies_ms(section, runs, max(0.0, section.left()) / left / 2)
        for name, run in runs.items():
            section.add(
                precision=precision,
                backbone=name,
                step_ms=latency[name],
                **{
                    'faster than dense': latency['dense'] / latency[name],
                    'peak memory, MiB': _peak(section, run),
                },
            )


def _peak(section: Section, run: Callable[[], Any]) -> float | None:
    if not section.cuda:
        return None
    torch.cuda.reset_peak_memory_stats(section.device)
    run()
    section.wait()
    return torch.cuda.max_memory_allocated(section.device) / 2**20


def kernels(section: Section) -> None:
    """Where the time goes: kernels of a pass and of a training step, and attention's share."""
    swin = swin_t(section.tiny)
    size, batch = ((64, 80), 1) if section.tiny else ((672, 672), 4)
    images = torch.randn(batch, 3, *size, device=section.device)
    for name, ratios in swin.rows().items():
        model = swin.build(ratios).to(section.device)
        inference = partial(prepare(model, images, precision='bf16'), images)
        trained = swin.build(ratios).to(section.device).train()
        step = partial(_step, trained, images, 'amp bf16', lambda: None)
        for what, run in (('pass, bf16', inference), ('training step, amp bf16', step)):
            if section.left() <= 0:
                section.note('The time was over before all were profiled.')
                return
            run()
            run()
            found = profile_pass(run, section.device)
            total = sum(us for _, us in found.values())
            heaviest = sorted(found.items(), key=lambda item: -item[1][1])[:8]
            share = sum(us for key, (_, us) in found.items() if _is_attention(key)) / total
            section.add(
                backbone=name,
                what=what,
                kernels=sum(count for count, _ in found.values()),
                device_ms=total / 1e3,
                **{'share of attention': share},
            )
            for key, (count, us) in heaviest:
                section.note(f'{name}, {what}: {us:.0f} µs in {count} × {key[:90]}')


def _is_attention(key: str) -> bool:
    return any(word in key.lower() for word in ATTENTION)


class _Classifier(nn.Module):
    """A small SparseViT that tells four shapes apart."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = SparseViT(
            embed_dims=32, depths=(2, 2, 2), num_heads=(1, 2, 4), strides=(4, 2, 2),
            out_indices=(2,), drop_path_rate=0.0,
        )  # fmt: skip
        self.backbone.init_weights()
        self.head = nn.Linear(128, 4)

    def forward(self, images: Tensor) -> Tensor:
        (features,) = self.backbone(images)
        return self.head(features.mean((2, 3)))


def learning_curve(section: Section) -> None:
    """A small SparseViT learns generated shapes under random ratios, while time is left."""
    count, size, batch = (16, 64, 8) if section.tiny else (2000, 112, 128)
    images, labels = _pictures(section, count, size, seed=0)
    test_images, test_labels = _pictures(section, max(8, count // 8), size, seed=1)
    model = _Classifier().to(section.device)
    draw = _draws(model.backbone)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
    began, step, shown = time.monotonic(), 0, 0.0
    interval = max(0.0, section.left()) / 12
    reserve = 2.0 if section.cuda else 0.5
    while section.left() > reserve and step < (2 if section.tiny else 20000):
        chosen = torch.randint(len(images), (batch,), device=section.device)
        draw()
        with torch.autocast(section.device.type, torch.bfloat16):
            loss = F.cross_entropy(model(images[chosen]).float(), labels[chosen])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        step += 1
        seconds = time.monotonic() - began
        if step == 1 or section.tiny or seconds - shown >= interval:
            shown = seconds
            row: dict[str, Any] = dict(
                step=step,
                seconds=seconds,
                images_per_s=step * batch / seconds,
                loss=float(loss.detach()),
            )
            for name, ratios in (('dense', 0), ('60 %', 0.6)):
                model.backbone.override_ratios(ratios)
                row[f'accuracy {name}'] = _accuracy(model, test_images, test_labels, batch)
            section.add(**row)


def _pictures(section: Section, count: int, size: int, seed: int) -> tuple[Tensor, Tensor]:
    data = ShapePictures(count, size=size, seed=seed, serialize_data=False)
    pictures = [data.get_data_info(i) for i in range(count)]
    images = torch.stack([torch.from_numpy(p['img']) for p in pictures]).permute(0, 3, 1, 2)
    labels = torch.tensor([p['gt_label'] for p in pictures])
    return ((images.float() - 120) / 60).to(section.device), labels.to(section.device)


@torch.no_grad()
def _accuracy(model: nn.Module, images: Tensor, labels: Tensor, batch: int) -> float:
    model.eval()
    right = [
        (model(part).argmax(1) == truth).float()
        for part, truth in zip(images.split(batch), labels.split(batch), strict=True)
    ]
    model.train()
    return float(torch.cat(right).mean())
