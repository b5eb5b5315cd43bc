"""Tells Python where ``mmcv._ext`` is, where mmcv was not compiled.

This file is installed twice: here, and as a module of its own, ``sparse_mm_mmcv_ops``, beside a
file ``sparse_mm_mmcv_ops.pth`` that imports it whenever Python starts. So the operators are there
whichever package is imported first, in every process. It costs one small import; torch, mmcv and
``sparse_mm`` are not touched before somebody imports ``mmcv._ext``.
"""

import importlib.util
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path

NAME = 'mmcv._ext'


class MmcvOpsFinder(MetaPathFinder):
    """Finds ``mmcv._ext`` in ``sparse_mm/mmcv_ops``; it stands last, so a compiled one wins."""

    def find_spec(
        self, fullname: str, path: object = None, target: object = None
    ) -> ModuleSpec | None:
        """Gives the specification of ``mmcv._ext``, and None for every other module."""
        if fullname != NAME:
            return None
        package = importlib.util.find_spec('sparse_mm')  # does not import it
        for folder in (package and package.submodule_search_locations) or ():
            ours = Path(folder) / 'mmcv_ops'
            if (ours / '__init__.py').is_file():
                return importlib.util.spec_from_file_location(
                    NAME, ours / '__init__.py', submodule_search_locations=[str(ours)]
                )
        return None


def install() -> None:
    """Adds the finder behind all others, once."""
    if not any(type(finder).__name__ == MmcvOpsFinder.__name__ for finder in sys.meta_path):
        sys.meta_path.append(MmcvOpsFinder())


install()
