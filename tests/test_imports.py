"""Imports run one way, as docs/design.md draws them."""

import ast
import os
import re
import subprocess
import sys

import pytest

from tests.conftest import ROOT

OWN = 'sparse_mm'
FOR_DEVELOPERS = 'gpu_check', 'model_zoo'
HOSTS = ('mmdet', 'mmseg', 'mmdet3d', 'mmpretrain')
MODELS, SEARCH, ENGINE = f'{OWN}.models', f'{OWN}.search', f'{OWN}.engine'
ERRORS = f'{OWN}.errors'
# These need no framework: nothing else may be imported there.
BARE = {
    'sparse_mm/search': ('torch', 'numpy', SEARCH, f'{MODELS}.ratios', ERRORS),
    'sparse_mm/models/layers': ('torch', 'numpy', f'{MODELS}.layers', f'{MODELS}.ratios', ERRORS),
}
# Which of our packages each may import. Models do not import the executors.
ARROWS = {
    'sparse_mm/models': (MODELS, f'{OWN}.checkpoints', f'{OWN}.named_weights', ERRORS),
    'sparse_mm/models/layers': (f'{MODELS}.layers', f'{MODELS}.ratios', ERRORS),
    'sparse_mm/models/backbones': (MODELS, f'{OWN}.checkpoints', ERRORS),
    'sparse_mm/cpu': (f'{OWN}.cpu', MODELS, ERRORS),
    'sparse_mm/cuda': (f'{OWN}.cuda', MODELS, ERRORS),
    'sparse_mm/deploy': (
        *(f'{OWN}.deploy', f'{OWN}.cuda', MODELS, ERRORS),
        *(f'{OWN}.{name}' for name in ('checkpoints', 'named_weights', 'progress')),
    ),
    'sparse_mm/mmcv_ops': (f'{OWN}.mmcv_ops', ERRORS),
    'sparse_mm/search': (SEARCH, f'{MODELS}.ratios', ERRORS),
    'sparse_mm/datasets': (
        f'{OWN}.datasets',
        f'{OWN}.deferred',
        f'{OWN}.progress',
        f'{OWN}.ranks',
        ERRORS,
    ),
    'sparse_mm/evaluation': (f'{OWN}.evaluation', f'{OWN}.deferred', ERRORS),
    'sparse_mm/engine': (
        *(ENGINE, MODELS, SEARCH, f'{OWN}.cpu', f'{OWN}.deploy', ERRORS),
        *(
            f'{OWN}.{name}'
            for name in (
                *('checkpoints', 'named_weights', 'file_kinds', 'safe_classes', 'deferred'),
                *('progress', 'ranks', 'version'),
            )
        ),
    ),
    'projects': ('projects', OWN),
    'tools': ('tools', OWN),
}
# Files that need a host package, and are imported only when it is used.
ON_HOSTS = (
    'sparse_mm/datasets/shapes.py',
    'sparse_mm/evaluation/coco_metric.py',
    'sparse_mm/evaluation/iou_metric.py',
    'sparse_mm/evaluation/lvis_metric.py',
    'sparse_mm/evaluation/nuscenes_metric.py',
    'sparse_mm/evaluation/openimages_metric.py',
    'sparse_mm/evaluation/semseg_metric.py',
    'sparse_mm/evaluation/voc_metric.py',
)


def files_of(folder):
    return sorted(path for path in (ROOT / folder).rglob('*.py') if path.name != 'setup_env.py')


