"""Accounts without a name, as in a container that runs under a number (``docker --user 12345``).

PyTorch calls the folder of its compiler's cache by the user's name, and asks for it as soon as
``torch._dynamo`` is imported, which torchvision does. Without a name that ends in a KeyError. A
folder that is called by the number serves as well; one that the user has chosen stays.
"""

import getpass
import os
import tempfile

VARIABLE = 'TORCHINDUCTOR_CACHE_DIR'


def name_cache_by_number() -> None:
    """Names the folder of the compiler's cache where PyTorch could not."""
    if VARIABLE in os.environ:
        return
    try:
        getpass.getuser()
    except (KeyError, OSError):  # the latter since Python 3.13
        folder = f'torchinductor_{os.getuid()}'
        os.environ[VARIABLE] = os.path.join(tempfile.gettempdir(), folder)
