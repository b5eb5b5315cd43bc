"""Writes docs/model_zoo.md: every config with its MACs, parameters, metrics and command.

python tools/analysis_tools/model_zoo.py [--out docs/model_zoo.md]

MACs and parameters are the backbone's, counted without computing (on torch's meta device). Metrics
of the papers come from the metafiles. Our own results are listed below, with their section of
docs/results.md.
"""

import argparse
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import torch
import yaml
from mmengine.config import Config

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # Python adds a script's folder alone

from sparse_mm.engine.checks import check_work_dir, report
from sparse_mm.engine.command_line import read_config, run
from sparse_mm.engine.files import write_atomically
from sparse_mm.engine.image_sizes import usual_clip_length, usual_image_size
from sparse_mm.engine.inspection import build_backbone, input_channels, sees_clips
from sparse_mm.errors import BadInputError
from tools.benchmarks.counting import count_macs

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = (
    *('configs', 'projects/bevdet/configs', 'projects/bootstrapping/configs'),
    'projects/video_recognition/configs',
)
BOOTSTRAPPING = 'Bootstrapping by a frozen teacher'
CAMERAS = 6  # of a frame, which BEVDet's backbone sees at once
# What was measured here, on generated or few data, and the section of docs/results.md about it.
OURS = {
    'projects/bootstrapping/configs/bootstrap_shapes.py': (
        'top-1 92.0 % on generated pictures (chance: 50 %)',
        'Does a teacher help?',
    ),
    'configs/sparseformer_small_objects.py': (
        'top-1 97.2 % on generated pictures (other seeds: 89.0, 96.5 %)',
        'Do tokens focus?',
    ),
    'configs/sparsevit_maskrcnn_shapes_dense.py': (
        'box mAP 0.537, mask mAP 0.567 on generated scenes',
        'The generated scenes, dense, from scratch',
    ),
    'configs/sparsevit_maskrcnn_shapes.py': (
        'box mAP 0.561, mask mAP 0.609 on generated scenes',
        'The whole method on the generated scenes',
    ),
    'configs/sparsevit_maskrcnn_shapes_demo.py': (
        'box mAP 0.558, mask mAP 0.619 on generated scenes',
        'The demo',
    ),
    'configs/sparsevit_maskrcnn_small_shapes_dense.py': (
        'box mAP 0.783, mask mAP 0.735 on generated scenes',
        'Small objects, dense, from scratch',
    ),
    'configs/sparsevit_maskrcnn_small_shapes_half.py': (
        'box mAP 0.363, mask mAP 0.344 on generated scenes',
        'Small objects, dense, from scratch',
    ),
    'configs/sparsevit_maskrcnn_small_shapes_narrow.py': (
        'box mAP 0.750, mask mAP 0.695 on generated scenes',
        'Small objects, dense, from scratch',
    ),
    'configs/sparsevit_maskrcnn_coco_overfit.py': (
        'box mAP 0.547 on its own 8 training images',
        'Overfitting eight real images',
    ),
    'configs/sparseformer_maskrcnn_shapes.py': (
        'box mAP 0.624, mask mAP 0.616 on generated scenes',
        'SparseFormer on the generated scenes',
    ),
    'configs/sparseformer_shapes.py': (
        'top-1 99.3 % on generated pictures',
        'SparseFormer learns from scratch',
    ),
    'configs/sparseformer_imagenet_overfit.py': (
        'top-1 100 % on its own 100 training images',
        'SparseFormer learns from scratch',
    ),
    'projects/bevdet/configs/bevdet_driving.py': (
        'mAP 0.253, NDS 0.283 on drawn scenes',
        'BEVDet on drawn driving scenes',
    ),
    'projects/bevdet/configs/bevdet_driving_sparse.py': (
        'mAP 0.224, NDS 0.267 on drawn scenes',
        'BEVDet on drawn driving scenes',
    ),
    'projects/video_recognition/configs/video_sparseformer_motion.py': (
        'top-1 97.0 % on generated clips',
        'Motions that need several frames',
    ),
    'projects/video_recognition/configs/image_sparseformer_motion.py': (
        'top-1 9.8 % on generated clips (chance: 10 %)',
        'Motions that need several frames',
    ),
}
HEAD = """# Model zoo

All configs. MACs and parameters are those of the backbone, for one input of the config's test size
(BEVDet: the six cameras of a frame) and with the config's pruning ratios.

- **The paper**: metrics that the papers report; the metafiles name the source.
- **Ours**: metrics measured here, on the data named in the cell. [results.md](results.md) has the
  commands. They cannot be compared with the paper's metrics.

There are no trained weights. This page is written by `python tools/analysis_tools/model_zoo.py`.
"""


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--out', default=str(ROOT / 'docs' / 'model_zoo.md'), help='page to write (%(default)s)'
    )
    return parser.parse_args()


