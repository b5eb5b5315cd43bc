"""Builds, counts and times every row of the papers' tables, beside the papers' figures.

Nothing is trained and no data set is needed: accuracies are those of the papers, and marked as
such. Rows of a table take turns, so that their ratios are reliable on a noisy machine, too.
"""

import argparse
import json
import os
import shlex
import sys
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # Python adds a script's folder alone

from sparse_mm.engine.checks import check_device_name, check_work_dir, report
from sparse_mm.engine.command_line import finite, run, whole
from sparse_mm.engine.files import write_atomically
from sparse_mm.errors import BadInputError
from sparse_mm.search.timing import DTYPES
from tools.benchmarks.comparison import Measurement, compare, select
from tools.benchmarks.comparison_pictures import draw, draw_figure_3
from tools.benchmarks.comparison_report import FIGURE_3, markdown, page
from tools.benchmarks.passes import COMPILE_MODES
from tools.benchmarks.tables import TABLES

FORMAT = 'sparse_mm comparison, version 1'


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--table',
        nargs='+',
        choices=[*TABLES, 'all'],
        default=['all'],
        help='tables to build (default: all)',
    )
    parser.add_argument(
        '--only', nargs='+', default=[], metavar='ROW', help='names of the rows to measure'
    )
    parser.add_argument(
        '--device',
        default='cuda' if torch.cuda.is_available() else 'cpu',
        help='device to measure on',
    )
    parser.add_argument(
        '--dtype', choices=list(DTYPES), default='float32', help='dtype of autocast'
    )
    parser.add_argument('--batch', type=whole, help="images to time at once (default: the table's)")
    parser.add_argument('--threads', type=whole, help='number of CPU threads')
    parser.add_argument(
        '--compile', choices=COMPILE_MODES, default='none', help='mode of torch.compile'
    )
    parser.add_argument(
        '--seconds',
        type=finite,
        default=60,
        help='about how long to time each table (default: 60), three rounds at least',
    )
    parser.add_argument(
        '--count-only',
        action='store_true',
        help='count only, without times and memory; takes seconds',
    )
    parser.add_argument('--json', metavar='FILE', help='file to write the figures to')
    parser.add_argument('--markdown', metavar='FILE', help='page to write, with all tables')
    parser.add_argument('--pictures', metavar='FOLDER', help='folder to draw the pictures into')
    parser.add_argument(
        '--read',
        nargs='+',
        metavar='FILE',
        help='files of earlier runs (--json) to report again, together, instead of measuring',
    )
    return parser.parse_args()


def check(args: argparse.Namespace) -> None:
    """Refuses what cannot be measured or written, before anything is built.

    Raises:
        BadInputError: A number, a device or a file does not fit.
    """
    problems = check_device_name(args.device)
    counts = [n for n in (args.batch, args.threads) if n is not None]
    if min(counts, default=1) < 1 or args.seconds <= 0:
        problems.append('--batch and --threads must be at least 1, --seconds above 0.')
    files = dict(json=args.json, markdown=args.markdown)
    folders = {name: str(Path(path).parent) for name, path in files.items() if path}
    folders |= dict(pictures=args.pictures) if args.pictures else {}
    for name, folder in folders.items():
        problems += check_work_dir(folder, f'--{name}')
    if args.read and (args.only or args.count_only or args.table != ['all']):
        problems.append(
            '--read reports what was measured; leave out --table, --only, --count-only.'
        )
    report(problems)


def read(paths: list[str]) -> tuple[list[dict[str, Any]], list[str]]:
    """Reads what earlier runs found, and their commands.

    Raises:
        BadInputError: A file is not of that kind.
    """
    results: dict[str, dict[str, Any]] = {}
    commands = []
    for path in paths:
        try:
            found = json.loads(Path(path).read_text())
            if found['format'] != FORMAT:
                raise KeyError('format')
            results.update({result['table']: result for result in found['tables']})
            commands.append(found['command'])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BadInputError(
                f'--read {path}: no comparison can be read from it; make one with --json.'
            ) from error
    return [results[name] for name in TABLES if name in results], commands


def measure(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Measures the tables, and prints each as soon as it is there."""
    wanted = list(TABLES) if 'all' in args.table else args.table
    chosen = select({name: TABLES[name] for name in wanted}, args.only)
    how = Measurement(
        args.device, args.dtype, args.compile, args.batch, args.seconds, args.count_only
    )
    results = []
    for name, rows in chosen.items():
        results.append(compare(name, TABLES[name], rows, how))
        print(f'{results[-1]["title"]}\n\n{markdown(results[-1])}\n', flush=True)
    return results


def write_pictures(results: list[dict[str, Any]], folder: Path) -> dict[str, str]:
    """Draws what there is to draw, one picture a table, and gives their names by table."""
    names = {}
    pictures = {result['table']: draw(result) for result in results}
    for table, picture in {**pictures, FIGURE_3: draw_figure_3(results)}.items():
        if picture is not None:
            names[table] = f'comparison_{table}.png'
            write_atomically(folder / names[table], picture)
    return names


def main() -> None:
    """Prints the tables; writes the files and the pictures."""
    args = parse_args()
    check(args)
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    if args.read:
        results, commands = read(args.read)
        for result in results:
            print(f'{result["title"]}\n\n{markdown(result)}\n')
    else:
        results = measure(args)
        commands = [f'python tools/analysis_tools/compare_models.py {shlex.join(sys.argv[1:])}']
    if args.json:
        found = dict(format=FORMAT, command='\n'.join(commands), tables=results)
        write_atomically(Path(args.json), json.dumps(found, indent=1))
    pictures = write_pictures(results, Path(args.pictures)) if args.pictures else {}
    if args.markdown:
        links = {}
        for table, name in pictures.items():
            page_folder = Path(args.markdown).resolve().parent
            picture = (Path(args.pictures) / name).resolve()
            links[table] = Path(os.path.relpath(picture, page_folder)).as_posix()
        write_atomically(Path(args.markdown), page(results, '\n'.join(commands), links))


if __name__ == '__main__':
    run(main)
