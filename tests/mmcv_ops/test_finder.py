"""The operators are available in every process, whichever package is imported first."""

import os
import runpy
import shutil
import subprocess
import sys
import zipfile

import pytest

from sparse_mm import mmcv_ops
from tests.conftest import ROOT


@pytest.fixture
def site(tmp_path):
    """A folder of packages with the wheel of this checkout and a small mmcv that has no _ext."""
    source = tmp_path / 'source'  # setuptools writes into the folder that it builds
    for name in ('sparse_mm', 'tools/packaging'):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns('__pycache__'))
    listed = 'pyproject.toml', 'setup.cfg', 'MANIFEST.in', 'model-index.yml'
    for name in (*listed, 'README.md', 'LICENSE', 'NOTICE'):
        shutil.copy(ROOT / name, source)
    built = subprocess.run(
        [sys.executable, '-m', 'pip', 'wheel', '-q', '--no-deps', '--no-build-isolation',
         '--disable-pip-version-check', '-w', tmp_path / 'wheels', source],
        capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    (wheel,) = (tmp_path / 'wheels').glob('*.whl')
    folder = tmp_path / 'site'
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    (folder / 'mmcv').mkdir()
    (folder / 'mmcv' / '__init__.py').write_text('')
    return folder


def start(site, code):
    """Runs code in a Python whose site-packages is the folder, from another directory."""
    # addsitedir reads .pth files as Python does at its start.
    (site / 'first.py').write_text(f'import site; site.addsitedir({str(site)!r})\n{code}')
    environment = {name: value for name, value in os.environ.items() if name != 'PYTHONPATH'}
    result = subprocess.run(
        [sys.executable, str(site / 'first.py')],
        capture_output=True, text=True, cwd=site.parent, env=environment,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result.stdout.split()


def test_an_installation_finds_them_without_importing_us(site):
    """A copy of the small mmcv is first on the path, before any that is installed."""
    code = f"""
import sys
sys.path.insert(0, {str(site)!r})
ours = [name for name in sys.modules if name.partition('.')[0] == 'sparse_mm']
import mmcv._ext
print(mmcv._ext.__file__, len(ours), 'sparse_mm' in sys.modules, mmcv._ext.nms.__module__)
"""
    path, before, imported, module = start(site, code)
    assert path == str(site / 'sparse_mm' / 'mmcv_ops' / '__init__.py')
    assert (before, imported, module) == ('0', 'False', 'mmcv._ext.boxes')


def test_compiled_operators_win(site):
    (site / 'mmcv' / '_ext.py').write_text('nms = "compiled"')
    code = f'import sys; sys.path.insert(0, {str(site)!r})\nimport mmcv._ext\nprint(mmcv._ext.nms)'
    assert start(site, code) == ['compiled']


def test_the_wheel_lists_its_start_files(site):
    (record,) = site.glob('*.dist-info/RECORD')
    names = [line.split(',')[0] for line in record.read_text().splitlines()]
    assert {'sparse_mm_mmcv_finder.py', 'sparse_mm_mmcv_finder.pth'} <= set(names)
    assert (site / 'sparse_mm_mmcv_finder.pth').read_text() == 'import sparse_mm_mmcv_finder\n'
    original = (ROOT / 'sparse_mm' / 'mmcv_finder.py').read_bytes()
    assert (site / 'sparse_mm_mmcv_finder.py').read_bytes() == original


def test_an_editable_wheel_has_them_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    build = runpy.run_path(str(ROOT / 'tools' / 'packaging' / 'sparse_mm_build.py'))
    with zipfile.ZipFile(tmp_path / 'any.whl', 'w') as wheel:
        wheel.writestr('any.dist-info/RECORD', 'a.py,,\n')
    build['add_files'](tmp_path / 'any.whl', build['start_files']())
    with zipfile.ZipFile(tmp_path / 'any.whl') as wheel:
        assert sorted(wheel.namelist()) == [
            'any.dist-info/RECORD',
            'sparse_mm_mmcv_finder.pth',
            'sparse_mm_mmcv_finder.py',
        ]
        assert wheel.read('any.dist-info/RECORD').decode().count('\n') == 3


def test_the_finder_is_there_once():
    """Ours and the installed copy, in either order."""
    runpy.run_path(str(ROOT / 'sparse_mm' / 'mmcv_finder.py'))
    names = [type(finder).__name__ for finder in sys.meta_path]
    assert names.count('MmcvOpsFinder') == 1


def test_operators_that_are_not_here_say_so():
    with pytest.raises(
        NotImplementedError,
        match=r"operator 'border_align_forward' needs compiled mmcv.*pip install.*mmcv==2\.",
    ):
        mmcv_ops.border_align_forward(1, pool_size=2)
    with pytest.raises(AttributeError):
        mmcv_ops.__wrapped__  # noqa: B018
