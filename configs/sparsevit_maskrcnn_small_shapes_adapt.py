# The detector of small objects, trained with random ratios. tools/benchmarks/small_objects.py
# searches and finetunes these weights.
_base_ = './sparsevit_maskrcnn_small_shapes.py'

max_epochs = 1
train_cfg = dict(max_epochs=max_epochs)
param_scheduler = _base_.param_scheduler
param_scheduler[1].end = max_epochs
custom_hooks = [_base_.custom_hooks[0]]
