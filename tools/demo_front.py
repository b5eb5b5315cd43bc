"""The front of a search as an SVG plot with tooltips.

It is plain SVG inside HTML, without scripts or other files. Browsers show the ``<title>`` of the
point under the pointer or with the focus.
"""

import csv
import html
import json
from pathlib import Path

WIDTH, HEIGHT, MARGIN = 760, 380, 56
ROLES = {'dense': '#222', 'uniform': '#0f9d58', 'final': '#db4437'}  # of others: grey
STYLE = """
#front svg { max-width: 100%; height: auto; } #front circle { cursor: pointer; }
#front circle:hover, #front circle:focus { stroke: #222; stroke-width: 2; }
#front text { font: 12px system-ui, sans-serif; fill: #555; }
"""


def read_history(path: Path) -> list[dict[str, str]]:
    """The scored settings of a search, from its ``history.csv``."""
    with path.open(newline='') as file:
        return [row for row in csv.DictReader(file) if row['score']]


def describe(row: dict[str, str]) -> str:
    """What a point says: the setting's role, ratios, costs and score."""
    ratios = ' '.join(
        '/'.join(f'{ratio:g}' for ratio in stage) for stage in json.loads(row['pruning_ratios'])
    )
    lines = [
        f'{row["metric"]} {float(row["score"]):.4f} on {row["num_images"]} images',
        f'pruning ratios of the stages: {ratios}',
        f'{float(row["macs"]):.2f} of the dense MACs ({float(row["gmacs"]):.2f} G)',
    ]
    if row.get('latency'):
        lines.append(
            f'{float(row["latency"]):.2f} of the dense latency ({float(row["ms"]):.1f} ms)'
        )
    return '\n'.join([f'{row["role"]}, number {row["number"]}', *lines])


def draw_front(rows: list[dict[str, str]]) -> str:
    """Draws all settings over their latency, or over their MACs where no latency is known.

    Args:
        rows: As :func:`read_history` gives them.

    Returns:
        An ``<svg>``; nothing where there is nothing to draw.
    """
    if not rows:
        return ''
    cost = 'latency' if all(row.get('latency') for row in rows) else 'macs'
    xs, ys = ([float(row[name]) for row in rows] for name in (cost, 'score'))
    (left, right), (low, high) = _range(xs), _range(ys)

    def place(x: float, y: float) -> tuple[float, float]:
        across = MARGIN + (x - left) / (right - left) * (WIDTH - 2 * MARGIN)
        return across, HEIGHT - MARGIN - (y - low) / (high - low) * (HEIGHT - 2 * MARGIN)

    ticks, base, end = [], HEIGHT - MARGIN, WIDTH - MARGIN
    for i in range(5):
        x, y = left + (right - left) * i / 4, low + (high - low) * i / 4
        across, up = place(x, low)[0], place(left, y)[1]
        ticks += [
            f'<text x="{across:.0f}" y="{base + 20}" text-anchor="middle">{x:.2f}</text>',
            f'<text x="{MARGIN - 8}" y="{up + 4:.0f}" text-anchor="end">{y:.3f}</text>',
            f'<line x1="{MARGIN}" x2="{end}" y1="{up:.0f}" y2="{up:.0f}" stroke="#eee"/>',
        ]
    front = sorted(
        (float(row[cost]), float(row['score'])) for row in rows if row['on_front'] == 'True'
    )
    steps = ' '.join(f'{x:.1f},{y:.1f}' for x, y in (place(*point) for point in front))
    points = []
    for row, x, y in zip(rows, xs, ys, strict=True):
        across, up = place(x, y)
        colour = ROLES.get(row['role'], '#4285f4' if row['on_front'] == 'True' else '#aaa')
        points.append(
            f'<circle cx="{across:.1f}" cy="{up:.1f}" r="5" fill="{colour}" tabindex="0">'
            f'<title>{html.escape(describe(row))}</title></circle>'
        )
    metric = html.escape(rows[0]['metric'])
    names = dict(latency='share of the dense latency', macs='share of the dense MACs')
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="the front">{"".join(ticks)}'
        f'<text x="{WIDTH / 2:.0f}" y="{HEIGHT - 10}" text-anchor="middle">{names[cost]}</text>'
        f'<text x="{MARGIN}" y="20">{metric}; point at a setting to read it</text>'
        f'<polyline points="{steps}" fill="none" stroke="#4285f4"/>{"".join(points)}</svg>'
    )


def _range(values: list[float]) -> tuple[float, float]:
    """The ends of an axis: what it shows, and some room."""
    room = 0.05 * (max(values) - min(values)) or 0.05
    return min(values) - room, max(values) + room
