"""A whole model for timing: backbone, neck, heads and post-processing, on images of one size.

Weights are random, so a detector finds boxes everywhere, and post-processing has as many as its
settings allow. The preprocessing of images is not included.
"""

import math
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from copy import deepcopy
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS, init_default_scope
from mmengine.utils import import_modules_from_strings
from torch import Tensor, nn

from sparse_mm.engine.hosts import Host, host_of, load
from sparse_mm.errors import BadInputError

CAMERAS = 6  # of a model that joins surround views


def model_config(cfg: Config) -> dict[str, Any]:
    """The model of a config, with the preprocessor that MMPretrain's configs have beside it."""
    model = dict(cfg.model)
    if not model.get('data_preprocessor') and cfg.get('data_preprocessor'):
        model['data_preprocessor'] = cfg.data_preprocessor
    plain: dict[str, Any] = Config(model).to_dict()
    return plain


def build_whole(settings: dict[str, Any], scope: str, imports: Sequence[str]) -> 'WholeModel':
    """Builds a whole model, in evaluation mode.

    Args:
        settings: Of :func:`model_config`.
        scope: Its package.
        imports: Modules that its config imports.

    Raises:
        BadInputError: It cannot be built.
    """
    import_modules_from_strings(list(imports))
    init_default_scope(scope)
    with redirect_stdout(sys.stderr):  # MMEngine logs to stdout, which is for the result
        try:
            model = MODELS.build(ConfigDict(deepcopy(settings)))  # whose parts are attributes
        except (KeyError, TypeError) as error:
            reason = ' '.join(str(error.args[0]).split())
            raise BadInputError(f'The model cannot be built: {reason}') from error
    return WholeModel(model.eval(), host_of(dict(default_scope=scope)))


class WholeModel(nn.Module):
    """Predicts on images, with data samples as the host's test pipeline would make them.

    Args:
        model: Of any host, in evaluation mode.
        host: Its package.
    """

    def __init__(self, model: nn.Module, host: Host) -> None:
        super().__init__()
        self.model = model
        self.host = host
        self.surround = hasattr(model, 'view_transform')

    def forward(self, images: Tensor) -> Any:
        """Predicts on ``(B, 3, H, W)``; a model of surround views gets each image as six views.

        Raises:
            BadInputError: The model wants to know more of its images than their size.
        """
        model: Any = self.model
        meta = self._meta(images.shape[-2:])
        try:
            if hasattr(model, 'encode_decode'):  # mmseg
                return model.postprocess_result(model.encode_decode(images, [meta] * len(images)))
            if self.host.sample is None:  # mmpretrain
                return model(images, mode='predict')
            sample = load(self.host.sample)
            samples = [sample(metainfo=meta) for _ in images]
            inputs: Any = images
            if self.surround:
                inputs = torch.stack([images] * CAMERAS, dim=1)  # (B, N, 3, H, W)
            if self.host.images_key is not None:
                inputs = {self.host.images_key: inputs}
            return model(inputs, samples, mode='predict')
        except (KeyError, AttributeError) as error:
            raise BadInputError(
                f'--whole cannot run {type(model).__name__}, which needs {error} of its '
                'images; leave --whole out to time its backbone.'
            ) from error

    def _meta(self, size: tuple[int, ...]) -> dict[str, Any]:
        names = 'img_shape', 'ori_shape', 'pad_shape', 'batch_input_shape'
        meta: dict[str, Any] = {**dict.fromkeys(names, tuple(size)), 'scale_factor': (1.0, 1.0)}
        if self.host.images_key is not None:  # mmdet3d
            from mmdet3d.structures import CameraInstance3DBoxes, LiDARInstance3DBoxes

            box_type = LiDARInstance3DBoxes if self.surround else CameraInstance3DBoxes
            view = _camera(*size, turn=0.0)
            views = [_camera(*size, turn=i / CAMERAS) for i in range(CAMERAS)]
            meta.update(box_type_3d=box_type, cam2img=view.tolist(), lidar2img=views)
            if self.surround:
                meta['lidar2img'] = [view.numpy() for view in views]
        return meta


def _camera(height: int, width: int, turn: float) -> Tensor:
    """Projects points of the car's frame into a camera that looks ``turn`` of a circle to the left.

    Returns:
        ``(4, 4)`` float64: ``(u * d, v * d, d, 1)`` of ``(x, y, z, 1)``.
    """
    angle = 2 * math.pi * turn
    forward, left = (math.cos(angle), math.sin(angle)), (-math.sin(angle), math.cos(angle))
    axes = torch.tensor(
        [
            [-left[0], -left[1], 0, 0],  # to the right of the picture
            [0, 0, -1, 0],  # down
            [forward[0], forward[1], 0, 0],
            [0, 0, 0, 1],
        ],
        dtype=torch.float64,
    )
    focal = 0.8 * width
    lens = torch.tensor(
        [[focal, 0, width / 2, 0], [0, focal, height / 2, 0], [0, 0, 1, 0], [0, 0, 0, 1]],
        dtype=torch.float64,
    )
    return lens @ axes
