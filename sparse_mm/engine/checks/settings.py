"""Checks that a config has all settings that a run needs."""

from typing import Any

from mmengine.config import Config

NEEDED = {
    'train': ('model', 'train_dataloader', 'train_cfg', 'optim_wrapper'),
    'val': ('model', 'val_dataloader', 'val_cfg', 'val_evaluator'),
    'test': ('model', 'test_dataloader', 'test_cfg', 'test_evaluator'),
}


def check_settings(cfg: Config, split: str) -> list[str]:
    """Checks that a config has what MMEngine's runner needs, and a batch of at least one sample.

    Args:
        cfg: The run's config.
        split: ``'train'``, ``'val'`` or ``'test'``, the one that the run is about.

    Returns:
        At most one sentence for what is missing, and one for the batch size.
    """
    problems = []
    missing = [name for name in NEEDED[split] if cfg.get(name) is None]
    if missing:
        names = 'model, data and evaluator' if split != 'train' else 'model, data and optimizer'
        problems.append(
            f'The config has no {", ".join(missing)}; a config for this command names {names}.'
        )
    loader: Any = cfg.get(f'{split}_dataloader') or {}
    size = loader.get('batch_size', 1)
    if not isinstance(size, int) or size < 1:
        problems.append(f'batch_size of {split}_dataloader must be at least 1, not {size!r}.')
    return problems