def imported(path, anywhere=True):
    """The modules that a file imports; those of its functions, too, unless on import alone."""
    tree = ast.parse(path.read_text())
    nodes = ast.walk(tree) if anywhere else iter(tree.body)
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            above = path.relative_to(ROOT).parts[: -node.level] if node.level else ()
            module = '.'.join([*above, *([node.module] if node.module else [])])
            yield from (f'{module}.{alias.name}' for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def is_in(name, packages):
    return any(f'{name}.'.startswith(f'{package}.') for package in packages)


@pytest.mark.parametrize('folder', BARE)
def test_the_core_needs_only_torch_and_numpy(folder):
    files = files_of(folder)
    assert len(files) > 5
    for path in files:
        for name in imported(path):
            standard = name.split('.')[0] in sys.stdlib_module_names
            assert standard or is_in(name, BARE[folder]), f'{path.name} imports {name}'


@pytest.mark.parametrize('folder', ARROWS)
def test_arrows_run_one_way(folder):
    for path in files_of(folder):
        for name in imported(path):
            ours = is_in(name, (OWN, 'tools', 'projects', 'tests'))
            assert not ours or is_in(name, ARROWS[folder]), f'{folder}/{path.name} imports {name}'


def test_every_package_has_its_arrows():
    found = {f'sparse_mm/{path.parent.name}' for path in (ROOT / OWN).glob('*/__init__.py')}
    assert found - {'sparse_mm/converters'} <= set(ARROWS)


def test_the_plugin_imports_no_host_package_by_itself():
    for path in files_of(OWN):
        if str(path.relative_to(ROOT)) not in ON_HOSTS:
            for name in imported(path, anywhere=False):
                assert not is_in(name, HOSTS), f'{path.name} imports {name}'


def test_the_backbone_needs_no_user_name():
    """As in a container that runs under a number without a name: ``docker run --user 12345``."""
    code = """
import pwd
def unknown(number):
    raise KeyError(f'getpwuid(): uid not found: {number}')
pwd.getpwuid = unknown
import torch
from sparse_mm.models import SparseViT
SparseViT(embed_dims=8, num_heads=(1, 1, 1, 1)).eval()(torch.zeros(1, 3, 64, 64))
import torch._inductor.codecache
import mmengine.config  # whose yapf wants a home
"""
    asked_first = 'LOGNAME', 'USER', 'LNAME', 'USERNAME', 'HOME', 'XDG_CACHE_HOME'
    env = {name: value for name, value in os.environ.items() if name not in asked_first}
    env['PYTHONPATH'] = str(ROOT)
    done = subprocess.run([sys.executable, '-c', code], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_tool_runs_for_a_user_without_a_name_and_a_home(tmp_path):
    (tmp_path / 'sitecustomize.py').write_text(
        'import pwd\ndef unknown(number):\n    raise KeyError(number)\npwd.getpwuid = unknown\n'
    )
    asked_first = 'LOGNAME', 'USER', 'LNAME', 'USERNAME', 'HOME', 'XDG_CACHE_HOME'
    env = {name: value for name, value in os.environ.items() if name not in asked_first}
    env['PYTHONPATH'] = os.pathsep.join([str(tmp_path), str(ROOT)])
    command = [sys.executable, str(ROOT / 'tools' / 'make_sparse.py'), 'nowhere.py']
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.stderr.startswith('error: '), done.stderr[-2000:]


@pytest.mark.parametrize(
    'path', [path for path in files_of('tools') if "__name__ == '__main__'" in path.read_text()]
)
def test_tools_for_users_name_the_user_before_mmengine_asks(path):
    names = imported(path, anywhere=False)
    first = {root: i for i, name in reversed([*enumerate(names)]) if (root := name.split('.')[0])}
    asking = [first[name] for name in ('mmengine', 'mmcv', 'torchvision', *HOSTS) if name in first]
    if path.parent.name != 'benchmarks' and path.stem not in FOR_DEVELOPERS and asking:
        assert first[OWN] < min(asking)


def test_the_plan_names_files_that_are_there():
    text = (ROOT / 'docs' / 'design.md').read_text()
    files = [path.relative_to(ROOT).as_posix() for path in (ROOT / OWN).rglob('*.py')]
    files += [path.relative_to(ROOT).as_posix() for path in (ROOT / 'tests').glob('*.py')]
    files += [path.relative_to(ROOT).as_posix() for path in (ROOT / 'tools').glob('*.py')]
    files += [path.relative_to(ROOT).as_posix() for path in (ROOT / 'configs').glob('*.py')]
    named = set(re.findall(r'`(?:python )?([\w/]+\.py)\b', text))
    assert len(named) > 30
    for name in named:
        assert any(f'/{path}'.endswith(f'/{name}') for path in files), name
    rooms = [path.parent.name for path in (ROOT / OWN).glob('*/__init__.py')]
    assert [room for room in rooms if f'{room}/' not in text] == []
