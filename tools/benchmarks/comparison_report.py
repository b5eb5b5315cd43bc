"""A comparison as Markdown: our figures, the paper's beside them, and why they differ."""

from collections.abc import Sequence
from typing import Any

from tools.benchmarks.comparison import Result

LARGE_DIFFERENCE = 0.05
FIGURE_3 = 'figure3'
"""Names the picture of accuracy over latency, which shows two tables."""
Cells = list[str]


def paper_speed(row: Result, baseline: Result) -> float | None:
    """How much faster than the baseline a row is in the paper, if it says."""
    ours, theirs = row['paper'], baseline['paper']
    if 'throughput' in ours and 'throughput' in theirs:
        return ours['throughput'] / theirs['throughput']
    if 'ms' in ours and 'ms' in theirs:
        return theirs['ms'] / ours['ms']
    return None


def unexplained(result: Result) -> list[str]:
    """Rows whose counts differ from the paper's by more than 5 % and have no note.

    What the paper's rounding may hide is no difference.
    """
    names = []
    for row in result['rows']:
        for key, found in (('gmacs', row['in_the_papers_way']), ('params', row['params'] / 1e6)):
            printed = row['paper'].get(key)
            if printed is None or row['note']:
                continue
            step = 10.0 ** -len(str(printed).partition('.')[2])
            if abs(found - printed) - step / 2 > LARGE_DIFFERENCE * printed:
                names.append(row['name'])
    return names


def markdown(result: Result) -> str:
    """Makes the table of a result, with its notes."""
    rows = result['rows']
    numbers = _note_numbers(rows)
    columns = [_names(rows, numbers), *_counts(result), *_speeds(result), *_others(result)]
    lines = [[head for head, _ in columns], ['---'] * len(columns)]
    lines += [[cells[i] for _, cells in columns] for i in range(len(rows))]
    table = '\n'.join(f'| {" | ".join(line)} |' for line in lines)
    notes = [f'{number}. {note}' for note, number in numbers.items()]
    return '\n\n'.join(filter(None, [table, '\n'.join(notes), _reading(result)]))


def page(results: Sequence[Result], command: str, pictures: dict[str, str]) -> str:
    """Makes the documentation's page.

    Args:
        results: The tables.
        command: What measured them.
        pictures: For each table with one, the picture's path; and :data:`FIGURE_3`'s.
    """
    parts = [
        '# Every system of the papers’ tables, side by side',
        'Written by',
        f'```bash\n{command}\n```',
        HOW_TO_READ,
    ]
    for result in results:
        parts += [f'## {result["title"]}', f'{result["source"]}.', markdown(result)]
        if result['table'] in pictures:
            parts.append(f'![{result["title"]}]({pictures[result["table"]]})')
    if FIGURE_3 in pictures:
        parts += [
            '## Less resolution, less width, more sparsity',
            'Figure 3 of SparseViT (Chen et al., CVPR 2023), drawn with the latencies of the '
            'tables above; the accuracies are the paper’s.',
            f'![Less resolution, less width, more sparsity]({pictures[FIGURE_3]})',
        ]
    return '\n\n'.join(parts) + '\n'


HOW_TO_READ = """Columns that say *paper* repeat what the papers print; everything else was counted
and measured here. Accuracies are the papers’ alone: nothing was trained for these tables.

- **GMACs** are the multiply-accumulates that PyTorch executes in one pass: matrix products,
  convolutions, both products of attention; padding counts, what is skipped does not. They are
  counted on the meta device, where nothing hides: on a CPU, PyTorch’s counter misses fused
  attention, and the fast path of `nn.MultiheadAttention`, a third of a Vision Transformer.
- **as the paper counts** is the same count by the paper’s convention, which the notes name; the
  **difference** is between that and the paper’s figure.
- **faster by** compares throughputs, of rows that took turns on one machine: the median of the
  rounds, with quartiles. The paper’s column follows from its images per second or milliseconds, on
  its GPU.
- Parameters are those of the part that is counted."""


def _names(rows: Sequence[Result], numbers: dict[str, int]) -> tuple[str, Cells]:
    return 'row', [
        row['name'] + (f' [{numbers[row["note"]]}]' if row['note'] else '') for row in rows
    ]


