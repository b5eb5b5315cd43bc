"""Imports run one way, as the README says."""

import ast
import sys

import pytest

from tests.conftest import ROOT

OWN = 'sparse_mm'
ALLOWED = {
    'search': {'torch', 'numpy', f'{OWN}.search', f'{OWN}.models.ratios', f'{OWN}.errors'},
    'models/layers': {
        'torch',
        'numpy',
        f'{OWN}.models.layers',
        f'{OWN}.models.ratios',
        f'{OWN}.errors',
    },
}


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.mark.parametrize('folder', ALLOWED)
def test_the_core_needs_torch_and_numpy_alone(folder):
    files = sorted((ROOT / OWN / folder).glob('*.py'))
    assert len(files) > 5
    for path in files:
        for name in imported(path):
            standard = name.split('.')[0] in sys.stdlib_module_names
            known = any(f'{name}.'.startswith(f'{allowed}.') for allowed in ALLOWED[folder])
            assert standard or known, f'{path.name} imports {name}'
