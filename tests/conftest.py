"""Shared fixtures: the optional folder of real data and reference outputs, and command
runs."""

import os
import runpy
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mmengine.utils import is_installed

import sparse_mm  # noqa: F401, lets torch.load read MMEngine's checkpoints
from sparse_mm.deploy.openvino_engine import check_processor_limit
from sparse_mm.errors import BadInputError

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / 'shared'

# Two cores, divided among the test processes, and so for the processes that they start.
THREADS = max(1, 2 // int(os.environ.get('PYTEST_XDIST_WORKER_COUNT', 1)))
os.environ['OMP_NUM_THREADS'] = str(THREADS)
torch.set_num_threads(THREADS)


def free_port() -> int:
    """A free port, so that two test runs on one machine do not connect to each other."""
    with socket.socket() as found:
        found.bind(('localhost', 0))
        return found.getsockname()[1]


def require_engine(name: str) -> None:
    """Skips if an inference engine is not installed, or would crash the process."""
    pytest.importorskip(name, reason=f'needs {name}')
    if name == 'openvino':
        try:
            check_processor_limit()
        except BadInputError as error:
            pytest.skip(str(error))


def require_configs_of(host: str) -> None:
    """Skips if a host is not installed, or MMEngine does not find its configs."""
    pytest.importorskip(host, reason=f'needs {host}')
    if host == 'mmseg' and not is_installed('mmsegmentation'):
        pytest.skip("MMEngine's fork does not find mmseg:: configs")


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope='session')
def shared() -> Callable[[str], Path]:
    """Finds real data and reference outputs; skips if there are none beside the checkout."""

    def find(name: str) -> Path:
        path = SHARED / name
        if not path.exists():
            pytest.skip(f'needs {name} in a folder "shared" beside the checkout')
        return path

    return find


@pytest.fixture
def run_tool(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess]:
    """Runs a command line of tools/ from an empty directory, as a user would."""

    def run(
        tool: str, *arguments: object, fails: bool = False, env: dict | None = None
    ) -> subprocess.CompletedProcess:
        result = subprocess.run(
            [sys.executable, str(ROOT / 'tools' / tool), *map(str, arguments)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env={**os.environ, **(env or {})},
        )
        assert bool(result.returncode) == fails, result.stdout[-3000:] + result.stderr[-3000:]
        return result

    return run


@pytest.fixture
def call_tool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> Callable[..., str]:
    """Runs a command line in this process, which saves the imports; returns what it printed."""

    def run(tool: str, *arguments: object) -> str:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv('LOCAL_RANK', '0')
        monkeypatch.setattr(sys, 'argv', [tool, *map(str, arguments)])
        capsys.readouterr()
        runpy.run_path(str(ROOT / 'tools' / tool), run_name='__main__')
        return capsys.readouterr().out

    return run


# For host models on real data: one image at a time, in this process, without downloads.
REDUCED = """
_base_ = {base!r}
loader = dict(num_workers=0, persistent_workers=False, batch_size=1)
optim_wrapper = dict(type='OptimWrapper')
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(save_optimizer=False))
load_from = None
custom_hooks = []
"""


@pytest.fixture
def train_reduced(
    call_tool: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[Path, Path, str]]:
    """Trains a config with settings that make it small, in the folder ``run``; returns the reduced
    config, the last checkpoint, and the log."""

    def run(name: str, settings: str, **env: object) -> tuple[Path, Path, str]:
        for key, value in env.items():
            monkeypatch.setenv(key, str(value))
        config = tmp_path / 'reduced.py'
        config.write_text(REDUCED.format(base=str(ROOT / 'configs' / name)) + settings)
        log = call_tool('train.py', config, '--work-dir', 'run')
        assert 'loss: nan' not in log
        return config, Path((tmp_path / 'run' / 'last_checkpoint').read_text()), log

    return run


@pytest.fixture
def refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Runs a command line that must be refused, in this process; returns its one sentence."""

    def run(tool: str, *arguments: object, env: dict | None = None) -> str:
        monkeypatch.chdir(tmp_path)
        for name, value in {'LOCAL_RANK': '0', **(env or {})}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, 'argv', [tool, *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            runpy.run_path(str(ROOT / 'tools' / tool), run_name='__main__')
        message = str(caught.value)
        assert message.startswith('error: ')
        assert len(message.splitlines()) == 1
        return message

    return run
