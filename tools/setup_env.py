"""Makes the virtual environment: ``python3 tools/setup_env.py``, what ``make setup`` calls.

Only the standard library is used, because nothing else is installed yet. Finished steps are
skipped, unless a requirements file has changed.

By default nothing is compiled: ``mmcv-lite`` is installed, and ``sparse_mm/mmcv_ops`` stands in
for its operators. ``--mmcv compiled`` installs mmcv with its own. Both use the same folder, so
neither is installed over the other: mmcv-lite is removed for compiled mmcv, and compiled mmcv is
kept.

``--stack onedl`` installs the hosts' maintained forks instead, into an environment of its own.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SUPPORTED = [(3, 10), (3, 11), (3, 12)]
TOOLS = ('tools for the tests', 'seconds', ['-r', 'requirements/tests.txt'])
OURS = ('sparse_mm itself', 'seconds', ['--no-deps', '--no-build-isolation', '-e', '.'])
# Each step: what it is, what to expect, and its arguments to pip. Between the first two comes mmcv.
STEPS = [
    (
        'torch and the build tools',
        'a download of about 3 GB, some minutes',
        ['-r', 'requirements/build.txt'],
    ),
    (
        'the host packages',
        'about 2 minutes',
        ['--no-build-isolation', '-r', 'requirements/runtime.txt'],
    ),
    TOOLS,
    OURS,
]
# The forks are built in isolation, where there is no torch: so onedl-mmcv compiles nothing.
ONEDL = [
    (
        'torch and the forks of the host packages',
        'a download of about 3 GB, some minutes',
        ['-r', 'requirements/onedl.txt'],
    ),
    TOOLS,
    OURS,
]
STACKS = {'openmmlab': '.venv', 'onedl': '.venv-onedl'}  # and where each is installed
MMCV = {
    'lite': ('mmcv-lite', 'seconds', ['-r', 'requirements/mmcv-lite.txt']),
    'compiled': (
        'mmcv with its own operators',
        'seconds with a wheel of it, about 12 minutes where it must be compiled',
        ['-r', 'requirements/mmcv.txt'],
    ),
}


def fail(message: str) -> None:
    """Ends with one sentence."""
    sys.exit(f'error: {message}')


def has_any(venv: Path, *patterns: str) -> bool:
    """Whether an environment's packages have a file of one of these names."""
    packages = [*venv.glob('lib*/python*/site-packages')]
    return any([*folder.glob(pattern)] for folder in packages for pattern in patterns)


def installed_mmcv(venv: Path) -> str | None:
    """Which mmcv an environment has: 'compiled', 'lite' or None."""
    # However it came there: by pip, by its own setup.py, or from a checkout.
    own = ('mmcv-*.dist-info', 'mmcv-*.egg-info', 'mmcv-*.egg', 'mmcv.egg-link')
    if has_any(venv, *own, 'mmcv_full-*.dist-info', 'mmcv/_ext*.so'):
        return 'compiled'
    return 'lite' if has_any(venv, 'mmcv_lite-*.dist-info') else None


def check_stack(venv: Path, stack: str) -> None:
    """Refuses an environment that has the other stack, whose folders this one would write over."""
    other = 'openmmlab' if stack == 'onedl' else 'onedl'
    both = {'openmmlab': ['mmengine-*.dist-info'], 'onedl': ['onedl_mmengine-*.dist-info']}
    if has_any(venv, *both[other]) or (stack == 'onedl' and installed_mmcv(venv)):
        fail(
            f'{venv} has the packages of the stack {other!r}, and both own the same folders; '
            f'choose another environment, such as {STACKS[stack]}.'
        )


def choose_mmcv(venv: Path, wanted: str | None) -> str:
    """Decides which mmcv the environment gets; without a wish, compiled mmcv stays."""
    found = installed_mmcv(venv)
    if found == 'compiled' and wanted == 'lite':
        fail(
            f'{venv} has compiled mmcv, and mmcv-lite would be installed over it; run '
            f'"{venv}/bin/python -m pip uninstall mmcv" first, or leave MMCV=lite out.'
        )
    return wanted or found or 'lite'


def compiler() -> str | None:
    """Finds a C++ compiler."""
    names = (os.environ.get('CXX', 'c++'), 'g++', 'clang++')
    return next((name for name in names if shutil.which(name)), None)


def check_machine() -> None:
    """Refuses a Python that cannot work, before anything is downloaded."""
    if sys.version_info[:2] not in SUPPORTED:
        found = '.'.join(map(str, sys.version_info[:2]))
        fail(f'Python {found} is not supported; run make with PYTHON=python3.11 (3.10 to 3.12).')
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        fail('This Python cannot make virtual environments; install python3-venv.')


def steps_of(kind: str) -> list[tuple[str, str, list[str]]]:
    """What is installed, in order, with a kind of mmcv, or ``'onedl'``."""
    return ONEDL if kind == 'onedl' else [STEPS[0], MMCV[kind], *STEPS[1:]]


