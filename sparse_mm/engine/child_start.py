"""Becomes a command that the kernel stops when its parent ends (Linux).

``python -I -S child_start.py PARENT COMMAND...``, where PARENT is the number of the process that
starts it. Between fork and exec of a program with threads no Python code may safely run, so this is
a program of its own; the setting outlives the exec. See :mod:`sparse_mm.engine.children`.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # of linux/prctl.h

if __name__ == '__main__':
    parent, *command = sys.argv[1:]
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM))
    if os.getppid() != int(parent):  # it ended before the setting was made
        sys.exit(128 + signal.SIGTERM)
    os.execvp(command[0], command)
