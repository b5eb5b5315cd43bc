"""What MMEngine's visualizer has logged for a run."""

import json
from pathlib import Path
from typing import Any


def scalars(work_dir: Path) -> list[dict[str, Any]]:
    """All scalars that a run has logged, over all its starts."""
    files = sorted(work_dir.glob('*/vis_data/scalars.json'))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]
