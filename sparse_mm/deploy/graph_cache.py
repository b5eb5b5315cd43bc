"""Exported graphs on disk: each checked before it is used, all together within a bound."""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock
from mmengine.logging import MMLogger

from sparse_mm.errors import BadInputError

FORMAT = 'sparse_mm graph, version 1'
VARIABLE = 'SPARSE_MM_CACHE'
GRAPH, ENTRY, PART = 'graph.onnx', 'entry.json', '.graph.part'
GIB = 2**30
CHUNK = 2**22  # bytes read at once


def default_folder() -> Path:
    """``$SPARSE_MM_CACHE``, or ``sparse_mm`` where this user's caches are."""
    caches = os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'
    return Path(os.environ.get(VARIABLE) or Path(caches) / 'sparse_mm').expanduser()


class GraphCache:
    """A folder of graphs, one folder each, named by what they were made of.

    A graph that is truncated, modified or from another version is reported and exported again. The
    graphs that were not used for the longest time are removed first. Several processes may share a
    folder: one exports a graph, and the others wait for it.

    Args:
        folder: Where the graphs lie; None for :func:`default_folder`.
        max_bytes: How much they may take together. The newest one stays, however large it is.
    """

    def __init__(self, folder: str | Path | None = None, max_bytes: int = 4 * GIB) -> None:
        self.folder = default_folder() if folder is None else Path(folder).expanduser()
        self.max_bytes = max_bytes

    def find_or_make(
        self, key: str, size: int, make: Callable[[Path], dict[str, Any]]
    ) -> tuple[Path, dict[str, Any]]:
        """Finds a graph, or makes it.

        Args:
            key: A name of letters and digits that identifies everything the graph depends on.
            size: About how many bytes it has.
            make: Writes it to a path; gives what is to be known of it.

        Returns:
            The file, and what :attr:`make` gave, read from JSON.

        Raises:
            BadInputError: The folder cannot be written, or the disk has no room.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self.folder / 'lock'):
                return self._find(key) or self._make(key, size, make)
        except OSError as error:
            raise self._cannot_write(error) from error

    def _find(self, key: str) -> tuple[Path, dict[str, Any]] | None:
        folder = self.folder / key
        if not folder.exists():
            return None
        fault = 'is not whole'
        try:
            entry = json.loads((folder / ENTRY).read_text())
            if entry['format'] != FORMAT:
                fault = 'was written by another version'
            elif digest_of(folder / GRAPH) == entry['sha256']:
                os.utime(folder)  # when it was used last
                return folder / GRAPH, entry['about']
            else:
                fault = 'is cut off, or was changed'
        except (OSError, ValueError, KeyError, TypeError):
            pass
        MMLogger.get_current_instance().warning(
            f'The cached graph {str(folder)!r} {fault}; it is exported again.'
        )
        shutil.rmtree(folder)
        return None

    def _make(
        self, key: str, size: int, make: Callable[[Path], dict[str, Any]]
    ) -> tuple[Path, dict[str, Any]]:
        for left in self.folder.glob(f'*{PART}'):  # by killed processes: we hold the lock
            shutil.rmtree(left, ignore_errors=True)
        self._make_room(size)
        free = shutil.disk_usage(self.folder).free
        if free < size:
            raise OSError(errno.ENOSPC, f'{size / 1e6:.0f} MB needed, {free / 1e6:.0f} MB free')
        folder, part = self.folder / key, self.folder / f'{key}{PART}'
        part.mkdir()
        try:
            about = make(part / GRAPH)
            entry = dict(format=FORMAT, sha256=digest_of(part / GRAPH), about=about)
            (part / ENTRY).write_text(json.dumps(entry, indent=1))
            os.replace(part, folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
        return folder / GRAPH, about

    def _make_room(self, size: int) -> None:
        """Removes those used longest ago, until another one fits."""
        # The folder may be one that a user has for other things, too.
        own = (entry.parent for entry in self.folder.glob(f'*/{ENTRY}'))
        used = {path: bytes_in(path) for path in own if (path / GRAPH).is_file()}
        for path in sorted(used, key=lambda path: path.stat().st_mtime):
            if sum(used.values()) + size <= self.max_bytes:
                return
            shutil.rmtree(path)
            del used[path]

    def _cannot_write(self, error: OSError) -> BadInputError:
        return BadInputError(
            f'The graph cannot be kept in {str(self.folder)!r} ({error.strerror or error}); make '
            f'room or see to its rights, or name another folder by cache_dir= or {VARIABLE}.'
        )


def bytes_in(folder: Path) -> int:
    """The size of all files in a folder."""
    total = 0
    for path in folder.iterdir():
        with suppress(FileNotFoundError):  # a process beside this one removed it
            total += path.stat().st_size
    return total


def digest_of(path: Path) -> str:
    """A digest of a file."""
    digest = hashlib.sha256()
    with path.open('rb') as file:
        while piece := file.read(CHUNK):
            digest.update(piece)
    return digest.hexdigest()
