"""The set-up reports what is missing before downloads, and does nothing twice."""

import runpy
import sys

import pytest

from tests.conftest import ROOT


@pytest.fixture
def setup_env(monkeypatch):
    module = runpy.run_path(str(ROOT / 'tools' / 'setup_env.py'))

    def no_subprocess(*arguments, **options):
        pytest.fail(f'a process was started: {arguments}')

    monkeypatch.setattr(module['subprocess'], 'run', no_subprocess)
    return module


def test_a_wrong_python_is_named(setup_env, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, 'version_info', (3, 9, 1))
    with pytest.raises(SystemExit, match=r'Python 3\.9 is not supported.*PYTHON=python3\.11'):
        setup_env['install'](tmp_path / 'venv')


def test_no_compiler_is_needed(setup_env, monkeypatch, tmp_path):
    """By default; a compiler is needed only if pip finds no wheel of compiled mmcv."""
    monkeypatch.setenv('PATH', str(tmp_path))
    monkeypatch.delenv('CXX', raising=False)
    ran = record(setup_env, monkeypatch, failing='wheel')
    (tmp_path / 'venv').mkdir()
    setup_env['install'](tmp_path / 'venv')
    assert any('requirements/mmcv-lite.txt' in command for command in ran)
    with pytest.raises(SystemExit, match=r'no wheel of mmcv.*no C\+\+ compiler.*MMCV=compiled'):
        setup_env['install'](tmp_path / 'other', 'compiled')
    assert '--only-binary' in ran[-1]


def environment(tmp_path, mmcv=None):
    """A folder that looks like an environment with one kind of mmcv."""
    (tmp_path / 'bin').mkdir()
    (tmp_path / 'bin' / 'python').write_text('')
    if mmcv is not None:
        (tmp_path / 'lib' / 'python3.11' / 'site-packages' / f'{mmcv}-2.1.0.dist-info').mkdir(
            parents=True
        )
    return tmp_path


def record(setup_env, monkeypatch, failing=None):
    """Lists the commands instead of running them; those with a certain word fail."""
    ran = []

    def run(command, **_):
        ran.append(command)
        return type('Result', (), {'returncode': int(failing in command)})

    monkeypatch.setattr(setup_env['subprocess'], 'run', run)
    return ran


def test_what_is_done_is_skipped_until_requirements_change(setup_env, monkeypatch, tmp_path):
    done = environment(tmp_path) / 'sparse_mm_setup'
    done.write_text(setup_env['fingerprint']('lite'))
    setup_env['install'](tmp_path)
    done.write_text('an older fingerprint')
    ran = record(setup_env, monkeypatch)
    setup_env['install'](tmp_path)
    assert [command[-1] for command in ran] == [
        'requirements/build.txt',
        'requirements/mmcv-lite.txt',
        'requirements/runtime.txt',
        'requirements/tests.txt',
        '.',
    ]
    assert done.read_text() == setup_env['fingerprint']('lite')


def test_compiled_mmcv_stays(setup_env, monkeypatch, tmp_path):
    """mmcv-lite is never installed over it."""
    environment(tmp_path, 'mmcv')
    ran = record(setup_env, monkeypatch)
    setup_env['install'](tmp_path)
    assert any('requirements/mmcv.txt' in command for command in ran)
    assert not any('lite' in ' '.join(command) for command in ran)
    with pytest.raises(SystemExit, match='has compiled mmcv, and mmcv-lite would be installed'):
        setup_env['install'](tmp_path, 'lite')


def test_mmcv_lite_goes_when_its_successor_is_built(setup_env, monkeypatch, tmp_path):
    environment(tmp_path, 'mmcv_lite')
    ran = record(setup_env, monkeypatch, failing='wheel')
    with pytest.raises(SystemExit, match='could not install mmcv with its own operators'):
        setup_env['install'](tmp_path, 'compiled')
    assert not any('uninstall' in command for command in ran)
    ran = record(setup_env, monkeypatch)
    setup_env['install'](tmp_path, 'compiled')
    words = [next(w for w in ('wheel', 'uninstall', 'install') if w in command) for command in ran]
    assert words[1:4] == ['wheel', 'uninstall', 'install']


def test_no_requirements_bring_both_kinds_of_mmcv():
    for path in (ROOT / 'requirements').glob('*.txt'):
        lines = path.read_text().splitlines()
        kinds = [line for line in lines if line.startswith('mmcv')]
        # A GPU that is rented for minutes gets all its wheels at once.
        alone = path.name.startswith('mmcv') or path.name == 'gpu.txt'
        assert len(kinds) == (1 if alone else 0), path


def test_the_second_stack_has_an_environment_of_its_own(setup_env, monkeypatch, tmp_path):
    ran = record(setup_env, monkeypatch)
    setup_env['install'](environment(tmp_path), stack='onedl')
    assert [command[-1] for command in ran] == [
        'requirements/onedl.txt',
        'requirements/tests.txt',
        '.',
    ]
    assert all('requirements/onedl.txt' in command for command in ran)  # the constraints
    with pytest.raises(SystemExit, match='kinds of mmcv of the default stack'):
        setup_env['install'](tmp_path, 'lite', 'onedl')


@pytest.mark.parametrize(
    ('package', 'stack'),
    [
        ('mmengine', 'onedl'),
        ('mmcv', 'onedl'),
        ('mmcv_lite', 'onedl'),
        ('onedl_mmengine', 'openmmlab'),
    ],
)
def test_stacks_are_never_mixed(setup_env, tmp_path, package, stack):
    with pytest.raises(SystemExit, match='own the same folders'):
        setup_env['install'](environment(tmp_path, package), stack=stack)


@pytest.mark.parametrize(
    'file', ['mmcv-2.1.0-py3.11.egg-info', 'mmcv.egg-link', 'mmcv/_ext.cpython-311.so']
)
def test_compiled_mmcv_is_known_however_it_came(setup_env, tmp_path, file):
    path = environment(tmp_path) / 'lib' / 'python3.11' / 'site-packages' / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('')
    with pytest.raises(SystemExit, match='has compiled mmcv'):
        setup_env['install'](tmp_path, 'lite')
    assert setup_env['choose_mmcv'](tmp_path, None) == 'compiled'
