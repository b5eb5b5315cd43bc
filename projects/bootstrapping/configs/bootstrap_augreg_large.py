# Bootstraps a SparseFormer from timm's
# vit_large_patch16_384.augreg_in21k_ft_in1k, whose weights come by
#   --cfg-options model.teacher.init_cfg.checkpoint=VIT.pth
_base_ = '../../../configs/bootstrapped_sparseformer_augreg_large_imagenet.py'
custom_imports = dict(imports=['sparse_mm', 'projects.bootstrapping'])

model = dict(
    type='Bootstrapping',
    teacher=dict(
        type='TeacherViT',
        image_size=384,
        dim=1024,
        depth=24,
        init_cfg=dict(type='Pretrained', checkpoint='data/teacher_augreg_large.pth'),
    ),
)
