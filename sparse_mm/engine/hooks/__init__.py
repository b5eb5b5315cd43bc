from sparse_mm.engine.hooks.check_data_hook import CheckDataHook
from sparse_mm.engine.hooks.check_loss_hook import CheckLossHook
from sparse_mm.engine.hooks.check_resume_hook import CheckResumeHook
from sparse_mm.engine.hooks.cpu_speed_hook import CPUSpeedHook
from sparse_mm.engine.hooks.loss_scale_hook import LossScaleHook
from sparse_mm.engine.hooks.sparsity_adaptation_hook import SparsityAdaptationHook
from sparse_mm.engine.hooks.sparsity_search_hook import SparsitySearchHook
from sparse_mm.engine.hooks.sparsity_visualization_hook import SparsityVisualizationHook
from sparse_mm.engine.hooks.step_seed_hook import StepSeedHook

__all__ = [
    'CPUSpeedHook',
    'CheckDataHook',
    'CheckLossHook',
    'CheckResumeHook',
    'LossScaleHook',
    'SparsityAdaptationHook',
    'SparsitySearchHook',
    'SparsityVisualizationHook',
    'StepSeedHook',
]
