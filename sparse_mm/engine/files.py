"""Writing a file in one step."""

import os
from pathlib import Path


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replaces a file in one step: a kill leaves the old or the new one, never half of it."""
    data = content.encode() if isinstance(content, str) else content
    # One name for each process: several may write, each its own.
    temporary = path.with_name(f'.{path.name}.{os.getpid()}')
    with temporary.open('wb') as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
