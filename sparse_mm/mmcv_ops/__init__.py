"""mmcv's compiled operators by torchvision and PyTorch, where mmcv was not compiled.

``mmcv-lite`` has all of mmcv's Python, ``mmcv.ops`` included; only the module ``mmcv._ext``, which
holds the operators, is missing. This package is that module. ``mmcv_finder.py`` makes Python find
it.

The functions have the names and arguments of mmcv's. Those that write their result take the
tensor for it as an argument. Operators that are not here can be imported and refuse to be called.

The package knows nothing of the rest of ``sparse_mm``: it is imported while mmcv is.
"""

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

import torchvision

from .attention import (
    ms_deform_attn_backward,
    ms_deform_attn_forward,
    psamask_backward,
    psamask_forward,
)
from .boxes import bbox_overlaps, nms, nms_match
from .convolution import (
    carafe_backward,
    carafe_forward,
    carafe_naive_backward,
    carafe_naive_forward,
    masked_col2im_forward,
    masked_im2col_forward,
)
from .deform import (
    deform_conv_backward_input,
    deform_conv_backward_parameters,
    deform_conv_forward,
    modulated_deform_conv_backward,
    modulated_deform_conv_forward,
)
from .losses import (
    sigmoid_focal_loss_backward,
    sigmoid_focal_loss_forward,
    softmax_focal_loss_backward,
    softmax_focal_loss_forward,
)
from .points import (
    points_in_boxes_all_forward,
    points_in_boxes_cpu_forward,
    points_in_boxes_part_forward,
)
from .rois import roi_align_backward, roi_align_forward, roi_pool_backward, roi_pool_forward
from .rotated import (
    box_iou_rotated,
    diff_iou_rotated_sort_vertices_forward,
    iou3d_boxes_overlap_bev_forward,
    iou3d_nms3d_forward,
    iou3d_nms3d_normal_forward,
    nms_rotated,
)
from .soft_nms import softnms

__all__ = [
    'bbox_overlaps',
    'box_iou_rotated',
    'carafe_backward',
    'carafe_forward',
    'carafe_naive_backward',
    'carafe_naive_forward',
    'deform_conv_backward_input',
    'deform_conv_backward_parameters',
    'deform_conv_forward',
    'diff_iou_rotated_sort_vertices_forward',
    'get_compiler_version',
    'get_compiling_cuda_version',
    'iou3d_boxes_overlap_bev_forward',
    'iou3d_nms3d_forward',
    'iou3d_nms3d_normal_forward',
    'masked_col2im_forward',
    'masked_im2col_forward',
    'modulated_deform_conv_backward',
    'modulated_deform_conv_forward',
    'ms_deform_attn_backward',
    'ms_deform_attn_forward',
    'nms',
    'nms_match',
    'nms_rotated',
    'points_in_boxes_all_forward',
    'points_in_boxes_cpu_forward',
    'points_in_boxes_part_forward',
    'psamask_backward',
    'psamask_forward',
    'roi_align_backward',
    'roi_align_forward',
    'roi_pool_backward',
    'roi_pool_forward',
    'sigmoid_focal_loss_backward',
    'sigmoid_focal_loss_forward',
    'softmax_focal_loss_backward',
    'softmax_focal_loss_forward',
    'softnms',
]


def get_compiler_version() -> str:
    """What compiled the operators, for reports of the environment."""
    return f'none (operators of torchvision {torchvision.__version__} by sparse_mm)'


def get_compiling_cuda_version() -> str:
    """The CUDA that the operators were compiled with, for reports of the environment."""
    return 'none (see the compiler)'


def __getattr__(name: str) -> Callable[..., None]:
    """Gives a function that refuses to be called, for an operator that is not here."""
    if name.startswith('_'):
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')

    def refuse(*args: object, **kwargs: object) -> None:
        raise NotImplementedError(f'The operator {name!r} needs compiled mmcv, and {_way_to_it()}.')

    refuse.__name__ = name
    return refuse


def _way_to_it() -> str:
    try:
        fork = version('onedl-mmcv')
    except PackageNotFoundError:
        return (
            'this environment has mmcv-lite; run "pip uninstall mmcv-lite", then "pip install '
            '--no-build-isolation mmcv==2.1.0" (in a checkout of sparse_mm: "make setup '
            'MMCV=compiled")'
        )
    return (
        'this environment has onedl-mmcv without it; run "pip install --force-reinstall --no-deps '
        f'--no-cache-dir --no-build-isolation onedl-mmcv=={fork}", which compiles it'
    )