def fingerprint(kind: str) -> str:
    """Hashes what the environment follows from."""
    digest = hashlib.sha256(repr((steps_of(kind), sys.version_info[:2])).encode())
    for path in sorted((ROOT / 'requirements').glob('*.txt')):
        digest.update(path.read_bytes())
    for name in ('setup.cfg', 'pyproject.toml', 'tools/packaging/sparse_mm_build.py'):
        digest.update((ROOT / name).read_bytes())
    digest.update((ROOT / 'sparse_mm' / 'mmcv_finder.py').read_bytes())  # its copy is installed
    return digest.hexdigest()


def install_compiled(python: Path, pip: list[str], venv: Path, arguments: list[str]) -> bool:
    """Installs compiled mmcv; mmcv-lite, if it is there, goes once its successor is built."""
    wheel = [str(python), '-m', 'pip', 'wheel', '--quiet', '--disable-pip-version-check']
    wheel += ['--no-deps', '--no-build-isolation', *arguments]
    if compiler() is None:
        wheel += ['--only-binary', 'mmcv']
    # Debug symbols take half of the time to compile, and nobody reads them.
    environment = {**os.environ, 'CFLAGS': f'{os.environ.get("CFLAGS", "")} -g0'.strip()}
    with tempfile.TemporaryDirectory() as folder:
        command = [*wheel, '--wheel-dir', folder]
        if subprocess.run(command, cwd=ROOT, env=environment).returncode:
            if compiler() is None:
                fail(
                    'pip found no wheel of mmcv, and there is no C++ compiler to make one; install '
                    'g++ (Debian: build-essential), or run make setup without MMCV=compiled.'
                )
            return False
        if installed_mmcv(venv) == 'lite':
            away = [str(python), '-m', 'pip', 'uninstall', '--quiet', '--yes', 'mmcv-lite']
            subprocess.run(away, cwd=ROOT, check=True)
        wheels = [str(path) for path in Path(folder).glob('*.whl')]
        return not subprocess.run([*pip, *wheels], cwd=ROOT).returncode


def install(venv: Path, wanted: str | None = None, stack: str = 'openmmlab') -> None:
    """Runs the steps that the environment still lacks.

    Args:
        venv: The environment's folder.
        wanted: 'lite' or 'compiled'; None keeps the mmcv that is there, or takes 'lite'.
        stack: 'openmmlab', or 'onedl', the forks, which have one kind of mmcv alone.
    """
    if stack == 'onedl' and wanted:
        fail('MMCV= chooses between the kinds of mmcv of the default stack; leave it out.')
    check_stack(venv, stack)
    kind = 'onedl' if stack == 'onedl' else choose_mmcv(venv, wanted)
    done, goal = venv / 'sparse_mm_setup', fingerprint(kind)
    python = venv / 'bin' / 'python'
    if done.is_file() and done.read_text() == goal and python.exists():
        return
    check_machine()
    steps = steps_of(kind)
    if not python.exists():
        print(f'[0/{len(steps)}] a virtual environment in {venv}', flush=True)
        subprocess.run([sys.executable, '-m', 'venv', str(venv)], check=True)
    # The constraints keep other packages from bringing in a newer setuptools or numpy.
    pip = [str(python), '-m', 'pip', 'install', '--quiet', '--disable-pip-version-check']
    pip += ['-c', f'requirements/{"onedl" if stack == "onedl" else "build"}.txt']
    for number, (what, how_long, arguments) in enumerate(steps, start=1):
        print(f'[{number}/{len(steps)}] {what} ({how_long})', flush=True)
        start = time.monotonic()
        if kind == 'compiled' and number == 2:
            good = install_compiled(python, pip, venv, arguments)
        else:
            good = not subprocess.run([*pip, *arguments], cwd=ROOT).returncode
        if not good:
            fail(f'pip could not install {what}; see its message above.')
        print(f'      done in {time.monotonic() - start:.0f} s', flush=True)
    done.write_text(goal)


def main() -> None:
    """Reads the command line and installs."""
    parser = argparse.ArgumentParser(description='Make the virtual environment')
    parser.add_argument('venv', nargs='?', help="its folder (default: the stack's)")
    parser.add_argument(
        '--mmcv',
        choices=[*MMCV, ''],
        help='mmcv-lite with stand-ins for its operators, or mmcv with its own (default: the one '
        'that is there, else lite)',
    )
    parser.add_argument(
        '--stack',
        choices=[*STACKS, ''],
        help="OpenMMLab's packages in .venv, or their maintained forks in .venv-onedl",
    )
    args = parser.parse_args()
    stack = args.stack or 'openmmlab'
    install((ROOT / (args.venv or STACKS[stack])).resolve(), args.mmcv or None, stack)


if __name__ == '__main__':
    main()
