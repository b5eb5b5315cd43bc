# Bootstraps a SparseFormer from timm's
# vit_large_patch14_clip_224.openai, whose weights come by
#   --cfg-options model.teacher.init_cfg.checkpoint=VIT.pth
_base_ = '../../../configs/bootstrapped_sparseformer_clip_large_imagenet.py'
custom_imports = dict(imports=['sparse_mm', 'projects.bootstrapping'])

model = dict(
    type='Bootstrapping',
    teacher=dict(
        type='TeacherViT',
        patch_size=14,
        dim=1024,
        depth=24,
        activation='quick_gelu',
        pre_norm=True,
        init_cfg=dict(type='Pretrained', checkpoint='data/teacher_clip_large.pth'),
    ),
)
