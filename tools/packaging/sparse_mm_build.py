"""The build backend of pyproject.toml: setuptools, start files of Python, and configs.

Setuptools has no setting that puts a file ending in ``.pth`` beside a package, and leaves it out
of editable installs. So this backend adds both files to the wheel, editable or not; pip removes
them with the package. ``sparse_mm/mmcv_finder.py`` describes their purpose.

An ordinary wheel also gets ``sparse_mm/.mim``, where MMEngine and MIM look for what a package
publishes: configs, tools, projects, the model index. MMEngine needs a folder in the name of an
inherited config, but ours are all in one folder. So each published config has a second file under
its name in the model index, ``sparse_mm::sparsevit/NAME.py``, which inherits it.
"""

import base64
import hashlib
import os
import re
import zipfile
from pathlib import Path

from setuptools import build_meta
from setuptools.build_meta import (  # noqa: F401  (hooks that pip calls)
    build_sdist,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    get_requires_for_build_wheel,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

MODULE = 'sparse_mm_mmcv_finder'
ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / 'sparse_mm' / 'mmcv_finder.py'
PUBLISHED = 'configs', 'tools', 'projects'
ENTRY = re.compile(r'- Name: (\S+)\n +In Collection: (.+)\n +Config: (\S+)')


def start_files() -> dict[str, bytes]:
    """The module that Python imports when it starts, and the ``.pth`` file that says so."""
    return {f'{MODULE}.py': SOURCE.read_bytes(), f'{MODULE}.pth': f'import {MODULE}\n'.encode()}


def published_files() -> dict[str, bytes]:
    """What lies in ``sparse_mm/.mim`` of a wheel."""
    paths = [path for folder in PUBLISHED for path in sorted((ROOT / folder).rglob('*'))]
    paths = [path for path in paths if path.is_file() and '__pycache__' not in path.parts]
    found = {path.relative_to(ROOT).as_posix(): path.read_bytes() for path in paths}
    found['model-index.yml'] = (ROOT / 'model-index.yml').read_bytes()
    for path in (path for path in paths if path.name.endswith('metafile.yml')):
        for name, collection, config in ENTRY.findall(path.read_text()):
            folder = f'configs/{collection.lower().replace(" ", "_")}'
            text = f'_base_ = {os.path.relpath(config, folder)!r}\n'
            found[f'{folder}/{name}.py'] = text.encode()
    return {f'sparse_mm/.mim/{name}': content for name, content in found.items()}


def add_files(wheel: Path, extra: dict[str, bytes]) -> None:
    """Adds files to a wheel, and to its list of files."""
    longer = wheel.with_suffix('.tmp')
    with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(longer, 'w', zipfile.ZIP_DEFLATED) as new:
        record = next(name for name in old.namelist() if name.endswith('.dist-info/RECORD'))
        for item in old.infolist():
            if item.filename != record:
                new.writestr(item, old.read(item))
        lines = old.read(record).decode()
        for name, content in extra.items():
            new.writestr(name, content)
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b'=')
            lines += f'{name},sha256={digest.decode()},{len(content)}\n'
        new.writestr(record, lines)
    os.replace(longer, wheel)


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    """Builds a wheel; pip calls it for an ordinary installation."""
    name = build_meta.build_wheel(wheel_directory, config_settings, metadata_directory)
    add_files(Path(wheel_directory) / name, start_files() | published_files())
    return name


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    """Builds a wheel that points at the checkout; pip calls it for ``-e``."""
    name = build_meta.build_editable(wheel_directory, config_settings, metadata_directory)
    add_files(Path(wheel_directory) / name, start_files())
    return name
