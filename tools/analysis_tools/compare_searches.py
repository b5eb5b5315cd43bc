"""Forwards to tools/benchmarks/compare_searches.py, until the next release."""

import runpy
import sys
from pathlib import Path

if __name__ == '__main__':
    print(
        f'{__file__} is deprecated and goes with the next release; use '
        'tools/benchmarks/compare_searches.py instead.',
        file=sys.stderr,
    )
    moved = Path(__file__).resolve().parents[1] / 'benchmarks' / 'compare_searches.py'
    runpy.run_path(str(moved), run_name='__main__')
