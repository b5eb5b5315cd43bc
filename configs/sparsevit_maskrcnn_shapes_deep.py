# The generated scenes with a third stage of six blocks, hence six genes as in Swin-T: the task on
# which tools/benchmarks/compare_searches.py compares ways of searching. docs/search_results.md has
# the results. Three epochs dense from scratch, two with random ratios, the search, one to finetune.
_base_ = './sparsevit_maskrcnn_shapes.py'

model = dict(backbone=dict(depths=[2, 2, 6, 2]))
max_epochs = 6
train_cfg = dict(max_epochs=max_epochs)
param_scheduler = _base_.param_scheduler
param_scheduler[1].end = max_epochs
custom_hooks = _base_.custom_hooks
custom_hooks[0].update(begin=3, end=5)
custom_hooks[1].update(at=5, num_images=50)
