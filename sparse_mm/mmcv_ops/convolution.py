"""Convolutions whose positions or kernels depend on the input: masked convolution, CARAFE."""

import torch
from torch import Tensor
from torch.nn import functional as F


def masked_im2col_forward(
    im: Tensor,
    mask_h_idx: Tensor,
    mask_w_idx: Tensor,
    col: Tensor,
    kernel_h: int,
    kernel_w: int,
    pad_h: int,
    pad_w: int,
) -> None:
    """Gathers what the kernel sees at chosen places, written to ``col``.

    Args:
        im: ``(1, C, H, W)``.
        mask_h_idx: Int64 ``(P,)``, rows of the places.
        mask_w_idx: Int64 ``(P,)``, their columns.
        col: ``(C * kernel_h * kernel_w, P)``.
        kernel_h: Height of the kernel.
        kernel_w: Width of the kernel.
        pad_h: Padding above and below.
        pad_w: Padding left and right.
    """
    padded = F.pad(im[0], (pad_w, kernel_w, pad_h, kernel_h))  # zeros, as far as a kernel reaches
    row = mask_h_idx[:, None, None] + torch.arange(kernel_h, device=im.device)[:, None]
    column = mask_w_idx[:, None, None] + torch.arange(kernel_w, device=im.device)
    seen = padded[:, row, column]  # (C, P, kernel_h, kernel_w)
    col.copy_(seen.permute(0, 2, 3, 1).reshape(col.shape))


def masked_col2im_forward(
    col: Tensor,
    mask_h_idx: Tensor,
    mask_w_idx: Tensor,
    im: Tensor,
    height: int,
    width: int,
    channels: int,
) -> None:
    """Writes ``(channels, P)`` columns to the chosen places of ``im``, ``(1, C, H, W)``."""
    im[0, :, mask_h_idx, mask_w_idx] = col.view(channels, -1)


def carafe_operands(
    features: Tensor, masks: Tensor, kernel_size: int, group_size: int, scale_factor: int
) -> tuple[Tensor, Tensor]:
    """What each pixel's kernels see, ``(B, g, h, w, C / g, k^2)``, and they: ``(…, k^2, s^2)``."""
    batch, channels, height, width = features.shape
    seen = F.unfold(features, kernel_size, padding=(kernel_size - 1) // 2)
    seen = seen.view(batch, group_size, channels // group_size, kernel_size**2, height, width)
    kernels = masks.view(
        batch, group_size, kernel_size**2, height, scale_factor, width, scale_factor
    )
    return seen.permute(0, 1, 4, 5, 2, 3), kernels.permute(0, 1, 3, 5, 2, 4, 6).flatten(5)


def carafe_naive_forward(
    features: Tensor,
    masks: Tensor,
    output: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """CARAFE (Wang et al., ICCV 2019), written to ``output``.

    Args:
        features: ``(B, C, h, w)``.
        masks: ``(B, kernel_size^2 * group_size, h * scale_factor, w * scale_factor)``.
        output: ``(B, C, h * scale_factor, w * scale_factor)``.
        kernel_size: Side of the kernels.
        group_size: Groups of channels that share kernels.
        scale_factor: How much larger the result is.
    """
    seen, kernels = carafe_operands(features, masks, kernel_size, group_size, scale_factor)
    result = (seen @ kernels).unflatten(5, (scale_factor, scale_factor))  # (B, g, h, w, C/g, s, s)
    output.copy_(result.permute(0, 1, 4, 2, 5, 3, 6).reshape(output.shape))


def carafe_naive_backward(
    top_grad: Tensor,
    features: Tensor,
    masks: Tensor,
    bottom_grad: Tensor,
    mask_grad: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Gradients of CARAFE by features and masks, written to ``bottom_grad``, ``mask_grad``."""
    batch, channels, height, width = features.shape
    seen, kernels = carafe_operands(features, masks, kernel_size, group_size, scale_factor)
    grad = top_grad.view(
        batch, group_size, channels // group_size, height, scale_factor, width, scale_factor
    )
    grad = grad.permute(0, 1, 3, 5, 2, 4, 6).flatten(5)  # (B, g, h, w, C/g, s^2)
    by_seen = (grad @ kernels.transpose(4, 5)).permute(0, 1, 4, 5, 2, 3)
    bottom_grad.copy_(
        F.fold(
            by_seen.reshape(batch, channels * kernel_size**2, height * width),
            (height, width),
            kernel_size,
            padding=(kernel_size - 1) // 2,
        )
    )
    by_kernels = (seen.transpose(4, 5) @ grad).unflatten(5, (scale_factor, scale_factor))
    mask_grad.copy_(by_kernels.permute(0, 1, 4, 2, 5, 3, 6).reshape(mask_grad.shape))


def carafe_forward(
    features: Tensor,
    masks: Tensor,
    rfeatures: Tensor,
    routput: Tensor,
    rmasks: Tensor,
    output: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """As carafe_naive_forward; ``rfeatures`` keeps the features for carafe_backward."""
    rfeatures.copy_(features)
    carafe_naive_forward(features, masks, output, kernel_size, group_size, scale_factor)


def carafe_backward(
    top_grad: Tensor,
    rfeatures: Tensor,
    masks: Tensor,
    rtop_grad: Tensor,
    rbottom_grad_hs: Tensor,
    rbottom_grad: Tensor,
    rmask_grad: Tensor,
    bottom_grad: Tensor,
    mask_grad: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """As carafe_naive_backward."""
    carafe_naive_backward(
        top_grad, rfeatures, masks, bottom_grad, mask_grad, kernel_size, group_size, scale_factor
    )
