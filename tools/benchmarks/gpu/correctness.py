"""Whether every backbone computes on the device what it computes on the CPU."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from tools.benchmarks.gpu.passes import PRECISIONS, Case, cases, distance, prepare, swin_t
from tools.benchmarks.gpu.sections import Section

# Relative errors that are still rounding. In half precision a window near the border of what is
# kept may change sides, so outputs of a sparse model can differ by more than their rounding.
LIMITS = {'fp32': 1e-4, 'amp bf16': 0.15, 'amp fp16': 0.05, 'bf16': 0.15, 'fp16': 0.05}
SAME = 1e-5  # a replay computes by the same kernels
GRADIENTS = 1e-3


@contextmanager
def refusing_waits(section: Section) -> Iterator[None]:
    """Within it whatever makes the host wait for the GPU raises an error."""
    if not section.cuda:
        yield
        return
    torch.cuda.set_sync_debug_mode('error')
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode('default')


def backbones(section: Section) -> None:
    """Outputs against the CPU's: precisions, graphs, waits for the device."""
    for case in cases(section.tiny):
        if section.left() <= 0:
            section.note(f'No time was left for {case.name}.')
            continue
        with _row_of(section, case.name):
            section.add(**_compare(section, case))


@contextmanager
def _row_of(section: Section, name: str) -> Iterator[None]:
    """Makes an error a failed row: the next backbone has its turn."""
    try:
        yield
    except Exception as error:
        reason = f'{type(error).__name__}: {" ".join(str(error).split())[:300]}'
        section.add(backbone=name, failed=reason, ok=False)


def _compare(section: Section, case: Case) -> dict[str, Any]:
    model = case.build()
    one, two = case.inputs(2), case.inputs(2, seed=1)
    with torch.inference_mode():
        expected = prepare(model, one)(one)
    device_model = deepcopy(model).to(section.device)
    here, there = one.to(section.device), two.to(section.device)
    row: dict[str, Any] = dict(backbone=case.name)
    fine = True
    for precision in PRECISIONS:
        error = distance(prepare(device_model, here, precision=precision)(here), expected)
        row[precision] = error
        fine &= error <= LIMITS[precision]
    row['waits'] = _waits(section, device_model, here)
    fine &= row['waits'] == 'none'
    # A recording gives each of two images its own outputs, and never the other's.
    for precision in ('fp32', 'bf16'):
        eager = prepare(device_model, here, precision=precision)
        replay = prepare(device_model, here, 'graph', precision)
        errors = [distance(replay(images), eager(images)) for images in (here, there, here)]
        row[f'graph {precision}'] = max(errors)
        fine &= max(errors) <= SAME
    return dict(row, ok=bool(fine))


def compiled_backbones(section: Section) -> None:
    """Outputs of compiled backbones against the CPU's, as many as there is time for."""
    # Compiling takes half a minute each: those first that stand for the others.
    first = ('SparseViT, 60 %', 'SparseFormer', 'SparseViT, padded maps, 60 %')
    for case in sorted(cases(section.tiny), key=lambda case: case.name not in first):
        if section.left() <= 0:
            section.note(f'No time was left for {case.name}.')
            continue
        with _row_of(section, case.name):
            model, one, two = case.build(), case.inputs(2), case.inputs(2, seed=1)
            there = deepcopy(model).to(section.device)
            began = time.perf_counter()
            run = prepare(there, one.to(section.device), 'compile')
            errors = []
            for images in (one, two):
                with torch.inference_mode():
                    expected = prepare(model, images)(images)
                errors.append(distance(run(images.to(section.device)), expected))
            seconds = time.perf_counter() - began
            ok = max(errors) <= LIMITS['fp32']
            section.add(backbone=case.name, fp32=max(errors), seconds=seconds, ok=ok)
            torch.compiler.reset()  # it would stop compiling after eight models of a kind


def _waits(section: Section, model: nn.Module, images: Tensor) -> str:
    run = prepare(model, images)
    run(images)  # tables of windows are made in the first pass
    section.wait()
    try:
        with refusing_waits(section):
            run(images)
    except RuntimeError as error:
        return str(error).splitlines()[0][:100]
    return 'none'


def gradients(section: Section) -> None:
    """Gradients against the CPU's, and a training step that never waits for the device."""
    for case in cases(section.tiny):
        if section.left() <= 0:
            section.note(f'No time was left for {case.name}.')
            continue
        with _row_of(section, case.name):
            section.add(**_compare_gradients(section, case))


def _compare_gradients(section: Section, case: Case) -> dict[str, Any]:
    model, images = case.build().train(), case.inputs(1)
    model_there, images_there = deepcopy(model).to(section.device), images.to(section.device)
    expected = _gradients(model, images)
    found = _gradients(model_there, images_there)
    waits = 'none'
    try:
        with refusing_waits(section):
            _gradients(model_there, images_there)
    except RuntimeError as error:
        waits = str(error).splitlines()[0][:100]
    error = distance([torch.cat(found)], [torch.cat(expected)])
    ok = error <= GRADIENTS and waits == 'none'
    return dict(backbone=case.name, error=error, waits=waits, ok=ok)


def _gradients(model: nn.Module, images: Tensor) -> list[Tensor]:
    model.zero_grad(set_to_none=True)
    outputs = [out for out in model(images) if out.requires_grad]
    torch.stack([out.float().square().mean() for out in outputs]).sum().backward()
    return [p.grad.flatten() for p in model.parameters() if p.grad is not None]


def changing_ratios(section: Section) -> None:
    """Ratios that change between steps, as the adaptation changes them: no wait, right outputs."""
    swin = swin_t(section.tiny)
    case = Case('SparseViT', swin.build, (64, 80) if section.tiny else (224, 280))
    model: Any = case.build()
    there = deepcopy(model).to(section.device)
    images = case.inputs(2)
    images_there = images.to(section.device)
    for ratios in (None, 0.6, swin.middle, 0.2, None):  # the tables are made, memory is taken
        there.override_ratios(0 if ratios is None else ratios)
        prepare(there, images_there)(images_there)
    for name, ratios in (('60 %', 0.6), ('middle', swin.middle), ('dense', None)):
        model.set_pruning_ratios(ratios)
        with torch.inference_mode():
            expected = prepare(model, images)(images)
        waits = 'none'
        there.override_ratios(None)
        try:
            with refusing_waits(section):
                there.set_pruning_ratios(ratios)
                found = prepare(there, images_there)(images_there)
                there.override_ratios(0.2)
                there.override_ratios(None)
        except RuntimeError as error:
            section.add(ratios=name, error=None, waits=str(error)[:100], ok=False)
            continue
        error = distance(found, expected)
        section.add(ratios=name, error=error, waits=waits, ok=error <= LIMITS['fp32'])
