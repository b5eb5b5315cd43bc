# Finetunes an adapted checkpoint at given ratios, and tests it on scenes that no search has seen:
# what tools/benchmarks/small_objects.py runs for each setting.
#   --cfg-options load_from=ADAPTED.pth model.backbone.pruning_ratios=best.json
_base_ = './sparsevit_maskrcnn_small_shapes_dense.py'

max_epochs = 1
train_cfg = dict(max_epochs=max_epochs)
train_dataloader = dict(dataset=dict(indices=400))
optim_wrapper = dict(optimizer=dict(lr=5e-4))
param_scheduler = _base_.param_scheduler
param_scheduler[1].end = max_epochs
val_dataloader = _base_.test_dataloader
val_evaluator = _base_.test_evaluator
default_hooks = dict(checkpoint=dict(max_keep_ckpts=2, save_best=None))
