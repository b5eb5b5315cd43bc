"""Describes files that were given as a checkpoint but are something else."""

import os
import re
from zipfile import BadZipFile, ZipFile

HEAD = 1024
INDEX = '.index.json'
WEIGHTS_FILES = '.index.json', '.safetensors', '.pth', '.pt', '.bin', '.ckpt'


def say_other_kind(path: str) -> str | None:
    """Describes a file that torch cannot read as a checkpoint.

    Args:
        path: A file that can be opened.

    Returns:
        A sentence for what is known; None for anything else, such as a broken checkpoint.
    """
    with open(path, 'rb') as file:
        head = file.read(HEAD)
    if head.startswith(b'version https://git-lfs.github.com/spec'):
        return (
            f'{path!r} is a pointer of Git LFS, not the file that it stands for; fetch that by '
            '`git lfs pull` in its repository.'
        )
    text = head.lstrip(b'\xef\xbb\xbf \t\r\n').lower()
    if text.startswith((b'<!doctype', b'<html', b'<?xml', b'<head')):
        return (
            f'{path!r} is a web page, as a refused download or a link to a page gives it; download '
            'the checkpoint itself.'
        )
    if text.startswith(b'{'):
        return f'{path!r} is a text of JSON, not a checkpoint; name the file with the weights.'
    packed = head.startswith((b'\x1f\x8b', b'BZh', b'\xfd7zXZ', b'Rar!', b'7z\xbc\xaf'))
    if packed or head[257:262] == b'ustar':
        return f'{path!r} is a packed archive; unpack it, and name the checkpoint that is in it.'
    if head.startswith(b'\x89HDF'):
        return f'{path!r} is an HDF5 file (Keras), which holds no weights of PyTorch.'
    return _say_zip(path)


def _say_zip(path: str) -> str | None:
    try:
        with ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, BadZipFile, ValueError, NotImplementedError, EOFError):
        return None
    inner = {name.partition('/')[2] for name in names}
    if 'constants.pkl' in inner or any(name.startswith('code/') for name in inner):
        return (
            f'{path!r} is a TorchScript program, not a checkpoint; save its weights alone, '
            "torch.save(torch.jit.load('…').state_dict(), …)."
        )
    if 'archive_format' in inner or any(name.startswith('models/') for name in inner):
        return (
            f'{path!r} is a program of torch.export, not a checkpoint; take the checkpoint that it '
            'was exported from.'
        )
    if names and all(name.endswith('.npy') for name in names):
        return f"{path!r} is an archive of numpy's arrays, not a checkpoint of PyTorch."
    if not any(name.endswith('data.pkl') for name in names):
        return (
            f'{path!r} is a zip archive of other files, not a checkpoint; unpack it, and name the '
            'checkpoint if there is one in it.'
        )
    return None


def say_folder(path: str) -> str:
    """Says that a checkpoint is a folder, and which file in it is meant."""
    try:
        found = sorted(name for name in os.listdir(path) if name.endswith(WEIGHTS_FILES))
    except OSError:
        found = []
    # An index stands for the parts that it lists.
    found = [n for n in found if n.endswith(INDEX)] or [n for n in found if not is_part(n)]
    if len(found) == 1:
        return (
            f'The checkpoint {path!r} is a folder; name the file in it, '
            f'{os.path.join(path, found[0])!r}.'
        )
    return (
        f'The checkpoint {path!r} is a folder; name the file, or join the parts with the code that '
        'wrote them.'
    )


def is_part(path: str) -> bool:
    """Whether a name is that of one part of several: ``model-00001-of-00002.safetensors``."""
    return re.search(r'-\d+-of-\d+\.\w+$', path) is not None
