"""Keeps lines of other packages, which a user can do nothing about, out of a tool's output."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from typing import Any

from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.runner import Runner

from sparse_mm.engine.command_line import build_runner


class QuietStart(Runner):
    """A runner that shows only warnings while it is built; its log file has every line."""

    def build_logger(self, *args: Any, **kwargs: Any) -> MMLogger:
        """Builds the logger; its lines of the environment, the config and the hooks follow."""
        logger = super().build_logger(*args, **kwargs)
        self._levels = {
            handler: handler.level
            for handler in logger.handlers
            if not isinstance(handler, logging.FileHandler)
        }
        for handler, level in self._levels.items():
            handler.setLevel(max(level, logging.WARNING))
        return logger

    def show_log(self) -> None:
        """Shows what is logged from now on, at the config's level."""
        for handler, level in self._levels.items():
            handler.setLevel(level)


@contextmanager
def without_prints() -> Iterator[None]:
    """Within it prints are dropped; logs, warnings and progress bars are not.

    pycocotools, for one, prints four lines for each annotation file that it reads.
    """
    MMLogger.get_current_instance()  # made within, it would keep the stream that is dropped
    with redirect_stdout(StringIO()):
        yield


def build_quiet_runner(cfg: Config) -> Runner:
    """Builds a config's runner without showing the environment, the config and the hooks.

    For tools that use a runner and train nothing. The log file has these lines. Warnings, and what
    is logged later, are shown.
    """
    runner = build_runner(cfg, mixin=QuietStart)
    runner.show_log()
    return runner


def init_weights_quietly(module: Any) -> None:
    """Gives a module the weights that it starts from.

    MMEngine logs two lines for every weight where no log file is open; a tool's result would drown.

    Args:
        module: Of MMEngine, with ``init_weights``.
    """
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        module.init_weights()
    finally:
        logger.setLevel(level)
