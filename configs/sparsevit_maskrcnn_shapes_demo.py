# What `make demo` runs: sparsevit_maskrcnn_shapes.py with fewer and cheaper steps and a shorter
# search, in minutes on two CPU cores.
_base_ = './sparsevit_maskrcnn_shapes.py'

num_scenes = 1050
# A scene has at most six objects: few proposals and detections are enough, and cost less.
model = dict(
    train_cfg=dict(rpn_proposal=dict(nms_pre=300, max_per_img=100)),
    test_cfg=dict(rpn=dict(nms_pre=200, max_per_img=50), rcnn=dict(max_per_img=20)),
)
data_root = _base_.data_root
train_dataloader = dict(
    dataset=dict(
        num_images=num_scenes,
        ann_file=f'{data_root}/annotations/train_{num_scenes}.json',
        data_prefix=dict(img=f'{data_root}/train_{num_scenes}'),
    )
)
optim_wrapper = dict(optimizer=dict(fused=True))
custom_hooks = _base_.custom_hooks
custom_hooks[1].update(evaluations=40, population=8, num_images=20, latency_seconds=20)
