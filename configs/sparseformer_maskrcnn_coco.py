# Mask R-CNN on COCO from 400 latent tokens: SparseFormer-T and the pyramid neck; data, training and
# test are those of sparsevit_maskrcnn_coco_dense.py, to be compared with it.
#
# From weights trained on ImageNet, converted by tools/model_converters/sparseformer.py:
#   --cfg-options model.backbone.init_cfg.type=Pretrained \
#       model.backbone.init_cfg.checkpoint=tiny.pth
_base_ = './_base_/swin_maskrcnn_coco.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='SparseFormer',
        arch='tiny',
        num_tokens=400,
        roi_side=0.2,
        out_type='tokens',
    ),
    neck=dict(
        _delete_=True,
        type='LatentToPyramid',
        in_channels=512,
        strides=[4, 8, 16, 32, 64],
    ),
)
custom_hooks = [dict(type='LossScaleHook')]
# Weight decay would move RoIs to the corner of the image.
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'token_rois': dict(decay_mult=0.0)}))
