# Finetunes an adapted checkpoint at given ratios, and tests it on scenes that no search has seen:
# what tools/benchmarks/compare_searches.py runs for each setting.
#   --cfg-options load_from=ADAPTED.pth model.backbone.pruning_ratios=best.json
_base_ = './sparsevit_maskrcnn_shapes_dense.py'

model = dict(backbone=dict(depths=[2, 2, 6, 2]))

max_epochs = 1
train_cfg = dict(max_epochs=max_epochs)
train_dataloader = dict(dataset=dict(indices=200))
optim_wrapper = dict(optimizer=dict(lr=5e-4))
param_scheduler = _base_.param_scheduler
param_scheduler[1].end = max_epochs

fresh = dict(
    num_images=200,
    seed=2,
    ann_file=f'{_base_.data_root}/annotations/fresh.json',
    data_prefix=dict(img=f'{_base_.data_root}/fresh'),
)
val_dataloader = dict(dataset=fresh)
test_dataloader = dict(dataset=fresh)
val_evaluator = dict(ann_file=fresh['ann_file'])
test_evaluator = val_evaluator
default_hooks = dict(checkpoint=dict(max_keep_ckpts=2, save_best=None))
