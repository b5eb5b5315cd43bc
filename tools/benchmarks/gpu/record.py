"""What the kit found, on disk at every moment: JSON for programs, Markdown for people."""

import json
from pathlib import Path
from typing import Any

from sparse_mm.engine.files import write_atomically

Row = dict[str, Any]


class Record:
    """Collects what the sections find, and writes it as it comes.

    Args:
        folder: Where ``gpu_check.json`` and ``gpu_check.md`` go.
        about: What holds for the whole run.
    """

    def __init__(self, folder: Path, about: Row) -> None:
        self.folder = folder
        self.found: dict[str, Any] = dict(about, sections={})

    def begin(self, name: str, title: str, share: float) -> None:
        """Begins a section that has ``share`` seconds."""
        self.found['sections'][name] = dict(
            title=title, status='running', share_s=round(share, 1), rows=[], notes=[]
        )
        self.write()

    def add(self, name: str, kind: str, value: Any) -> None:
        """Adds a row, or a note, to a section."""
        self.found['sections'][name][f'{kind}s'].append(value)
        self.write()

    def end(self, name: str, status: str, seconds: float, reason: str = '') -> None:
        """Ends a section.

        Args:
            name: Of the section.
            status: ``'done'``, ``'failed'``, ``'cut'`` (its time was over) or ``'skipped'``.
            seconds: That it took.
            reason: Why it failed: a traceback.
        """
        section = self.found['sections'].setdefault(name, dict(title='', rows=[], notes=[]))
        section.update(status=status, seconds=round(seconds, 1))
        if reason:
            section['reason'] = reason
        self.write()

    @property
    def failures(self) -> list[str]:
        """The sections that failed, and the rows whose ``ok`` is false."""
        lines = []
        for name, section in self.found['sections'].items():
            if section['status'] == 'failed':
                last = section.get('reason', '').strip().splitlines()[-1:]
                lines.append(f'{name}: {"".join(last) or "failed"}')
            lines += [
                f'{name}: {next(iter(row.values()))}'
                for row in section['rows']
                if row.get('ok') is False
            ]
        return lines

    def write(self) -> None:
        """Writes both files."""
        text = json.dumps(self.found, indent=1, default=str)
        write_atomically(self.folder / 'gpu_check.json', text)
        write_atomically(self.folder / 'gpu_check.md', self.markdown())

    def markdown(self) -> str:
        """The whole as a page."""
        found = dict(self.found)
        sections = found.pop('sections')
        lines = ['# What tools/gpu_check.py found', '']
        if found.get('dry_run'):
            lines += ['**A dry run: its figures mean nothing.**', '']
        lines += [f'- {name}: {value}' for name, value in found.items()]
        failures = self.failures
        lines += ['', f'## {len(failures)} failures' if failures else '## No failure so far', '']
        lines += [f'- {failure}' for failure in failures]
        for name, section in sections.items():
            took = f', {section["seconds"]} s' if 'seconds' in section else ''
            lines += ['', f'## {name}: {section["title"]}', '', f'{section["status"]}{took}', '']
            lines += table(section['rows'])
            lines += ['', *(f'- {note}' for note in section['notes'])]
            if 'reason' in section:
                lines += ['', '```', section['reason'].rstrip(), '```']
        return '\n'.join(lines) + '\n'


def table(rows: list[Row]) -> list[str]:
    """A Markdown table of rows that may have different columns."""
    if not rows:
        return []
    columns = list(dict.fromkeys(name for row in rows for name in row))
    lines = [columns, ['---'] * len(columns)]
    lines += [[cell(row.get(name)) for name in columns] for row in rows]
    return [f'| {" | ".join(line)} |' for line in lines]


def cell(value: Any) -> str:
    """A value in as many digits as are of use."""
    if value is None:
        return ''
    if isinstance(value, bool):
        return 'ok' if value else 'FAILED'
    if isinstance(value, float):
        return f'{value:.1e}' if 0 < abs(value) < 1e-2 else f'{value:.4g}'
    return ' '.join(str(value).replace('|', '/').split())
