"""Reads checkpoints safely, with a clear message if that is not possible.

torch unpickles with ``weights_only=True``: only tensors, plain containers and what
:mod:`sparse_mm.safe_classes` declares. Missing, damaged, refused and unreadable files are
distinguished: only a damaged file is skipped for an older one, and none is overwritten.
"""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED, BadZipFile, ZipFile, is_zipfile

import torch
from mmengine.runner.checkpoint import CheckpointLoader
from torch import Tensor

from sparse_mm.errors import SAVE_WEIGHTS, BadInputError, DamagedFileError, UnsafeContentError
from sparse_mm.file_kinds import INDEX, is_part, say_folder, say_other_kind
from sparse_mm.named_weights import first_few, weights_of
from sparse_mm.safe_classes import safe_classes_declared
from sparse_mm.weights_files import SUFFIX, read_safetensors


def read_checkpoint(path: str) -> dict[str, Any]:
    """Reads a checkpoint onto the CPU.

    Args:
        path: A file; the index of one that is saved in parts (``….index.json``); or an address
            that MMEngine's loaders know (``https://``, ``open-mmlab://``, …).

    Returns:
        The checkpoint's dictionary; of a ``.safetensors`` file its tensors.

    Raises:
        DamagedFileError: The file is cut short, or no checkpoint at all.
        UnsafeContentError: It holds objects that are not safe to load; the sentence names them.
        BadInputError: It is missing, cannot be opened, or holds no dictionary.
    """
    remote = '://' in path
    if remote and re.search(r'\.(safetensors|json)(\?.*)?$', path):
        raise BadInputError(
            f'{path!r} is read from the disk alone; download it, and name the file.'
        )
    if not remote and is_part(path):
        raise BadInputError(
            f'{path!r} is one part of several; name the index beside it, which ends in {INDEX}.'
        )
    if not remote and path.endswith(INDEX):
        return _read_parts(path)
    return _read_file(path, remote)


def _read_file(path: str, remote: bool = False) -> dict[str, Any]:
    """Reads one file, or what an address gives."""
    if path.endswith(SUFFIX) and not remote:
        return read_safetensors(path)
    zipped = not remote and _check_file(path)
    try:
        with safe_classes_declared():
            if remote:
                checkpoint = CheckpointLoader.load_checkpoint(path, map_location='cpu')
            else:
                # Mapped, not read: reading names and shapes of a large checkpoint costs nothing.
                checkpoint = torch.load(path, map_location='cpu', weights_only=True, mmap=zipped)
    except UnsafeContentError as error:
        raise _unsafe(path, error.what) from error
    except Exception as error:  # torch raises half a dozen kinds for files that are no checkpoints
        found = _refused(str(error))
        if found:
            raise _unsafe(path, found) from error
        if remote:
            raise BadInputError(
                f'The checkpoint {path!r} cannot be downloaded ({error}); download it '
                'elsewhere and name the file.'
            ) from error
        other = say_other_kind(path)
        if other is not None:
            raise BadInputError(other) from error
        if zipped and _is_whole(path):
            raise BadInputError(
                f'{path!r} is not a checkpoint as torch.save writes them '
                f'({_first_line(error)}); {SAVE_WEIGHTS}.'
            ) from error
        raise DamagedFileError(
            f'{path!r} is truncated or not a PyTorch checkpoint; download or copy it again.'
        ) from error
    if not isinstance(checkpoint, Mapping):
        raise BadInputError(
            f'{path!r} holds a {type(checkpoint).__name__}, not a checkpoint with named weights.'
        )
    return dict(checkpoint)


def _read_parts(path: str) -> dict[str, Any]:
    """Joins the parts that an index lists, all of them files beside it."""
    try:
        listed = json.loads(Path(path).read_text())['weight_map']
        parts = sorted(set(listed.values()))
    except FileNotFoundError as error:
        raise BadInputError(f'The checkpoint {path!r} does not exist.') from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInputError(
            f"{path!r} is no index of a checkpoint's parts: it has no readable weight_map."
        ) from error
    weights: dict[str, Tensor] = {}
    for part in parts:
        if not isinstance(part, str) or Path(part).name != part:
            raise BadInputError(f'{path!r} lists the part {part!r}, which is no file beside it.')
        file = str(Path(path).parent / part)
        weights |= weights_of(_read_file(file), file)
    missing = [name for name in listed if name not in weights]
    if missing:
        raise BadInputError(
            f'The parts of {path!r} lack {first_few(missing)}; download all of them again.'
        )
    return dict(state_dict=weights)


def _check_file(path: str) -> bool:
    """Refuses files that cannot be opened, and archives that unpack to more than their size.

    Returns:
        Whether it is a zip archive, as torch writes them since version 1.6.
    """
    if os.path.isdir(path):
        raise BadInputError(say_folder(path))
    try:
        if os.path.exists(path) and not os.path.isfile(path):  # a pipe would never end
            raise BadInputError(f'The checkpoint {path!r} is no file; name one.')
        with open(path, 'rb') as file:
            zipped = is_zipfile(file)
            entries = ZipFile(file).infolist() if zipped else []
        size = os.path.getsize(path)
    except FileNotFoundError as error:
        raise BadInputError(f'The checkpoint {path!r} does not exist.') from error
    except OSError as error:
        raise BadInputError(
            f'The checkpoint {path!r} cannot be read ({error.strerror}); see to its rights and its '
            'disk.'
        ) from error
    except (BadZipFile, ValueError, NotImplementedError, EOFError) as error:
        raise DamagedFileError(
            f'{path!r} is truncated or not a PyTorch checkpoint; download or copy it again.'
        ) from error
    stored = all(entry.compress_type == ZIP_STORED for entry in entries)
    if not stored or sum(entry.file_size for entry in entries) > size:
        raise BadInputError(
            say_other_kind(path)
            or f'{path!r} is packed, as torch.save never does, and would unpack to more than it '
            f'is; {SAVE_WEIGHTS}.'
        )
    return zipped


