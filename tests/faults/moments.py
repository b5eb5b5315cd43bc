"""The moments of a run at which it can be killed, numbered, and a kill at one of them.

A moment is a file of the work directory that is opened for writing, renamed or removed, an exchange
of the processes, a picture that is drawn, latencies that are measured, a step of the training. The
environment selects: ``MOMENTS`` names a file that lists all of them, ``KILL`` is the process and
the number of the one that ends it. If a file is about to be renamed, its second half is cut off
first, as if the kill had come while it was written.
"""

import functools
import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sparse_mm.search.cost import BackboneShape, LatencyTable
from sparse_mm.search.space import RatioSpace

KINDS = dict(
    checkpoint=r'\.pth|last_checkpoint',
    state=r'state\.json|history\.csv|best.*\.json',
    table=r'latency_table\.json|measured',
    picture=r'pareto\.png|drawn',
    exchange='exchange',
    step='step',
)


def kind_of(moment: str) -> str | None:
    """The kind of a moment."""
    return next((kind for kind, names in KINDS.items() if re.search(names, moment)), None)


class Moments:
    """Counts the moments of this process."""

    def __init__(self) -> None:
        self.rank = os.environ.get('RANK', '0')
        self.told = os.environ.get('MOMENTS')
        rank, _, number = os.environ.get('KILL', '').partition(' ')
        self.last = int(number) if number and rank == self.rank else None
        self.count = 0

    def pass_by(self, moment: str, torn: str | None = None) -> None:
        """Is called at each moment; ends the process at the selected one."""
        if self.told:
            with open(f'{self.told}.{self.rank}', 'a') as file:
                file.write(moment + '\n')
        if self.count == self.last:
            if torn is not None:
                os.truncate(torn, os.path.getsize(torn) // 2)
            os.kill(os.getpid(), signal.SIGKILL)
        self.count += 1

    def file_event(self, event: str, arguments: tuple) -> None:
        """Finds the moments among Python's operations on files."""
        if event not in ('open', 'os.rename', 'os.remove') or not isinstance(arguments[0], str):
            return
        path = Path(arguments[0])
        if 'run' not in path.parts or kind_of(path.name) is None:
            return
        if event == 'open' and not (isinstance(arguments[2], int) and arguments[2] & os.O_CREAT):
            return
        name = re.sub(r'\.\d+$', '', path.name)  # the process ID
        self.pass_by(f'{event} {name}', str(path) if event == 'os.rename' else None)

    def before(self, name: str, function: Callable) -> Callable:
        """Wraps a function so that each call is a moment."""

        @functools.wraps(function)
        def called(*args: Any, **kwargs: Any) -> Any:
            self.pass_by(name)
            return function(*args, **kwargs)

        return called


def watch() -> None:
    """Makes this process count its moments, if an environment variable is set.

    Latencies are counts of windows then: a measured one is never the same twice, nor is the winner
    by it.
    """
    if not os.environ.get('MOMENTS') and not os.environ.get('KILL'):
        return
    import matplotlib.figure
    from mmengine.optim import OptimWrapper

    from sparse_mm import ranks
    from sparse_mm.engine.search import tables

    moments = Moments()
    sys.addaudithook(lambda event, arguments: moments.file_event(event, arguments))
    for name in ('all_gather_object', 'broadcast_object_list'):
        setattr(ranks, name, moments.before('exchange', getattr(ranks, name)))
    figure = matplotlib.figure.Figure
    figure.savefig = moments.before('drawn', figure.savefig)
    OptimWrapper.update_params = moments.before('step', OptimWrapper.update_params)
    tables.measure_table = measure_macs(moments)


def measure_macs(moments: Moments) -> Callable:
    """Replaces the measurement by a table whose milliseconds are the kept windows."""

    def measure(
        backbone: Any, shape: BackboneShape, space: RatioSpace, *args: Any, **kwargs: Any
    ) -> LatencyTable:
        moments.pass_by('measured')
        ratios = sorted({0.0, *(choice for choices in space.choices for choice in choices)})
        pairs = [
            [
                {kept: size * kept / stage.num_windows for kept in map(stage.kept, ratios)}
                for size in stage.pair_sizes()
            ]
            for stage in shape.stages
        ]
        return LatencyTable(
            image_size=shape.image_size,
            batch=shape.batch,
            stem_ms=1.0,
            stages=[dict(dense_ms=0.1, sparse_ms=0.1, pairs=each) for each in pairs],
            windows=[stage.num_windows for stage in shape.stages],
            channels=[stage.channels for stage in shape.stages],
            conditions=dict(spread=0.0),
        )

    return measure
