"""BEVDet: cameras to bird's-eye view to boxes."""

from typing import Any

import numpy as np
import torch
from mmdet3d.models.detectors import Base3DDetector
from mmdet3d.structures import Det3DDataSample
from mmengine.registry import MODELS
from torch import Tensor


@MODELS.register_module()
class BEVDet(Base3DDetector):
    """3D detection in bird's-eye view from the images of several cameras.

    Source of the method: BEVDet (Huang et al., 2021, https://arxiv.org/abs/2112.11790). The images
    of all cameras go through one backbone; the view transform lays their features out on the
    ground; an encoder and a CenterPoint head find boxes there, in the LiDAR frame.

    Args:
        backbone: Image backbone.
        neck: Joins the backbone's maps to the one that is lifted.
        view_transform: Lays features out on the ground.
        bev_backbone: Encoder of the ground's map.
        bev_neck: Joins the encoder's maps.
        bbox_head: Finds boxes; mmdet3d's ``CenterHead``.
        train_cfg: Settings of the head in training. Defaults to None.
        test_cfg: Settings of the head in testing. Defaults to None.
        data_preprocessor: mmdet3d's ``Det3DDataPreprocessor``. Defaults to None.
        init_cfg: Initialisation. Defaults to None.
    """

    def __init__(
        self,
        backbone: dict,
        neck: dict,
        view_transform: dict,
        bev_backbone: dict,
        bev_neck: dict,
        bbox_head: dict,
        train_cfg: dict | None = None,
        test_cfg: dict | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.backbone = MODELS.build(backbone)
        self.neck = MODELS.build(neck)
        self.view_transform = MODELS.build(view_transform)
        self.bev_backbone = MODELS.build(bev_backbone)
        self.bev_neck = MODELS.build(bev_neck)
        self.bbox_head = MODELS.build({**bbox_head, 'train_cfg': train_cfg, 'test_cfg': test_cfg})

    def extract_feat(self, inputs: dict, samples: list[Det3DDataSample]) -> list[Tensor]:
        """Computes the encoded map of the ground.

        Args:
            inputs: ``imgs``: ``(B, N, 3, H, W)``.
            samples: Their ``lidar2img``: ``N`` matrices ``(4, 4)`` each.

        Returns:
            One ``(B, C, Y, X)``.
        """
        images = inputs['imgs']
        projections = np.stack([np.stack(sample.lidar2img) for sample in samples])
        feats = self.neck(self.backbone(images.flatten(0, 1)))  # (B * N, C, h, w)
        feats = feats.unflatten(0, images.shape[:2])  # (B, N, C, h, w)
        ground = self.view_transform(feats, torch.from_numpy(projections))
        return [self.bev_neck(self.bev_backbone(ground))]

    def loss(
        self, batch_inputs_dict: dict, batch_data_samples: list[Det3DDataSample], **kwargs: Any
    ) -> dict[str, Tensor]:
        """Computes the losses of the head."""
        feats = self.extract_feat(batch_inputs_dict, batch_data_samples)
        return self.bbox_head.loss(feats, batch_data_samples, **kwargs)

    def predict(
        self, batch_inputs_dict: dict, batch_data_samples: list[Det3DDataSample], **kwargs: Any
    ) -> list[Det3DDataSample]:
        """Finds boxes; each sample gains ``pred_instances_3d`` in the LiDAR frame."""
        feats = self.extract_feat(batch_inputs_dict, batch_data_samples)
        found = self.bbox_head.predict(feats, batch_data_samples, **kwargs)
        return self.add_pred_to_datasample(batch_data_samples, found)

    def _forward(
        self, batch_inputs_dict: dict, batch_data_samples: list[Det3DDataSample], **kwargs: Any
    ) -> Any:
        return self.bbox_head(self.extract_feat(batch_inputs_dict, batch_data_samples))
