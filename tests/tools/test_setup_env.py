"""The set-up says what a machine lacks before anything is downloaded, and does nothing twice."""

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


def test_a_missing_compiler_is_named(setup_env, monkeypatch, tmp_path):
    monkeypatch.setenv('PATH', str(tmp_path))
    monkeypatch.delenv('CXX', raising=False)
    with pytest.raises(SystemExit, match=r'No C\+\+ compiler was found'):
        setup_env['install'](tmp_path / 'venv')


def test_what_is_done_is_skipped_until_requirements_change(setup_env, monkeypatch, tmp_path):
    (tmp_path / 'bin').mkdir()
    (tmp_path / 'bin' / 'python').write_text('')
    done = tmp_path / 'sparse_mm_setup'
    done.write_text(setup_env['fingerprint']())
    setup_env['install'](tmp_path)
    done.write_text('an older fingerprint')
    ran = []
    result = type('Result', (), {'returncode': 0})
    monkeypatch.setattr(
        setup_env['subprocess'], 'run', lambda command, **_: ran.append(command) or result
    )
    setup_env['install'](tmp_path)
    assert [command[-1] for command in ran] == [
        'requirements/build.txt',
        'requirements/runtime.txt',
        'requirements/tests.txt',
        '.',
    ]
    assert done.read_text() == setup_env['fingerprint']()
