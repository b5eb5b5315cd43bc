"""Tells Python where ``mmcv._ext`` is, where mmcv was not compiled: in ``sparse_mm/mmcv_ops``.

This file is used twice. Importing ``sparse_mm`` imports it. And an installation puts a copy of it
beside the package, as the module ``sparse_mm_mmcv_finder``, with a file of the same name that ends
in ``.pth``: Python imports what such a file says whenever it starts, so the operators are there
whichever package is imported first, in every process. This costs a fraction of a millisecond;
torch, mmcv and ``sparse_mm`` are not touched before somebody imports ``mmcv._ext``.
"""

import sys

NAME = 'mmcv._ext'


class MmcvOpsFinder:
    """Finds ``mmcv._ext`` in our package. It stands last, so that a compiled one wins."""

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> object:
        """Gives the specification of ``mmcv._ext``, and None for every other module."""
        if fullname != NAME:
            return None
        from importlib.util import find_spec, spec_from_file_location
        from pathlib import Path

        package = find_spec('sparse_mm')  # does not import it
        for folder in (package and package.submodule_search_locations) or ():
            ours = Path(folder) / 'mmcv_ops'
            if (ours / '__init__.py').is_file():
                return spec_from_file_location(
                    NAME, ours / '__init__.py', submodule_search_locations=[str(ours)]
                )
        return None


# The other copy of this file may have been here.
if not any(type(finder).__name__ == MmcvOpsFinder.__name__ for finder in sys.meta_path):
    sys.meta_path.append(MmcvOpsFinder())  # type: ignore[arg-type]