def _note_numbers(rows: Sequence[Result]) -> dict[str, int]:
    notes = dict.fromkeys(row['note'] for row in rows if row['note'])
    return {note: i for i, note in enumerate(notes, start=1)}


def _counts(result: Result) -> list[tuple[str, Cells]]:
    rows, printed = result['rows'], result['columns']
    columns = [('input', [_input(row) for row in rows])]
    columns.append(('parameters (M)', [f'{row["params"] / 1e6:.2f}' for row in rows]))
    if 'params' in printed:
        columns.append(('paper', [_printed(row, 'params') for row in rows]))
    columns.append((_gmacs(result), [f'{row["gmacs"]:.2f}' for row in rows]))
    if 'gmacs' not in printed:
        return columns
    if any(row['in_the_papers_way'] != row['gmacs'] for row in rows):
        columns.append(('as the paper counts', [f'{row["in_the_papers_way"]:.2f}' for row in rows]))
    columns.append((f'{printed["gmacs"]}, paper', [_printed(row, 'gmacs') for row in rows]))
    return [*columns, ('difference', [_difference(row) for row in rows])]


def _difference(row: Result) -> str:
    """How far our count, by the paper's convention, is from the paper's."""
    printed = row['paper'].get('gmacs')
    if printed is None:
        return '–'
    return f'{row["in_the_papers_way"] / printed - 1:+.1%}'.replace('-', '−')


def _gmacs(result: Result) -> str:
    return 'GMACs' if result['counted'] == 1 else f'GMACs of {result["counted"]} images'


def _input(row: Result) -> str:
    sides = '×'.join(map(str, row['image_size']))
    return sides if row['frames'] is None else f'{row["frames"]}×{sides}'


def _printed(row: Result, key: str) -> str:
    value = row['paper'].get(key)
    return '–' if value is None else str(value)


def _speeds(result: Result) -> list[tuple[str, Cells]]:
    rows = result['rows']
    named = {row['name']: row for row in rows}
    columns = []
    if 'conditions' in result:
        cells = []
        for row in rows:
            low, high = row['faster_quartiles']
            cells.append(f'{row["faster"]:.2f}× ({low:.2f}–{high:.2f})')
        columns.append((f'faster than {result["baseline"]} by', cells))
        if result['conditions']['device'] != 'CPU':
            columns.append(('ms', [f'{row["median_ms"]:.2f}' for row in rows]))
        if 'peak_memory' in rows[0]:
            mib = [f'{row["peak_memory"] / 2**20:.0f} MiB' for row in rows]
            columns.append(('peak memory', mib))
    if result['baseline'] in named:
        speeds = [paper_speed(row, named[result['baseline']]) for row in rows]
        if any(speed is not None for speed in speeds):
            cells = ['–' if speed is None else f'{speed:.2f}×' for speed in speeds]
            columns.append(('faster by, paper', cells))
    return columns


def _others(result: Result) -> list[tuple[str, Cells]]:
    """The paper's columns that nothing of ours stands beside, and its own speeds."""
    return [
        (f'{head}, paper', [_printed(row, key) for row in result['rows']])
        for key, head in result['columns'].items()
        if key not in ('gmacs', 'params')
    ]


def _reading(result: Result) -> str:
    """How the paper counts, and under which conditions ours was measured."""
    lines: list[str] = []
    by_convention: dict[str, list[str]] = {}
    for row in result['rows']:
        if 'gmacs' in row['paper']:
            by_convention.setdefault(row['convention'], []).append(row['name'])
    usual = max(by_convention, key=lambda convention: len(by_convention[convention]), default='')
    for convention, names in by_convention.items():
        rest = 'all rows' if len(by_convention) == 1 else 'all other rows'
        whose = rest if convention == usual else ', '.join(names)
        lines.append(f'The paper counts {convention}: {whose}.')
    lines.append(result['note'])
    if 'conditions' in result:
        lines.append(_conditions(result['conditions']))
    return '\n'.join(f'- {line}' for line in lines if line)


def _conditions(conditions: dict[str, Any]) -> str:
    memory = conditions.get('memory')
    text = ', '.join(f'{key}: {value}' for key, value in conditions.items() if key != 'memory')
    return f'Measured with {text}' + (f'; {memory}' if memory else '') + '.'
