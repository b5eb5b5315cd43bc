from sparse_mm.engine.hooks.check_data_hook import CheckDataHook

__all__ = ['CheckDataHook']
