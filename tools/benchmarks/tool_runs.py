"""Runs of our tools as processes of their own, for benchmarks that consist of many."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from mmengine.config import Config

from sparse_mm.engine.children import ending_with_parent
from sparse_mm.engine.files import set_aside, write_atomically
from sparse_mm.errors import BadInputError

ROOT = Path(__file__).resolve().parents[2]
RUNNING: set[subprocess.Popen] = set()  # tools that have not ended


def call(log: Path, jobs: int, tool: str, *arguments: object) -> None:
    """Runs one of our tools, with its output in a file and its share of the CPU's threads.

    Raises:
        BadInputError: It failed.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open('w') as file:
        command = [sys.executable, str(ROOT / 'tools' / tool), *map(str, arguments)]
        # A container or taskset may leave fewer cores than the machine has.
        bound = hasattr(os, 'sched_getaffinity')
        cores = len(os.sched_getaffinity(0)) if bound else os.cpu_count() or 1
        threads = max(1, cores // jobs)
        env = {**os.environ, 'OMP_NUM_THREADS': str(threads)}
        options: dict[str, Any] = dict(stdout=file, stderr=subprocess.STDOUT, env=env)
        with subprocess.Popen(ending_with_parent(command), **options) as child:
            RUNNING.add(child)
            try:
                child.wait()
            except BaseException:
                child.terminate()
                raise
            finally:
                RUNNING.discard(child)
    if child.returncode:
        raise BadInputError(f'{tool} failed; its output is in {str(log)!r}.')


def keep_settings(folder: Path, **settings: Any) -> None:
    """Keeps what the runs of a folder have in common, after comparing it with what is kept.

    What earlier runs did not settle is added.

    Args:
        folder: Of the runs.
        settings: What JSON can hold.

    Raises:
        BadInputError: The folder has runs with other settings, or its settings cannot be read.
    """
    path = folder / 'settings.json'
    try:
        known = json.loads(path.read_text()) if path.exists() else {}
    except (OSError, ValueError) as error:
        raise BadInputError(
            f'{str(path)!r} cannot be read ({error}); start in another --work-dir.'
        ) from error
    if any(known.get(name, value) != value for name, value in settings.items()):
        raise BadInputError(
            f'{str(folder)!r} has runs with other settings ({json.dumps(known)} instead of '
            f'{json.dumps(settings)}); start in another --work-dir.'
        )
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(known | settings, indent=1) + '\n')


def digest_of(cfg: Config) -> str:
    """Tells configs apart; bases, environment and overrides are resolved."""
    return hashlib.sha256(cfg.pretty_text.encode()).hexdigest()[:16]


def start_anew(work_dir: Path) -> None:
    """Sets a run's folder aside if it has begun: train.py refuses one that has checkpoints."""
    if work_dir.exists():
        set_aside(work_dir, 'former')
