import importlib
import sys

import mmcv.ops  # noqa: F401
import pytest

from sparse_mm import mmcv_ops


@pytest.fixture
def stand_in(monkeypatch):
    """Makes every function of ``mmcv.ops`` use our operators, compiled or not."""
    for name, module in list(sys.modules.items()):
        if name.startswith('mmcv.ops.') and hasattr(module, 'ext_module'):
            monkeypatch.setattr(module, 'ext_module', mmcv_ops)
    return mmcv_ops


@pytest.fixture
def compare(monkeypatch):
    """Runs a function over ``mmcv.ops`` with the compiled operators and with ours."""
    compiled = importlib.import_module('mmcv._ext')
    if not compiled.__file__.endswith(('.so', '.pyd')):
        pytest.skip('mmcv is not compiled here')

    def run(function):
        theirs = function()
        with monkeypatch.context() as patch:
            for name, module in list(sys.modules.items()):
                if name.startswith('mmcv.ops.') and hasattr(module, 'ext_module'):
                    patch.setattr(module, 'ext_module', mmcv_ops)
            return theirs, function()

    return run
