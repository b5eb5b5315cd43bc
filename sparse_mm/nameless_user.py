"""Accounts without a name, as in a container that runs under a number (``docker --user 12345``).

PyTorch calls the folder of its compiler's cache by the user's name, and asks for it as soon as
``torch._dynamo`` is imported, which torchvision does; yapf, which MMEngine's configs import, asks
for the home folder. Where there is none both end in an error. A number serves as a name, and a
folder for what passes as a home; what the user has chosen stays.
"""

import getpass
import os
import tempfile


def name_user_by_number() -> None:
    """Names the user, and a home, in the environment where other programs could not."""
    try:
        getpass.getuser()
    except (KeyError, OSError):  # the latter since Python 3.13
        os.environ['USER'] = str(os.getuid())
    if os.path.expanduser('~') == '~':
        os.environ['HOME'] = os.path.join(tempfile.gettempdir(), f'home_{os.getuid()}')
