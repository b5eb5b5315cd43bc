"""What the machine is, and what it reaches at best."""

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from torch import Tensor

from tools.benchmarks.gpu.sections import Section
from tools.benchmarks.gpu.timing import latencies_ms, throughput_ms
from tools.benchmarks.report import machine as processor_and_versions

OTHERS = ('numpy', 'triton', 'torchvision', 'transformers', 'setuptools')


def machine(section: Section) -> None:
    """The machine: versions, matrix products, copies, what a launch costs."""
    for name, value in {**processor_and_versions(), **_versions()}.items():
        section.add(what=name, value=value)
    section.add(what='Python', value=platform.python_version())
    if section.cuda:
        properties = torch.cuda.get_device_properties(section.device)
        section.add(what='GPU', value=properties.name)
        section.add(what='memory, GiB', value=properties.total_memory / 2**30)
        section.add(what='CUDA of torch', value=torch.version.cuda)
        section.add(what='cuDNN', value=torch.backends.cudnn.version())
    side = 128 if section.tiny else 8192
    for name, dtype, tf32 in (
        ('bf16', torch.bfloat16, False),
        ('fp16', torch.float16, False),
        ('TF32', torch.float32, True),
        ('fp32', torch.float32, False),
    ):
        torch.backends.cuda.matmul.allow_tf32 = tf32
        # Random numbers: products of zeros run faster than any real ones.
        one, two = torch.randn(2, side, side, device=section.device, dtype=dtype)
        ms = throughput_ms(section, lambda one=one, two=two: one @ two, 10)
        section.add(what=f'{name} product of {side}², TFLOP/s', value=2e-9 * side**3 / ms)
    torch.backends.cuda.matmul.allow_tf32 = False
    size = 1 << (16 if section.tiny else 30)
    source = torch.empty(size, dtype=torch.uint8, device=section.device)
    target = torch.empty_like(source)
    ms = throughput_ms(section, lambda: target.copy_(source), 10)
    section.add(what='copy, read and written, TB/s', value=2e-9 * size / ms)
    number = torch.zeros(1, device=section.device)
    queued = throughput_ms(section, lambda: number.add_(1), 2000)
    section.add(what='a small kernel in a queue, µs', value=queued * 1e3)
    alone = latencies_ms(section, {'add': lambda: number.add_(1)}, 1)['add']
    section.add(what='a small kernel from an idle device, µs', value=alone * 1e3)


def _versions() -> dict[str, str]:
    found = {}
    for package in OTHERS:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def profile_pass(run: Any, device: torch.device) -> dict[str, tuple[int, float]]:
    """Kernels of a call: for each name how often it ran, and its microseconds in all.

    On a CPU these are the operators, and their own time.
    """
    activity = torch.profiler.ProfilerActivity
    kinds = [activity.CPU] + ([activity.CUDA] if device.type == 'cuda' else [])
    with torch.profiler.profile(activities=kinds) as profiler:
        run()
        if device.type == 'cuda':
            torch.cuda.synchronize(device)
    cuda = device.type == 'cuda'
    found = {}
    for event in profiler.key_averages():
        on_device = event.device_type == torch.profiler.DeviceType.CUDA
        if cuda and on_device:
            found[event.key] = event.count, event.self_device_time_total
        elif not cuda and event.self_cpu_time_total > 0:
            found[event.key] = event.count, event.self_cpu_time_total
    return found


def any_loss(outputs: tuple[Tensor, ...]) -> Tensor:
    """A loss that sends gradients through all outputs."""
    return torch.stack([out.float().square().mean() for out in outputs if out.requires_grad]).sum()
