"""Attention: samples on several levels, and point-wise masks."""

import torch
from torch import Tensor


def ms_deform_attn_forward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    im2col_step: int,
) -> Tensor:
    """Multi-scale deformable attention (Zhu et al., ICLR 2021), by mmcv's own PyTorch form.

    Args:
        value: ``(B, keys, heads, channels)``.
        value_spatial_shapes: Int64 ``(levels, 2)``, height and width.
        value_level_start_index: Not used; levels follow each other.
        sampling_locations: ``(B, queries, heads, levels, points, 2)``, x and y from 0 to 1.
        attention_weights: ``(B, queries, heads, levels, points)``.
        im2col_step: Not used.

    Returns:
        ``(B, queries, heads * channels)``.
    """
    # mmcv imports this module first.
    from mmcv.ops.multi_scale_deform_attn import multi_scale_deformable_attn_pytorch

    shapes = value_spatial_shapes.tolist()
    return multi_scale_deformable_attn_pytorch(value, shapes, sampling_locations, attention_weights)


def ms_deform_attn_backward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    grad_output: Tensor,
    grad_value: Tensor,
    grad_sampling_loc: Tensor,
    grad_attn_weight: Tensor,
    im2col_step: int,
) -> None:
    """Gradients of ms_deform_attn_forward, written to the tensors ``grad_*``."""
    values, places, weights = leaves = [
        tensor.detach().requires_grad_()
        for tensor in (value, sampling_locations, attention_weights)
    ]
    with torch.enable_grad():
        output = ms_deform_attn_forward(
            values, value_spatial_shapes, value_level_start_index, places, weights, im2col_step
        )
    targets = (grad_value, grad_sampling_loc, grad_attn_weight)
    gradients = torch.autograd.grad(output, leaves, grad_output)
    for target, gradient in zip(targets, gradients, strict=True):
        target.copy_(gradient)


def psamask_places(
    h_feature: int, w_feature: int, h_mask: int, w_mask: int, half: tuple[int, int], like: Tensor
) -> tuple[Tensor, Tensor]:
    """For each place looked at and each place that looks: which entry of the mask, and if any."""
    y = torch.arange(h_feature, device=like.device)
    x = torch.arange(w_feature, device=like.device)
    row = y[:, None] - y + half[0]  # (H looked at, H that looks)
    column = x[:, None] - x + half[1]
    inside = ((row >= 0) & (row < h_mask))[:, None, :, None] & ((column >= 0) & (column < w_mask))[
        None, :, None, :
    ]  # (H, W, H, W)
    index = row.clamp(0, h_mask - 1)[:, None, :, None] * w_mask
    index = index + column.clamp(0, w_mask - 1)[None, :, None, :]
    pixels = h_feature * w_feature
    return index.reshape(pixels, pixels), inside.reshape(pixels, pixels)


def psamask_forward(
    input: Tensor,
    output: Tensor,
    psa_type: int,
    num_: int,
    h_feature: int,
    w_feature: int,
    h_mask: int,
    w_mask: int,
    half_h_mask: int,
    half_w_mask: int,
) -> None:
    """Point-wise spatial attention's masks (Zhao et al., ECCV 2018), written to ``output``.

    Args:
        input: ``(num_, h_mask * w_mask, h_feature, w_feature)``: what each place makes of the
            places around it.
        output: ``(num_, H * W, H, W)``.
        psa_type: 0 collects (looked at, then looking), 1 distributes (the other way round).
        num_: Number of images.
        h_feature: Height of the map.
        w_feature: Width of the map.
        h_mask: Height of the mask.
        w_mask: Width of the mask.
        half_h_mask: Row of its middle.
        half_w_mask: Column of its middle.
    """
    half = (half_h_mask, half_w_mask)
    index, inside = psamask_places(h_feature, w_feature, h_mask, w_mask, half, input)
    looked = input.flatten(2).gather(1, index.expand(num_, -1, -1))  # (num_, HW, HW)
    looked = looked.masked_fill(~inside, 0)
    output.copy_((looked if psa_type == 0 else looked.transpose(1, 2)).reshape(output.shape))


def psamask_backward(
    grad_output: Tensor,
    grad_input: Tensor,
    psa_type: int,
    num_: int,
    h_feature: int,
    w_feature: int,
    h_mask: int,
    w_mask: int,
    half_h_mask: int,
    half_w_mask: int,
) -> None:
    """Gradient of psamask_forward by its input, written to ``grad_input``."""
    half = (half_h_mask, half_w_mask)
    index, inside = psamask_places(h_feature, w_feature, h_mask, w_mask, half, grad_output)
    looked = grad_output.reshape(num_, h_feature * w_feature, -1)
    looked = (looked if psa_type == 0 else looked.transpose(1, 2)).masked_fill(~inside, 0)
    total = torch.zeros_like(grad_input).flatten(2)
    total.scatter_add_(1, index.expand(num_, -1, -1), looked)
    grad_input.copy_(total.view_as(grad_input))
