"""Starts command lines of the tools from a process that has imported everything already.

Run as a script it is that process: it takes one JSON object a line, forks, and the child becomes
the command line in a session of its own, as a shell's would be. A kill hits a real process; what is
spared is the ten seconds that each import of torch and MMEngine takes.
"""

import json
import os
import runpy
import sys
import traceback

PARTS = (
    *('sparse_mm', 'mmengine.runner', 'matplotlib.figure', 'matplotlib.backends.backend_agg'),
    *('tools.train', 'tools.search', 'tests.engine.search.toy', 'tests.faults.moments'),
)


def become(order: dict) -> None:
    """Makes this child run a command line."""
    os.setsid()
    os.chdir(order['cwd'])
    os.environ.update(order['env'])
    log = os.open(order['log'], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(log, stream)
    os.close(log)
    sys.argv = order['command']
    from tests.faults.moments import watch

    watch()
    runpy.run_path(sys.argv[0], run_name='__main__')


def answer(order: dict) -> object:
    """Starts a command line, or returns the status of one; the child itself gets None."""
    if 'ended' in order:
        pid, status = os.waitpid(order['ended'], os.WNOHANG)
        return dict(code=os.waitstatus_to_exitcode(status) if pid else None)
    pid = os.fork()
    return dict(pid=pid) if pid else None


def main() -> None:
    """Reads commands until its input ends."""
    for name in PARTS:
        __import__(name)
    orders, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), 'w')
    print(json.dumps('ready'), file=answers, flush=True)
    while line := orders.readline():
        order = json.loads(line)
        told = answer(order)
        if told is None:
            orders.close()
            answers.close()
            return become(order)
        print(json.dumps(told), file=answers, flush=True)


if __name__ == '__main__':
    try:
        main()
    except Exception:
        traceback.print_exc()
        raise SystemExit(1) from None
