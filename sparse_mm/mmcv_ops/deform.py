"""Deformable convolutions, versions 1 and 2 (Dai et al., ICCV 2017; Zhu et al., CVPR 2019)."""

import torch
import torchvision  # noqa: F401  (its import registers torch.ops.torchvision)
from torch import Tensor

OUTSIDE = -1e4  # pixels; such an offset leads beyond the edge of any map, in float16 too


def readable(offset: Tensor) -> Tensor:
    """Replaces NaN among the offsets, with which torchvision reads at any address.

    As in mmcv's own operators such points count as outside of the map, where all is 0. A training
    that diverges thus ends at its loss, not by a signal.
    """
    return offset.masked_fill(offset.isnan(), OUTSIDE)


def deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    output: Tensor,
    columns: Tensor,
    ones: Tensor,
    kW: int,  # noqa: N803
    kH: int,  # noqa: N803
    dW: int,  # noqa: N803
    dH: int,  # noqa: N803
    padW: int,  # noqa: N803
    padH: int,  # noqa: N803
    dilationW: int,  # noqa: N803
    dilationH: int,  # noqa: N803
    group: int,
    deformable_group: int,
    im2col_step: int,
) -> None:
    """Deformable convolution without modulation, written to ``output``.

    Args:
        input: ``(B, C, H, W)``.
        weight: ``(out, C / group, kH, kW)``.
        offset: ``(B, deformable_group * kH * kW * 2, out H, out W)``, y before x.
        output: ``(B, out, out H, out W)``.
        columns: Room that the two backward functions share.
        ones: Not used.
        kW: Width of the kernel.
        kH: Height of the kernel.
        dW: Stride along x.
        dH: Stride along y.
        padW: Padding left and right.
        padH: Padding above and below.
        dilationW: Dilation along x.
        dilationH: Dilation along y.
        group: Groups of channels of the convolution.
        deformable_group: Groups of channels that share offsets.
        im2col_step: Not used; torchvision chooses its own.
    """
    nothing = input.new_zeros(len(input), 1)
    bias = input.new_zeros(len(weight))
    steps = (dH, dW, padH, padW, dilationH, dilationW, group, deformable_group)
    output.copy_(
        torch.ops.torchvision.deform_conv2d(
            input, weight, readable(offset), nothing, bias, *steps, False
        ).view_as(output)
    )


def plain_gradients(
    input: Tensor, offset: Tensor, grad: Tensor, weight: Tensor, steps: tuple[int, ...]
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of the version without modulation by input, weight and offset."""
    nothing = input.new_zeros(len(input), 1)
    bias = input.new_zeros(len(weight))
    return torch.ops.torchvision._deform_conv2d_backward(
        grad, input, weight, readable(offset), nothing, bias, *steps, False
    )[:3]


def deform_conv_backward_input(
    input: Tensor,
    offset: Tensor,
    gradOutput: Tensor,  # noqa: N803
    gradInput: Tensor,  # noqa: N803
    gradOffset: Tensor,  # noqa: N803
    weight: Tensor,
    columns: Tensor,
    kW: int,  # noqa: N803
    kH: int,  # noqa: N803
    dW: int,  # noqa: N803
    dH: int,  # noqa: N803
    padW: int,  # noqa: N803
    padH: int,  # noqa: N803
    dilationW: int,  # noqa: N803
    dilationH: int,  # noqa: N803
    group: int,
    deformable_group: int,
    im2col_step: int,
) -> None:
    """Gradients by input and offset, written to ``gradInput`` and ``gradOffset``.

    torchvision gives all gradients at once; that by the weight is left in ``columns`` for
    deform_conv_backward_parameters, which mmcv calls next with the same room.
    """
    steps = (dH, dW, padH, padW, dilationH, dilationW, group, deformable_group)
    by_input, by_weight, by_offset = plain_gradients(input, offset, gradOutput, weight, steps)
    gradInput.copy_(by_input)
    gradOffset.copy_(by_offset)
    columns.resize_(by_weight.shape).copy_(by_weight)


def deform_conv_backward_parameters(
    input: Tensor,
    offset: Tensor,
    gradOutput: Tensor,  # noqa: N803
    gradWeight: Tensor,  # noqa: N803
    columns: Tensor,
    ones: Tensor,
    kW: int,  # noqa: N803
    kH: int,  # noqa: N803
    dW: int,  # noqa: N803
    dH: int,  # noqa: N803
    padW: int,  # noqa: N803
    padH: int,  # noqa: N803
    dilationW: int,  # noqa: N803
    dilationH: int,  # noqa: N803
    group: int,
    deformable_group: int,
    scale: float,
    im2col_step: int,
) -> None:
    """Gradient by the weight, times ``scale``, added to ``gradWeight``."""
    if columns.shape == gradWeight.shape:
        by_weight = columns.clone()
    else:
        steps = (dH, dW, padH, padW, dilationH, dilationW, group, deformable_group)
        # The gradient by the weight does not depend on the weight.
        weight = torch.zeros_like(gradWeight)
        by_weight = plain_gradients(input, offset, gradOutput, weight, steps)[1]
    columns.resize_(0)
    gradWeight.add_(by_weight, alpha=scale)


def modulated_deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    output: Tensor,
    columns: Tensor,
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
) -> None:
    """Deformable convolution with modulation, written to ``output``.

    Args:
        input: ``(B, C, H, W)``.
        weight: ``(out, C / group, kernel_h, kernel_w)``.
        bias: ``(out,)`` if with_bias.
        ones: Not used.
        offset: ``(B, deformable_group * kernel_h * kernel_w * 2, out H, out W)``, y before x.
        mask: ``(B, deformable_group * kernel_h * kernel_w, out H, out W)``.
        output: ``(B, out, out H, out W)``.
        columns: Not used.
        kernel_h: Height of the kernel.
        kernel_w: Width of the kernel.
        stride_h: Stride along y.
        stride_w: Stride along x.
        pad_h: Padding above and below.
        pad_w: Padding left and right.
        dilation_h: Dilation along y.
        dilation_w: Dilation along x.
        group: Groups of channels of the convolution.
        deformable_group: Groups of channels that share offsets.
        with_bias: Whether there is a bias.
    """
    if not with_bias:
        bias = input.new_zeros(len(weight))
    steps = (stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, group, deformable_group)
    output.copy_(
        torch.ops.torchvision.deform_conv2d(
            input, weight, readable(offset), mask, bias, *steps, True
        ).view_as(output)
    )


def modulated_deform_conv_backward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    columns: Tensor,
    grad_input: Tensor,
    grad_weight: Tensor,
    grad_bias: Tensor,
    grad_offset: Tensor,
    grad_mask: Tensor,
    grad_output: Tensor,
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
) -> None:
    """Gradients of modulated_deform_conv_forward, written to the tensors ``grad_*``."""
    if not with_bias:
        bias = input.new_zeros(len(weight))
    steps = (stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, group, deformable_group)
    gradients = torch.ops.torchvision._deform_conv2d_backward(
        grad_output, input, weight, readable(offset), mask, bias, *steps, True
    )
    targets = [grad_input, grad_weight, grad_offset, grad_mask]
    if with_bias:
        targets.append(grad_bias)
    for target, gradient in zip(targets, gradients, strict=False):
        target.copy_(gradient)
