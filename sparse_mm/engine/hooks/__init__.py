from sparse_mm.engine.hooks.check_data_hook import CheckDataHook
from sparse_mm.engine.hooks.step_seed_hook import StepSeedHook

__all__ = ['CheckDataHook', 'StepSeedHook']
