"""Makes the virtual environment: ``python3 tools/setup_env.py``, what ``make setup`` calls.

Only the standard library is used, since nothing else is there yet. Steps that are done already
are skipped; a changed requirements file redoes them.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SUPPORTED = [(3, 10), (3, 11), (3, 12)]
# Each step: what it is, what to expect, and its arguments to pip.
STEPS = [
    (
        'torch and the build tools',
        'a download of about 3 GB, some minutes',
        ['-r', 'requirements/build.txt'],
    ),
    (
        'mmcv and the host packages',
        'about 2 minutes with a wheel of mmcv, about 25 more where it must be compiled',
        ['--no-build-isolation', '-r', 'requirements/runtime.txt'],
    ),
    ('tools for the tests', 'seconds', ['-r', 'requirements/tests.txt']),
    ('sparse_mm itself', 'seconds', ['--no-deps', '--no-build-isolation', '-e', '.']),
]


def fail(message: str) -> None:
    """Ends with one sentence."""
    sys.exit(f'error: {message}')


def check_machine() -> None:
    """Refuses a Python or a machine that cannot work, before anything is downloaded."""
    if sys.version_info[:2] not in SUPPORTED:
        found = '.'.join(map(str, sys.version_info[:2]))
        fail(f'Python {found} is not supported; run make with PYTHON=python3.11 (3.10 to 3.12).')
    compiler = os.environ.get('CXX', 'c++')
    if not any(shutil.which(name) for name in (compiler, 'g++', 'clang++')):
        fail(
            'No C++ compiler was found, and mmcv needs one; install g++ (Debian: build-essential).'
        )
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        fail('This Python cannot make virtual environments; install python3-venv.')


def fingerprint() -> str:
    """Hashes what the environment follows from."""
    digest = hashlib.sha256(repr((STEPS, sys.version_info[:2])).encode())
    for path in sorted((ROOT / 'requirements').glob('*.txt')):
        digest.update(path.read_bytes())
    digest.update((ROOT / 'setup.cfg').read_bytes())
    return digest.hexdigest()


def install(venv: Path) -> None:
    """Runs the steps that the environment still lacks."""
    done, wanted = venv / 'sparse_mm_setup', fingerprint()
    python = venv / 'bin' / 'python'
    if done.is_file() and done.read_text() == wanted and python.exists():
        return
    check_machine()
    if not python.exists():
        print(f'[0/{len(STEPS)}] a virtual environment in {venv}', flush=True)
        subprocess.run([sys.executable, '-m', 'venv', str(venv)], check=True)
    # The constraints keep other packages from bringing in a newer setuptools or numpy.
    pip = [str(python), '-m', 'pip', 'install', '--quiet', '--disable-pip-version-check']
    pip += ['-c', 'requirements/build.txt']
    for number, (what, how_long, arguments) in enumerate(STEPS, start=1):
        print(f'[{number}/{len(STEPS)}] {what} ({how_long})', flush=True)
        start = time.monotonic()
        if subprocess.run([*pip, *arguments], cwd=ROOT).returncode:
            fail(f'pip could not install {what}; its message stands above.')
        print(f'      done in {time.monotonic() - start:.0f} s', flush=True)
    done.write_text(wanted)


def main() -> None:
    """Reads the command line and installs."""
    parser = argparse.ArgumentParser(description='Make the virtual environment')
    parser.add_argument('venv', nargs='?', default='.venv', help='its folder (default: .venv)')
    install((ROOT / parser.parse_args().venv).resolve())


if __name__ == '__main__':
    main()
