"""Lift, splat: projects image features with estimated depths onto a BEV grid.

Every cell of an image feature map is lifted to one point per depth bin, weighted by the probability
of that depth, and all points in one cell of the bird's-eye view are summed (Philion and Fidler,
Lift, Splat, Shoot, ECCV 2020, section 3; BEVDet, Huang et al., 2021, section 3.1).
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn


class SplatPlan(NamedTuple):
    """Which lifted points make which cell of the bird's-eye view, sorted by cell.

    Points outside the grid or behind a camera are left out.

    Attributes:
        points: ``(P,)`` int64, positions in the flattened ``(B * N, D, h, w)`` depth weights.
        pixels: ``(P,)`` int64, positions of the same points in the flattened ``(B * N, h, w)`` map.
        starts: ``(B * Z * Y * X,)`` int64, where each cell's points begin.
    """

    points: Tensor
    pixels: Tensor
    starts: Tensor


def frustum(
    shape: tuple[int, int], stride: int, depths: Tensor, device: torch.device | str
) -> Tensor:
    """The points of one image's feature map, one for each cell and depth.

    Args:
        shape: ``(h, w)`` of the feature map.
        stride: Its stride in pixels.
        depths: ``(D,)`` in metres.
        device: Where the points shall live.

    Returns:
        ``(D, h, w, 4)`` float32: ``(u * d, v * d, d, 1)``, what ``lidar2img`` gives for a point at
        depth ``d`` that is seen in pixel ``(u, v)``, the centre of a cell.
    """
    height, width = shape
    v = (torch.arange(height, device=device) + 0.5) * stride - 0.5
    u = (torch.arange(width, device=device) + 0.5) * stride - 0.5
    d, v, u = torch.meshgrid(depths.to(device), v, u, indexing='ij')  # (D, h, w) each
    return torch.stack([u * d, v * d, d, torch.ones_like(d)], dim=-1)


def splat(depth: Tensor, context: Tensor, plan: SplatPlan) -> Tensor:
    """Sums the points of each cell: depth weight times image feature.

    A weighted sum over sorted segments, so it is deterministic, and the product of both, which
    would be ``D`` times the feature map, is never stored. Always in the precision of ``context``
    as given, at least float32.

    Args:
        depth: ``(B * N, D, h, w)``, weights.
        context: ``(B * N, C, h, w)``, features.
        plan: From :func:`plan_splat`.

    Returns:
        ``(B * Z * Y * X, C)``.
    """
    with torch.autocast(depth.device.type, enabled=False):
        dtype = torch.promote_types(context.dtype, torch.float32)
        rows = context.permute(0, 2, 3, 1).flatten(0, 2).to(dtype)  # (B * N * h * w, C)
        weights = depth.flatten().to(dtype)[plan.points]  # (P,)
        return F.embedding_bag(
            plan.pixels, rows, plan.starts, mode='sum', per_sample_weights=weights
        )


def plan_splat(
    frustum_points: Tensor, lidar2img: Tensor, lower: Tensor, cell: Tensor, cells: Sequence[int]
) -> SplatPlan:
    """Finds the cell of every lifted point.

    Args:
        frustum_points: ``(D, h, w, 4)`` from :func:`frustum`.
        lidar2img: ``(B, N, 4, 4)``, the cameras' projections, with all augmentation in them.
        lower: ``(3,)``, the grid's lower corner in metres.
        cell: ``(3,)``, sides of a cell in metres.
        cells: ``(X, Y, Z)``, how many.

    Returns:
        The plan.
    """
    device = frustum_points.device
    batch = len(lidar2img)
    # Inverted in double precision: focal lengths of a thousand pixels stand beside metres.
    img2lidar = torch.linalg.inv(lidar2img.double()).to(device, torch.float32)
    with torch.autocast(device.type, enabled=False):  # half precision would miss the cells
        # (B, N, 1, 1, 1, 4, 4) @ (D, h, w, 4, 1) -> (B, N, D, h, w, 3)
        points = (img2lidar[:, :, None, None, None] @ frustum_points[..., None])[..., :3, 0]
    index = torch.floor((points - lower.to(device)) / cell.to(device)).long()
    limit = index.new_tensor(cells)
    inside = ((index >= 0) & (index < limit)).all(-1).flatten()  # (B * N * D * h * w,)
    x, y, z = index.unbind(-1)  # (B, N, D, h, w) each
    image = torch.arange(batch, device=device)[:, None, None, None, None]
    place = ((image * cells[2] + z) * cells[1] + y) * cells[0] + x

    kept = inside.nonzero().squeeze(1)  # (P,)
    place, order = place.flatten()[kept].sort(stable=True)
    kept = kept[order]
    counts = torch.bincount(place, minlength=batch * cells[0] * cells[1] * cells[2])
    depths, height, width = frustum_points.shape[:3]
    pixel = kept // (depths * height * width) * (height * width) + kept % (height * width)
    return SplatPlan(kept, pixel, counts.cumsum(0) - counts)


@MODELS.register_module()
class LiftSplat(BaseModule):
    """The view transform: feature maps of ``N`` cameras to one map of the ground.

    In evaluation, the plan of the last cameras is kept and used again while they stay the same.

    Args:
        in_channels: Channels of the feature maps.
        out_channels: Channels ``C`` of the ground's map, for each height cell.
        stride: Stride of the feature maps, in pixels.
        depth: First and last depth and the length of a bin, in metres.
        grid: For each of x, y, z of the LiDAR frame: lower bound, upper bound and side of a cell,
            in metres.
        init_cfg: Initialisation. Defaults to None.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int,
        depth: tuple[float, float, float],
        grid: Sequence[tuple[float, float, float]],
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.stride = stride
        first, last, bin_length = depth
        bins = torch.arange(round((last - first) / bin_length), dtype=torch.float32)
        self.depths = bins * bin_length + (first + bin_length / 2)  # (D,), centres of the bins
        self.lower = torch.tensor([axis[0] for axis in grid])
        self.cell = torch.tensor([axis[2] for axis in grid])
        self.cells = tuple(round((axis[1] - axis[0]) / axis[2]) for axis in grid)  # (X, Y, Z)
        self.out_channels = out_channels
        self.project = nn.Conv2d(in_channels, len(self.depths) + out_channels, 1)
        self._last: tuple[Tensor, tuple[int, int], SplatPlan] | None = None

    def forward(self, x: Tensor, lidar2img: Tensor) -> Tensor:
        """Lays features out on the ground.

        Args:
            x: ``(B, N, in_channels, h, w)``.
            lidar2img: ``(B, N, 4, 4)``, projections of LiDAR points into the images that ``x`` was
                computed on: ``(u * d, v * d, d, 1)``.

        Returns:
            ``(B, Z * C, Y, X)``, float32 or wider; rows go along y, columns along x.
        """
        batch = x.shape[0]
        projected = self.project(x.flatten(0, 1))  # (B * N, D + C, h, w)
        depth = projected[:, : len(self.depths)].softmax(dim=1)
        context = projected[:, len(self.depths) :]
        ground = splat(depth, context, self._plan(lidar2img, x))  # (B * Z * Y * X, C)
        across, along, up = self.cells
        ground = ground.view(batch, up, along, across, self.out_channels)
        return ground.permute(0, 1, 4, 2, 3).flatten(1, 2)  # (B, Z * C, Y, X)

    def _plan(self, lidar2img: Tensor, x: Tensor) -> SplatPlan:
        shape = x.shape[-2], x.shape[-1]
        if self._last is not None and not self.training:
            cameras, last_shape, plan = self._last
            same_map = last_shape == shape and plan.points.device == x.device
            if same_map and torch.equal(cameras, lidar2img):
                return plan
        points = frustum(shape, self.stride, self.depths, x.device)
        plan = plan_splat(points, lidar2img, self.lower, self.cell, self.cells)
        self._last = None if self.training else (lidar2img, shape, plan)
        return plan
