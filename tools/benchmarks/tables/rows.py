"""Rows of the papers' tables, which can be built, with the printed figures."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.hub import get_config

from sparse_mm.engine.command_line import read_config
from sparse_mm.engine.image_sizes import fixed_image_size
from sparse_mm.engine.inspection import backbone_config
from tools.benchmarks.counting import Counts
from tools.benchmarks.runs import Run

ROOT = Path(__file__).resolve().parents[3]
PEERS = ('projects.peers',)


@dataclass(frozen=True)
class Convention:
    """How a paper counts.

    Attributes:
        text: In words.
        macs: Its figure for what we counted.
    """

    text: str
    macs: Callable[[Counts], float]


PRODUCTS = Convention('every product, those of attention too', lambda counts: counts.macs)
OPERATIONS = Convention('two operations for each MAC', lambda counts: 2 * counts.macs)
WITHOUT_MIXING = Convention(
    'every product but those that mix sampled features, which its counter does not know',
    lambda counts: counts.macs - counts.mixing_macs,
)


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
        name: What the paper calls it.
        make: Reads how it is built; configs are read when the row is wanted.
        paper: The paper's figures, by the table's columns.
        convention: How its MACs are counted there.
        note: Why our figures differ, or what the paper leaves open.
    """

    name: str
    make: Callable[[], Run]
    paper: Mapping[str, Any] = field(default_factory=dict)
    convention: Convention = PRODUCTS
    note: str = ''


@dataclass(frozen=True)
class Table:
    """A table of a paper.

    Attributes:
        title: What it shows.
        source: The paper.
        rows: Its rows.
        columns: Headings of the paper's columns, by the keys of the rows' figures. ``'gmacs'``,
            ``'params'`` (millions), ``'throughput'`` (images per second) and ``'ms'`` are compared
            with ours; all others stand for themselves.
        accuracy: The column that the pictures draw; None where the paper has none.
        baseline: The row that speeds are relative to.
        batch: Images, or clips, that are timed at once.
        counted: Images whose MACs the paper sums up.
        with_memory: Whether peak memory is measured, too.
        note: What holds for the whole table.
    """

    title: str
    source: str
    rows: tuple[Row, ...]
    columns: Mapping[str, str]
    accuracy: str | None
    baseline: str
    batch: int = 1
    counted: int = 1
    with_memory: bool = False
    note: str = ''


@cache
def _model_of(config: str) -> dict[str, Any]:
    """The model of a config of ours, or of a host package (``'mmpretrain::…'``)."""
    cfg = get_config(config) if '::' in config else read_config(str(ROOT / config))
    return Config(cfg.model).to_dict()


def _without_downloads(settings: Any) -> Any:
    """Settings without pretrained weights, and without what several processes need."""
    if isinstance(settings, dict):
        return {
            key: 'BN' if value == 'SyncBN' else _without_downloads(value)
            for key, value in settings.items()
            if key not in ('init_cfg', 'train_cfg', 'data_preprocessor')
        }
    if isinstance(settings, list):
        return [_without_downloads(item) for item in settings]
    return settings


def classifier(config: str, side: int = 224, **backbone: Any) -> Callable[[], Run]:
    """A whole image classifier of a config.

    Args:
        config: File of ours, or ``'mmpretrain::…'``.
        side: Of the square images.
        **backbone: Settings of its backbone to change.
    """

    def make() -> Run:
        model = _without_downloads(_model_of(config))
        model['type'] = 'mmpretrain.ImageClassifier'
        model['backbone'] = {**model['backbone'], **backbone}
        return Run(config, model, (side, side), scope='mmpretrain', imports=('sparse_mm',))

    return make


def backbone(config: str, size: tuple[int, int] | None = None) -> Callable[[], Run]:
    """The backbone alone of a config of ours, at the size that it tests at.

    Args:
        config: The file.
        size: ``(H, W)`` in pixels instead.
    """

    def make() -> Run:
        cfg = read_config(str(ROOT / config))
        settings = _without_downloads(Config(backbone_config(cfg)).to_dict())
        imports = tuple(cfg.get('custom_imports', {}).get('imports', ()))
        return Run(config, settings, size or fixed_image_size(cfg, 'test'), imports=imports)

    return make


def model(
    kind: str, size: tuple[int, int], frames: int | None = None, **settings: Any
) -> Callable[[], Run]:
    """A model by its type.

    Args:
        kind: Registered name.
        size: ``(H, W)`` in pixels.
        frames: Of a clip.
        **settings: Its arguments.
    """

    def make() -> Run:
        scope = kind.rpartition('.')[0] or 'mmengine'
        return Run(kind, dict(type=kind, **settings), size, scope, PEERS, frames=frames)

    return make
