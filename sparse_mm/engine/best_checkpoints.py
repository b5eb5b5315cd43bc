"""Restarts the choice of the best checkpoint when the model is pruned."""

from pathlib import Path

from mmengine.hooks import CheckpointHook, EarlyStoppingHook
from mmengine.runner import Runner

from sparse_mm.ranks import on_main_process


def count_best_anew(runner: Runner, mark: str) -> list[str]:
    """Resets the best score of the run's hooks, and renames its checkpoint.

    A dense model scores higher than the pruned one that the run is for: without this,
    ``best_*.pth`` would stay the dense one, and early stopping would wait for its score.

    Args:
        runner: The run.
        mark: What the checkpoints so far are: ``'dense'`` makes ``best_mIoU_epoch_4.pth`` into
            ``dense_best_mIoU_epoch_4.pth``.

    Returns:
        Sentences for the log.
    """
    said = []
    info = runner.message_hub.runtime_info
    for hook in runner.hooks:
        if isinstance(hook, CheckpointHook) and hook.save_best:
            for key in [key for key in info if key.startswith('best_ckpt')]:
                said += on_main_process(lambda: _rename(info[key], mark))  # noqa: B023, at once
            if hasattr(hook, 'best_ckpt_path_dict'):
                hook.best_ckpt_path_dict = dict.fromkeys(hook.best_ckpt_path_dict)
            if hasattr(hook, 'best_ckpt_path'):
                hook.best_ckpt_path = None
        elif isinstance(hook, EarlyStoppingHook):
            hook.best_score = float('-inf') if hook.rule == 'greater' else float('inf')
            hook.wait_count = 0
    for key in [key for key in info if key.startswith(('best_score', 'best_ckpt'))]:
        info.pop(key)
        runner.message_hub._resumed_keys.pop(key, None)
    return said


def _rename(best: str | None, mark: str) -> list[str]:
    path = Path(best or '')
    if not path.name.startswith('best_') or not path.is_file():  # renamed before a kill, say
        return []
    kept = path.with_name(f'{mark}_{path.name}')
    path.replace(kept)
    return [
        f'The best checkpoint so far is {mark}: it is now {kept}; the choice of the best starts '
        'again.'
    ]


def file_to_use(runner: Runner) -> str | None:
    """The checkpoint to use after the run: the best of the finetuning, else the last."""
    info = runner.message_hub.runtime_info
    best = [info[key] for key in sorted(info) if key.startswith('best_ckpt') and info[key]]
    return (best or [info.get('last_ckpt')])[0]