def configs() -> list[str]:
    """The configs that users run, by their paths in the repository."""
    return [
        path.relative_to(ROOT).as_posix()
        for folder in FOLDERS
        for path in sorted((ROOT / folder).glob('*.py'))
    ]


def published() -> dict[str, dict[str, Any]]:
    """What the metafiles say of configs."""
    index = yaml.safe_load((ROOT / 'model-index.yml').read_text())['Import']
    models = (yaml.safe_load((ROOT / name).read_text())['Models'] for name in index)
    return {model['Config']: model for found in models for model in found}


def count(cfg: Config) -> dict[str, Any]:
    """Counts a config's backbone.

    Returns:
        ``size``, for people; ``macs``, None where a config tests in no one size; ``params``.
    """
    with torch.device('meta'):
        backbone = build_backbone(cfg)
    params = sum(parameter.numel() for parameter in backbone.parameters())
    try:
        size: tuple[int, ...] = usual_image_size(cfg, 'test')
    except BadInputError:
        return dict(size='–', macs=None, params=params)
    if sees_clips(backbone):
        size = (usual_clip_length(cfg, 'test'), *size)
    batch = CAMERAS if cfg.model['type'] == 'BEVDet' else 1
    images = torch.empty(batch, input_channels(backbone), *size, device='meta')
    said = '×'.join(map(str, size))
    return dict(
        size=f'{batch} × {said}' if batch > 1 else said,
        macs=count_macs(backbone.to('meta'), images),
        params=params,
    )


def anchor(title: str) -> str:
    """The link to a section of docs/results.md."""
    return 'results.md#' + title.lower().replace(',', '').replace('?', '').replace(' ', '-')


def row(path: str, model: dict[str, Any]) -> str:
    """The row of a config.

    Args:
        path: The config.
        model: What a metafile says of it; empty for one that is not published.
    """
    cfg = read_config(str(ROOT / path))
    found = count(cfg)
    metrics = [
        f'{name} {value}'
        for one in model.get('Results', ())
        for name, value in one['Metrics'].items()
    ]
    ours, section = OURS.get(path, ('', ''))
    command = (
        f'tools/train.py {path}' if 'train_dataloader' in cfg else f'tools/test.py {path} WEIGHTS'
    )
    cells = [
        f'[{Path(path).stem}](../{path})',
        found['size'],
        '–' if found['macs'] is None else f'{found["macs"] / 1e9:.2f}',
        f'{found["params"] / 1e6:.2f}',
        ', '.join(metrics) or '–',
        f'[{ours}]({anchor(section)})' if ours else '–',
        f'`python {command}`',
    ]
    return f'| {" | ".join(cells)} |'


def page() -> Iterator[str]:
    """The lines of the page."""
    models = published()
    groups: dict[str, list[str]] = {}
    for path in configs():
        other = BOOTSTRAPPING if 'bootstrapping' in path else 'Generated data and checks'
        group = models[path]['In Collection'] if path in models else other
        groups.setdefault(group, []).append(path)
    yield from HEAD.splitlines()
    for group, paths in groups.items():
        sources = {models[path]['Metadata'].get('Metrics From') for path in paths if path in models}
        yield from ('', f'## {group}', '')
        for source in sorted(filter(None, sources)):
            yield f'- Metrics of {source}.'
        yield from ([''] if any(sources) else [])
        yield '| config | input | GMACs | M parameters | the paper | ours | command |'
        yield '| --- ' * 7 + '|'
        for path in paths:
            yield row(path, models.get(path, {}))


def main() -> None:
    """Counts all configs, then writes the page."""
    args = parse_args()
    out = Path(args.out)
    if out.suffix != '.md':
        raise BadInputError(f'--out must name a .md file, not {args.out!r}.')
    report(check_work_dir(str(out.parent), '--out'))
    with redirect_stdout(sys.stderr):  # MMEngine logs the variables that it reads
        text = '\n'.join([*page(), ''])
    write_atomically(out, text)
    print(f'written: {out}')


if __name__ == '__main__':
    run(main)
