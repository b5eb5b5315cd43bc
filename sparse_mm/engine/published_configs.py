"""Configs that inherit ours by name: ``_base_ = 'sparse_mm::sparsevit/NAME.py'``.

MMEngine knows by a table of its own which packages publish configs, and takes the package for the
registry scope of all that is inherited so. Ours has no scope: its configs name their hosts'.
"""

from pathlib import Path
from typing import Any

from mmengine.config.utils import MODULE2PACKAGE

NAME = 'sparse_mm'
PUBLISHED = Path(__file__).resolve().parents[1] / '.mim'  # in an installed wheel


def know_our_name() -> None:
    """Enters this package among those that publish configs."""
    MODULE2PACKAGE.setdefault(NAME, NAME)


def forget_our_scope(node: Any) -> None:
    """Takes the scope away that MMEngine gives to what is inherited from this package.

    Args:
        node: A config, or a part of it; it is changed.
    """
    if isinstance(node, dict):
        if node.get('_scope_') == NAME:
            del node['_scope_']
        for value in node.values():
            forget_our_scope(value)
    elif isinstance(node, list | tuple):
        for value in node:
            forget_our_scope(value)
