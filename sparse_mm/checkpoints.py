"""Reading checkpoints: safely, and with one clear sentence where that cannot be done.

torch unpickles with ``weights_only=True``: only tensors, plain containers and what
:mod:`sparse_mm.safe_classes` declares. Absent, damaged, refused and unreadable are different
things here: only a damaged file is ever passed over for an older one, and none is written over.
"""

import os
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED, BadZipFile, ZipFile, is_zipfile

import torch
from mmengine.runner.checkpoint import CheckpointLoader
from torch import Tensor

from sparse_mm.errors import SAVE_WEIGHTS, BadInputError, DamagedFileError, UnsafeContentError
from sparse_mm.safe_classes import safe_classes_declared
from sparse_mm.weights_files import SUFFIX, read_safetensors


def read_checkpoint(path: str) -> dict[str, Any]:
    """Reads a checkpoint onto the CPU.

    Args:
        path: A file, or an address that MMEngine's loaders know (``https://``, ``open-mmlab://``,
            …).

    Returns:
        The checkpoint's dictionary; of a ``.safetensors`` file its tensors.

    Raises:
        DamagedFileError: The file is cut short, or no checkpoint at all.
        UnsafeContentError: It holds objects that are not safe to load; the sentence names them.
        BadInputError: It is missing, cannot be opened, or holds no dictionary.
    """
    remote = '://' in path
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


def _check_file(path: str) -> bool:
    """Refuses what cannot be opened, and archives that would unpack to more than they are.

    Returns:
        Whether it is a zip archive, as torch writes them since version 1.6.
    """
    if os.path.isdir(path):
        raise BadInputError(
            f'The checkpoint {path!r} is a folder; name the file, or join the parts with the code '
            'that wrote them.'
        )
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
            f'{path!r} is packed, as torch.save never does, and would unpack to more than it is; '
            f'{SAVE_WEIGHTS}.'
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


def find_latest(work_dir: str) -> tuple[str | None, list[Path]]:
    """Finds where a killed run can go on, whatever it was writing at that moment.

    MMEngine goes by the file ``last_checkpoint``, which a kill can leave unwritten, empty, behind
    by one, or naming a checkpoint that was just removed. So the newest whole checkpoint is taken,
    whether or not its content can be loaded: one that is whole and refused is for the user to see
    to, never a reason to start over.

    Args:
        work_dir: The run's work directory.

    Returns:
        The checkpoint, None where there is none to go on from; and the newer ones that are damaged.

    Raises:
        BadInputError: There were checkpoints, and none is left whole.
    """
    folder = Path(work_dir)
    numbered = [
        path for path in folder.glob('*.pth') if re.fullmatch(r'(epoch|iter)_\d+', path.stem)
    ]
    numbered.sort(key=lambda path: -_number(path))
    named = _named(folder)
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
            f'{str(folder / "last_checkpoint")!r} names {str(named)!r}, which is not there, and no '
            'other checkpoint of the run is whole; bring it back, or delete last_checkpoint to '
            'start the run anew.'
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


def weights_of(checkpoint: Mapping[str, Any], path: str) -> dict[str, Tensor]:
    """Finds the named weights in a checkpoint.

    Checkpoints of MMEngine, of the original Swin, and ``state_dict()`` alone are understood.

    Raises:
        BadInputError: There are none.
    """
    state = checkpoint.get('state_dict', checkpoint.get('model', checkpoint))
    if isinstance(state, Mapping):
        weights = {
            name.removeprefix('module.'): value
            for name, value in state.items()
            if isinstance(name, str) and isinstance(value, Tensor)
        }
        if weights:
            return weights
    raise BadInputError(f'{path!r} holds no named weights: it is no checkpoint of a model.')


def part_of(weights: Mapping[str, Tensor], part: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Takes a part's weights, such as a backbone's, out of a whole model's, by their names.

    Args:
        weights: Of the model.
        part: ``state_dict()`` of the part.

    Returns:
        The weights under the prefix that has most of the part's names, by those; all of them where
        none has any.

    Raises:
        BadInputError: Several parts have these names.
    """
    counts: Counter[str] = Counter()
    for name, value in weights.items():
        for place in (0, *(match.end() for match in re.finditer(r'\.', name))):
            if name[place:] in part:  # of parts with the same names, the one with the same shapes
                counts[name[:place]] += 2 if value.shape == part[name[place:]].shape else 1
    (most, number), *others = counts.most_common(2) or [('', 0)]
    if others and others[0][1] == number:
        raise BadInputError(
            f'the weights of this part stand there twice, as {most + "…"!r} and '
            f'{others[0][0] + "…"!r}; keep those that are meant'
        )
    return {
        name.removeprefix(most): value for name, value in weights.items() if name.startswith(most)
    }


def mismatches(weights: Mapping[str, Tensor], model_state: Mapping[str, Tensor]) -> list[str]:
    """Names the weights of other shapes than the model's: ``name (2, 3) instead of (4, 3)``."""
    return [
        f'{name} {tuple(value.shape)} instead of {tuple(model_state[name].shape)}'
        for name, value in weights.items()
        if name in model_state and value.shape != model_state[name].shape
    ]


def first_few(names: list[str], count: int = 3) -> str:
    """Joins the first few names, and counts the rest."""
    more = f' and {len(names) - count} more' if len(names) > count else ''
    return ', '.join(names[:count]) + more
