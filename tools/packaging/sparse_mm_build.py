"""The build backend of pyproject.toml: setuptools, and two files that Python reads at its start.

Setuptools has no setting that puts a file ending in ``.pth`` beside a package, and leaves it out
of editable installs. So the wheel that it builds, editable or not, gets both files here; pip
removes them with the package. ``sparse_mm/mmcv_finder.py`` says what they are for.
"""

import base64
import hashlib
import os
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
SOURCE = Path(__file__).resolve().parents[2] / 'sparse_mm' / 'mmcv_finder.py'


def add_start_files(wheel: Path) -> None:
    """Adds the module and its ``.pth`` file to a wheel, and to its list of files."""
    extra = {f'{MODULE}.py': SOURCE.read_bytes(), f'{MODULE}.pth': f'import {MODULE}\n'.encode()}
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
    add_start_files(Path(wheel_directory) / name)
    return name


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    """Builds a wheel that points at the checkout; pip calls it for ``-e``."""
    name = build_meta.build_editable(wheel_directory, config_settings, metadata_directory)
    add_start_files(Path(wheel_directory) / name)
    return name
