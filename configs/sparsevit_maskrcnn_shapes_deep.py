# The generated scenes with a third stage of six blocks, hence six genes as in Swin-T: the task on
# which tools/analysis_tools/compare_searches.py compares ways of searching (docs/results.md).
_base_ = './sparsevit_maskrcnn_shapes.py'

model = dict(backbone=dict(depths=[2, 2, 6, 2]))
custom_hooks = _base_.custom_hooks
custom_hooks[1].update(num_images=50)