def _refused(message: str) -> str | None:
    """What torch's safe unpickler would not make, from its error; None for other errors."""
    named = re.search(r'GLOBAL (\S+)', message)
    if named:
        return named[1]
    made = re.search(r"but got <(?:class|function) '?([^\s'>]+)", message)
    called = re.search(
        r'unrecognized function <?(?:built-in function |class |function )?(\S+)', message
    )
    found = made or called
    return found[1].strip("'<>") if found and 'Unsupported operand' not in message else None


def _unsafe(path: str, what: str) -> UnsafeContentError:
    error = UnsafeContentError(what)
    error.args = (
        f'The checkpoint {path!r} holds {what}, which is not safe to load; {SAVE_WEIGHTS}.',
    )
    return error


def _is_whole(path: str) -> bool:
    """Whether every part of an archive has its checksum: not one that a kill or a disk broke."""
    try:
        with ZipFile(path) as archive:
            return archive.testzip() is None
    except (OSError, BadZipFile, ValueError, NotImplementedError, EOFError):
        return False


def _first_line(error: Exception) -> str:
    text = str(error)
    if 'Unsupported operand' in text:
        return 'it has another pickle protocol than 2'
    told = re.search(r'WeightsUnpickler error:\s*(\S.*)', text)
    return told[1] if told else next(iter(text.split('\n')), '') or type(error).__name__


def find_latest(work_dir: str, folder: Path | None = None) -> tuple[str | None, list[Path]]:
    """Finds the checkpoint from which a killed run can continue.

    MMEngine goes by the file ``last_checkpoint``, which a kill can leave unwritten, empty, behind
    by one, or naming a checkpoint that was just removed. So the newest whole checkpoint is taken,
    whether or not its content can be loaded: one that is whole and refused is for the user to see
    to, never a reason to start over.

    Args:
        work_dir: The run's work directory.
        folder: Where its checkpoints are, if not there.

    Returns:
        The checkpoint, None where there is none to go on from; and the newer ones that are damaged.

    Raises:
        BadInputError: There were checkpoints, and none is left whole.
    """
    own = Path(work_dir)
    found = (path for place in dict.fromkeys((own, folder or own)) for path in place.glob('*.pth'))
    numbered = [path for path in found if re.fullmatch(r'(epoch|iter)_\d+', path.stem)]
    numbered.sort(key=lambda path: -_number(path))
    named = _named(own)
    if named is not None and named.exists():
        # A kill can leave a newer one unnamed; one of a higher number and older is of another run.
        since = named.stat().st_mtime
        newer = [p for p in numbered if _number(p) > _number(named) and _changed(p) >= since]
        numbered = [*newer, named, *(p for p in numbered if p not in newer and p != named)]
    damaged = []
    for path in numbered:
        if _is_damaged(path):
            damaged.append(path)
        else:
            return str(path), damaged
    if named is not None and not named.exists():
        raise BadInputError(
            f'{str(own / "last_checkpoint")!r} names {str(named)!r}, which is not there, and no '
            'other checkpoint of the run is whole; bring it back, or delete last_checkpoint to '
            'start a new run.'
        )
    if len(damaged) > 1:  # a single one is what a kill in the first checkpoint's writing leaves
        raise BadInputError(
            f'None of the checkpoints in {work_dir!r} can be read '
            f'({first_few([path.name for path in damaged])} are damaged); copy them again, or '
            'choose another work directory.'
        )
    return None, damaged


def latest_checkpoint(work_dir: str) -> str | None:
    """The checkpoint that :func:`find_latest` finds."""
    return find_latest(work_dir)[0]


def _named(folder: Path) -> Path | None:
    """What ``last_checkpoint`` names; the folder's own file where the folder was moved."""
    try:
        text = (folder / 'last_checkpoint').read_text().strip()
    except (FileNotFoundError, NotADirectoryError, UnicodeDecodeError):
        return None
    except OSError as error:
        raise BadInputError(
            f'{str(folder / "last_checkpoint")!r} cannot be read ({error.strerror}); see to its '
            'rights and its disk.'
        ) from error
    if not text or '\0' in text or any(len(part.encode()) > 255 for part in Path(text).parts):
        return None  # no name of a file
    own = folder / Path(text).name
    return own if own.is_file() else Path(text)


def _number(path: Path) -> int:
    digits = re.search(r'(\d+)$', path.stem)
    return int(digits[1][-18:]) if digits else -1


def _changed(path: Path) -> float:
    return path.stat().st_mtime


def _is_damaged(path: Path) -> bool:
    try:
        read_checkpoint(str(path))
    except DamagedFileError:
        return True
    except BadInputError:
        return False
    return False
