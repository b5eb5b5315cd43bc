# The small trial: a SparseFormer with a quarter of the tokens learns to give what the teacher of
# teacher_shapes.py gives, without labels, in a fraction of its training.
#   --cfg-options model.teacher.init_cfg.checkpoint=TEACHER.pth
_base_ = './student_shapes.py'

model = dict(
    type='Bootstrapping',
    teacher=dict(
        type='TeacherViT',
        image_size=64,
        patch_size=8,
        dim=128,
        depth=6,
        init_cfg=dict(type='Pretrained', checkpoint='work_dirs/teacher_shapes/epoch_2.pth'),
    ),
)
