"""Scores a model with one stage pruned at a time: a curve for each stage, before a search.

python tools/analysis_tools/sensitivity.py CONFIG CHECKPOINT

Scores are those of tools/search.py: the same metric, validation images and ratios, for dense or
adapted weights. A search prunes stages the least whose curve drops early.
"""

import argparse
import json
import math
from io import BytesIO
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from sparse_mm.engine.checks import (
    check_checkpoint,
    check_checkpoint_file,
    check_data,
    check_device,
    check_settings,
    check_work_dir,
    report,
)
from sparse_mm.engine.command_line import (
    add_config_options,
    finite,
    load_config,
    run,
    set_default_loader_options,
    start_together,
    whole,
)
from sparse_mm.engine.deployment import undeploy
from sparse_mm.engine.files import write_atomically
from sparse_mm.engine.quiet import build_quiet_runner, without_prints
from sparse_mm.engine.search.settings import SearchSettings
from sparse_mm.engine.search.sparsity_search import SparsitySearch
from sparse_mm.errors import BadInputError
from sparse_mm.progress import progress_bar
from sparse_mm.search.space import Candidate

FOLDER = 'sensitivity'


def parse_args() -> argparse.Namespace:
    """Reads the command line; what is not given comes from the config's SparsitySearchHook."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog="Options that are not given come from the config's SparsitySearchHook, if any.",
    )
    add_config_options(parser)
    parser.add_argument('checkpoint', help='weights, dense or adapted to sparsity')
    parser.add_argument(
        '--metric', help="the score: a metric of the config's evaluator, as coco/bbox_mAP"
    )
    parser.add_argument(
        '--rule',
        choices=['greater', 'less'],
        help='whether a greater or a smaller score is better (default: greater)',
    )
    parser.add_argument(
        '--ratios', nargs='+', type=finite, help='ratios to score (default: those of the search)'
    )
    parser.add_argument(
        '--num-images', type=whole, help='number of validation images for a score (default: 500)'
    )
    parser.add_argument('--seed', type=whole, help='seed of the choice of validation images')
    parser.add_argument(
        '--shape', nargs=2, type=whole, metavar=('H', 'W'), help='image size for the MACs'
    )
    return parser.parse_args()


def prune_stage(dense: Candidate, stage: int, ratio: float) -> Candidate:
    """The dense setting with one ratio in all pairs of a stage."""
    return (*dense[:stage], (ratio,) * len(dense[stage]), *dense[stage + 1 :])


def measure(search: SparsitySearch, path: Path) -> dict[str, Any]:
    """Scores every stage at every ratio, and writes the JSON file after each stage.

    Args:
        search: A search that is prepared: its scorer, ratios and costs are used.
        path: The JSON file.

    Returns:
        What the file holds: ``metric``, ``rule``, ``num_images``, ``dense`` (a score) and
        ``stages``, for each a list of points with ``ratio``, ``score`` (None where there is none,
        and then ``failure``) and ``macs``, a share of the dense backbone's.

    Raises:
        BadInputError: The dense model has no score, or a validation image cannot be read.
    """
    settings, scorer = search.settings, search.scorer
    images = scorer.num_images(settings.num_images)
    ratios = [[ratio for ratio in stage if ratio > 0] for stage in search.space.choices]
    found: dict[str, Any] = dict(
        metric=settings.metric, rule=settings.rule, num_images=images, dense=None, stages=[]
    )
    try:
        with progress_bar('Scoring stages', total=1 + sum(map(len, ratios))) as bar:
            value, failure, _ = scorer.score(search.dense, images)
            if failure:
                raise BadInputError(
                    f'The dense model has no score ({failure}); give weights that are trained, or '
                    'another --metric or --num-images.'
                )
            found['dense'] = scorer.sign * value
            bar.update()
            for stage, choices in enumerate(ratios):
                points: list[dict[str, Any]] = []
                for ratio in choices:
                    candidate = prune_stage(search.dense, stage, ratio)
                    value, failure, _ = scorer.score(candidate, images)
                    finite = math.isfinite(value)
                    macs = search.costs.cost(candidate, 'macs')
                    point = dict(
                        ratio=ratio, score=scorer.sign * value if finite else None, macs=macs
                    )
                    points.append({**point, 'failure': failure} if failure else point)
                    bar.update()
                found['stages'].append(points)
                write_atomically(path, json.dumps(found, indent=1, allow_nan=False))
    finally:
        scorer.close()
    return found


def plot(found: dict[str, Any]) -> bytes:
    """The curves over the ratios and over the MACs, as a PNG."""
    figure = Figure(figsize=(10, 4), dpi=120, layout='constrained')
    FigureCanvasAgg(figure)
    by_ratio, by_macs = figure.subplots(1, 2, sharey=True)
    for stage, points in enumerate(found['stages'], 1):
        scored = [point for point in points if point['score'] is not None]
        scores = [found['dense'], *(point['score'] for point in scored)]
        style: dict[str, Any] = dict(marker='o', markersize=4, label=f'stage {stage}')
        by_ratio.plot([0, *(point['ratio'] for point in scored)], scores, **style)
        by_macs.plot([1, *(point['macs'] for point in scored)], scores, **style)
    by_ratio.set(
        xlabel='pruning ratio of the stage, all others dense',
        ylabel=f'{found["metric"]} on {found["num_images"]} images',
    )
    by_macs.set(xlabel="share of the dense backbone's MACs")
    for axes in (by_ratio, by_macs):
        axes.axhline(found['dense'], color='0.5', linestyle=':', zorder=0)
        axes.grid(alpha=0.3)
    by_ratio.legend(fontsize='small')
    buffer = BytesIO()
    figure.savefig(buffer, format='png')
    return buffer.getvalue()


def table(found: dict[str, Any]) -> list[str]:
    """The scores as a table: a row for each stage, a column for each ratio."""
    ratios = sorted({point['ratio'] for points in found['stages'] for point in points})
    lines = [
        f'{found["metric"]} on {found["num_images"]} images, dense {found["dense"]:.4f}',
        '| stage | ' + ' | '.join(f'{ratio:g}' for ratio in ratios) + ' |',
        '| --- ' * (len(ratios) + 1) + '|',
    ]
    for stage, points in enumerate(found['stages'], 1):
        scores = {point['ratio']: point['score'] for point in points}
        cells = ['–' if scores.get(ratio) is None else f'{scores[ratio]:.4f}' for ratio in ratios]
        lines.append(f'| {stage} | ' + ' | '.join(cells) + ' |')
    return lines


def main() -> None:
    """Checks everything that can be checked, then scores."""
    args = parse_args()
    cfg = load_config(args)
    if cfg.launcher != 'none':
        raise BadInputError('sensitivity.py runs in one process; leave --launcher out.')
    undeploy(cfg)
    settings = SearchSettings.from_config(
        cfg,
        dict(
            budget='macs=1',  # everything is within it
            metric=args.metric,
            rule=args.rule,
            choices=args.ratios and [0.0, *args.ratios],
            num_images=args.num_images,
            seed=args.seed,
            image_size=args.shape,
        ),
    )
    cfg.custom_hooks = []
    cfg.load_from = None
    set_default_loader_options(cfg, 'val')
    device = check_device(cfg)
    report(check_settings(cfg, 'val'))
    problems = device + check_data(cfg, ('val',)) + check_work_dir(cfg.work_dir)
    start_together(cfg, device, problems + check_checkpoint_file(args.checkpoint))
    runner = build_quiet_runner(cfg)
    report(check_checkpoint(args.checkpoint, runner.model, whole=True))
    folder = Path(cfg.work_dir) / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    with without_prints():
        runner.load_checkpoint(args.checkpoint)
        search = SparsitySearch(runner, settings, folder)
        search.prepare()
    found = measure(search, folder / 'sensitivity.json')
    write_atomically(folder / 'sensitivity.png', plot(found))
    print('\n'.join(table(found)))
    print(f'written: {folder}/sensitivity.json, sensitivity.png')


if __name__ == '__main__':
    run(main)
