"""The sampling points of a SparseFormer, and the share of them that lies on objects."""

import torch
from torch import Tensor, nn

from sparse_mm.errors import BadInputError
from sparse_mm.models.backbones.sparse_former_unit import PointSampler


@torch.no_grad()
def sampling_points_of(backbone: nn.Module, images: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Runs a backbone on images ``(B, 3, H, W)``, and records where it samples.

    Returns:
        For each iteration that samples, the RoIs ``(B, N, 4)`` and the sampling points
        ``(B, N, P, 2)``, (x, y) in [0, 1] of the image.

    Raises:
        BadInputError: The backbone is no SparseFormer.
    """
    found: list[tuple[Tensor, Tensor]] = []

    def keep(module: nn.Module, inputs: tuple, points: Tensor) -> None:
        found.append((inputs[1], points))

    samplers = [module for module in backbone.modules() if isinstance(module, PointSampler)]
    handles = [sampler.register_forward_hook(keep) for sampler in samplers]
    try:
        backbone(images)
    finally:
        for handle in handles:
            handle.remove()
    if not found:
        raise BadInputError(f'{type(backbone).__name__} has no RoIs: it is no SparseFormer.')
    return found


def share_on_objects(points: Tensor, masks: Tensor) -> Tensor:
    """The share of each image's sampling points that lie on its objects.

    Args:
        points: ``(B, N, P, 2)``, (x, y) in [0, 1] of the image; those outside lie on nothing.
        masks: ``(B, H, W)`` bool, the pixels of the objects.

    Returns:
        ``(B,)``.
    """
    height, width = masks.shape[-2:]
    columns = (points[..., 0] * width).floor().long()  # (B, N, P)
    rows = (points[..., 1] * height).floor().long()
    inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    image = torch.arange(len(masks)).view(-1, 1, 1)
    hits = masks[image, rows.clamp(0, height - 1), columns.clamp(0, width - 1)] & inside
    return hits.flatten(1).float().mean(dim=1)
