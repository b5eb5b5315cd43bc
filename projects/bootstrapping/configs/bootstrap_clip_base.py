# Bootstraps a SparseFormer from timm's
# vit_base_patch16_clip_224.openai, whose weights come by
#   --cfg-options model.teacher.init_cfg.checkpoint=VIT.pth
_base_ = '../../../configs/bootstrapped_sparseformer_clip_base_imagenet.py'
custom_imports = dict(imports=['sparse_mm', 'projects.bootstrapping'])

model = dict(
    type='Bootstrapping',
    teacher=dict(
        type='TeacherViT',
        activation='quick_gelu',
        pre_norm=True,
        init_cfg=dict(type='Pretrained', checkpoint='data/teacher_clip_base.pth'),
    ),
)
