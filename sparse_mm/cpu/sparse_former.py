"""SparseFormers' inference pass on a CPU: the same steps, with channels last.

If the features come from a convolution, they are channels last, and pooling, normalisation and
sampling read contiguous channels. Linear layers run on oneDNN's product. docs/performance.md has
the figures.
"""

from contextlib import nullcontext
from typing import Any

import torch
from mmengine.model import ModuleList
from torch import Tensor, nn

from sparse_mm.cpu.conditions import disabled, may_take
from sparse_mm.cpu.linear import OneDNNLinear
from sparse_mm.cpu.sampling import SamplingByRows
from sparse_mm.models.backbones.bootstrapped_sparse_former import (
    BootstrappedSparseFormer,
    Focusing,
    QuickGELU,
    Sampling,
    TransformerBlock,
)
from sparse_mm.models.backbones.sparse_former import SparseFormer
from sparse_mm.models.backbones.sparse_former_unit import (
    PointSampler,
    RoISampler,
    SelfAttention,
    SparseFormerUnit,
)
from sparse_mm.models.executors import Mark, ignore
from sparse_mm.models.layers.adaptive_mixing import AdaptiveMixing, LinearDecoding, StaticMixing
from sparse_mm.models.layers.image_features import (
    Bottleneck,
    EarlyConvolution,
    PatchFeatures,
    ResNetC2,
    RGBFeatures,
)

# For fewer tokens, packing the weights before each product takes longer than it saves.
TOKENS = 256

KNOWN: frozenset[type] = frozenset(
    {
        *(SparseFormer, SparseFormerUnit, SelfAttention, PointSampler, RoISampler),
        *(BootstrappedSparseFormer, Focusing, Sampling, TransformerBlock, QuickGELU),
        *(AdaptiveMixing, StaticMixing, LinearDecoding),
        *(EarlyConvolution, PatchFeatures, ResNetC2, Bottleneck, RGBFeatures),
        *(ModuleList, nn.ModuleList, nn.Sequential, nn.Identity, nn.GELU),
        *(nn.Conv2d, nn.BatchNorm2d, nn.Linear, nn.LayerNorm),
    }
)


class SparseFormersOnCPU:
    """The executor of SparseFormer and BootstrappedSparseFormer."""

    def takes(self, model: nn.Module, images: Tensor) -> bool:
        """Whether the pass is one of inference, by a model as it was built, in fp32 or bf16."""
        own = type(model) in (SparseFormer, BootstrappedSparseFormer)
        return own and may_take(model, images, KNOWN)

    def run(self, model: Any, images: Tensor, mark: Mark = ignore) -> tuple[Tensor, ...]:
        """Computes the pass; see :class:`~sparse_mm.models.executors.Executor`."""
        if isinstance(model.stem, (EarlyConvolution, ResNetC2)):
            images = images.contiguous(memory_format=torch.channels_last)
        many = images.shape[0] * model.token_rois.shape[0] >= TOKENS
        with disabled(), SamplingByRows(), OneDNNLinear() if many else nullcontext():
            return model(images)
