"""Pooling regions of a feature map: RoIAlign and RoIPool."""

import torch
import torchvision  # noqa: F401  (its import registers torch.ops.torchvision)
from torch import Tensor

# Numbers gathered at once by RoIAlign's maximum.
GATHERED = 1 << 22


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """RoIAlign (He et al., ICCV 2017), written to ``output``.

    Args:
        input: ``(B, C, H, W)``.
        rois: ``(R, 5)`` as image, x1, y1, x2, y2.
        output: ``(R, C, aligned_height, aligned_width)``.
        argmax_y: For the maximum, as output: where it lies.
        argmax_x: For the maximum, as output: where it lies.
        aligned_height: Rows of bins.
        aligned_width: Columns of bins.
        spatial_scale: Side of the feature map over that of the image.
        sampling_ratio: Samples per bin and direction; 0 takes one per pixel.
        pool_mode: 0 for the maximum of a bin's samples, 1 for their mean.
        aligned: Pixels are centred half a pixel inside.
    """
    rois = rois.to(input.dtype)
    size = (aligned_height, aligned_width)
    if pool_mode == 1:
        output.copy_(
            torch.ops.torchvision.roi_align(
                input, rois, spatial_scale, *size, sampling_ratio, aligned
            )
        )
        return
    # Half precision is too coarse for coordinates.
    exact = torch.float64 if input.dtype == torch.float64 else torch.float32
    rois, features = rois.to(exact), input.to(exact)
    grid_y, grid_x = sample_places(rois, size, spatial_scale, sampling_ratio, aligned)
    per_roi = max(1, input.shape[1] * grid_y[0].numel() * grid_x[0].shape[1]) if len(rois) else 1
    step = max(1, GATHERED // per_roi)
    for begin in range(0, len(rois), step):
        part = slice(begin, begin + step)
        y, x = grid_y[part, :, None, :, None], grid_x[part, None, :, None, :]
        real = ~(y.isnan() | x.isnan())  # (R, ph, pw, gy, gx)
        y, x = y.expand_as(real).flatten(3), x.expand_as(real).flatten(3)  # (R, ph, pw, S)
        values = sampled(features, rois[part, 0].long(), y.nan_to_num(), x.nan_to_num())
        values = values.masked_fill(~real.flatten(3)[:, None], -10000)  # (R, C, ph, pw, S)
        best, at = values.max(dim=-1)
        output[part] = best.to(output.dtype)
        for argmax, place in ((argmax_y, y), (argmax_x, x)):
            chosen = place[:, None].expand_as(values).gather(-1, at[..., None])[..., 0]
            argmax[part] = chosen.masked_fill(best == -10000, -1).to(argmax.dtype)


def sample_places(
    rois: Tensor, size: tuple[int, int], scale: float, sampling_ratio: int, aligned: bool
) -> tuple[Tensor, Tensor]:
    """Where RoIAlign samples: rows ``(R, ph, gy)``, columns ``(R, pw, gx)``; NaN means none."""
    shift = 0.5 if aligned else 0.0
    places = []
    for bins, first, last in ((size[0], 2, 4), (size[1], 1, 3)):
        begin = rois[:, first] * scale - shift  # (R,)
        length = rois[:, last] * scale - shift - begin
        if not aligned:
            length = length.clamp(min=1)
        bin_size = length / bins
        count = (
            bin_size.ceil().clamp(min=0) if sampling_ratio <= 0 else bin_size * 0 + sampling_ratio
        )
        most = int(count.max()) if len(rois) else 0
        sample = torch.arange(max(most, 1), device=rois.device)
        inside = (sample + 0.5) * (bin_size / count)[:, None]  # (R, g)
        inside = inside.masked_fill(sample >= count[:, None], torch.nan)
        corner = begin[:, None] + torch.arange(bins, device=rois.device) * bin_size[:, None]
        places.append(corner[:, :, None] + inside[:, None])  # (R, bins, g)
    return places[0], places[1]


def neighbours(y: Tensor, x: Tensor, height: int, width: int) -> list[tuple[Tensor, Tensor]]:
    """The four pixels around each place, as flat indices, with their bilinear weights."""
    outside = (y < -1) | (y > height) | (x < -1) | (x > width)
    y, x = y.clamp(0, height - 1), x.clamp(0, width - 1)
    top, left = y.floor(), x.floor()
    down, right = y - top, x - left
    below, beside = (top + 1).clamp(max=height - 1), (left + 1).clamp(max=width - 1)
    result = []
    for row, row_weight in ((top, 1 - down), (below, down)):
        for column, column_weight in ((left, 1 - right), (beside, right)):
            weight = (row_weight * column_weight).masked_fill(outside, 0)
            result.append(((row * width + column).long(), weight))
    return result


def sampled(features: Tensor, image: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Bilinear samples of ``(B, C, H, W)`` at ``(R, ...)`` places: ``(R, C, ...)``."""
    height, width = features.shape[2:]
    rows = features.flatten(2).transpose(1, 2).flatten(0, 1)  # (B * H * W, C)
    first = (image * height * width).view(-1, *[1] * (y.dim() - 1))
    total = features.new_zeros(())
    for index, weight in neighbours(y, x, height, width):
        total = total + rows[first + index] * weight[..., None]
    return total.movedim(-1, 1)


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Gradient of roi_align_forward by its input, written to ``grad_input``."""
    rois = rois.to(grad_output.dtype)
    batch, channels, height, width = grad_input.shape
    if pool_mode == 1:
        grad_input.copy_(
            torch.ops.torchvision._roi_align_backward(
                grad_output,
                rois,
                spatial_scale,
                aligned_height,
                aligned_width,
                batch,
                channels,
                height,
                width,
                sampling_ratio,
                aligned,
            )
        )
        return
    exact = torch.float64 if grad_input.dtype == torch.float64 else torch.float32
    y, x = argmax_y.to(exact), argmax_x.to(exact)  # (R, C, ph, pw)
    nothing = (y == -1) & (x == -1)
    image = rois[:, 0].long().view(-1, 1, 1, 1) * channels
    plane = (image + torch.arange(channels, device=y.device).view(-1, 1, 1)) * height * width
    total = grad_output.new_zeros(grad_input.numel(), dtype=exact)
    for index, weight in neighbours(y, x, height, width):
        share = (grad_output.to(exact) * weight).masked_fill(nothing, 0)
        total.index_add_(0, (plane + index).flatten(), share.flatten())
    grad_input.copy_(total.view_as(grad_input))


def roi_pool_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """RoIPool (Girshick, ICCV 2015), written to ``output`` and ``argmax``.

    torchvision rounds a region's edges before it cuts it into bins, mmcv does not. So each bin is
    given to torchvision as a region of its own, of whole pixels.

    Args:
        input: ``(B, C, H, W)``.
        rois: ``(R, 5)`` as image, x1, y1, x2, y2, the last pixel included.
        output: ``(R, C, pooled_height, pooled_width)``; 0 for a bin outside the map.
        argmax: Int32, as output: which pixel of its plane it was, -1 for none.
        pooled_height: Rows of bins.
        pooled_width: Columns of bins.
        spatial_scale: Side of the feature map over that of the image.
    """
    height, width = input.shape[2:]
    edges = []
    for bins, first, last, limit in (
        (pooled_height, 2, 4, height),
        (pooled_width, 1, 3, width),
    ):
        begin = rois[:, first].float() * spatial_scale  # (R,)
        length = (rois[:, last].float() + 1) * spatial_scale - begin
        size = (length / bins)[:, None]
        place = torch.arange(bins, device=rois.device)
        low = (place * size + begin[:, None]).floor().clamp(0, limit)  # (R, bins)
        high = ((place + 1) * size + begin[:, None]).ceil().clamp(0, limit)
        # A bin without pixels, or a region without extent, goes below the map.
        empty = (high <= low) | (length <= 0)[:, None]
        edges.append((low.masked_fill(empty, limit + 1), high.masked_fill(empty, limit + 2) - 1))
    (y1, y2), (x1, x2) = edges
    image = rois[:, 0].float()[:, None, None]
    cells = torch.stack(
        torch.broadcast_tensors(image, x1[:, None], y1[:, :, None], x2[:, None], y2[:, :, None]),
        dim=-1,
    )  # (R, ph, pw, 5)
    half = input.dtype in (torch.float16, torch.bfloat16)  # too coarse for coordinates
    source = input.float() if half else input
    best, at = torch.ops.torchvision.roi_pool(source, cells.flatten(0, 2).to(source), 1.0, 1, 1)
    shape = (len(rois), pooled_height, pooled_width, input.shape[1])
    output.copy_(best.view(shape).permute(0, 3, 1, 2))
    argmax.copy_(at.view(shape).permute(0, 3, 1, 2))


def roi_pool_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax: Tensor,
    grad_input: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Gradient of roi_pool_forward by its input, written to ``grad_input``."""
    channels, pixels = grad_input.shape[1], grad_input[0, 0].numel()
    plane = rois[:, 0].long().view(-1, 1, 1, 1) * channels
    plane = plane + torch.arange(channels, device=rois.device).view(-1, 1, 1)
    index = (plane * pixels + argmax.clamp(min=0)).flatten()  # into all pixels of all planes
    exact = torch.float64 if grad_input.dtype == torch.float64 else torch.float32
    share = grad_output.to(exact).masked_fill(argmax < 0, 0).flatten()
    total = grad_output.new_zeros(grad_input.numel(), dtype=exact)
    grad_input.copy_(total.index_add_(0, index, share).view_as(grad_input))
