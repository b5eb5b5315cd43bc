"""Which cheap score of the search predicts the metric after finetuning, and how sure is it?

``python tools/benchmarks/proxies.py CONFIG CHECKPOINT --finetuned W``

W is the folder of compare_searches.py, which finetuned many settings. Each of them is scored again
before finetuning, as the search does: by the config's metric and by the model's loss, on several
numbers of validation images. The result: the rank correlation of each score with the metric after
finetuning, and the standard errors of a score, of the difference of two settings as if their images
were different, and of that difference on the same images. Scores are kept in W/proxies.json.
"""

import argparse
import hashlib
import json
import math
import sys
from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np
from mmengine.config import Config

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # Python adds a script's folder alone

from sparse_mm.engine.checks import (
    check_checkpoint,
    check_checkpoint_file,
    check_data,
    check_settings,
    report,
)
from sparse_mm.engine.command_line import (
    add_config_options,
    load_config,
    run,
    set_default_loader_options,
    whole,
)
from sparse_mm.engine.files import write_atomically
from sparse_mm.engine.quiet import build_quiet_runner, without_prints
from sparse_mm.engine.search.losses import LOSS
from sparse_mm.engine.search.scorer import CandidateScorer
from sparse_mm.engine.search.settings import SearchSettings
from sparse_mm.errors import BadInputError
from sparse_mm.progress import progress_bar
from sparse_mm.search.score_errors import error_of_difference, standard_error, unpack
from sparse_mm.search.space import Candidate
from tools.benchmarks.tool_runs import digest_of

FEWEST = 5  # settings, for a rank correlation that says anything


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_config_options(parser)
    parser.add_argument('checkpoint', help='the adapted weights that all finetunings started from')
    parser.add_argument('--finetuned', required=True, help='folder of compare_searches.py')
    parser.add_argument(
        '--images',
        type=whole,
        nargs='+',
        default=[25, 50, 100],
        help='numbers of images of a score (default: 25 50 100)',
    )
    parser.add_argument('--metric', help="metric of the config's evaluator (default: the search's)")
    return parser.parse_args()


def read_json(path: Path) -> Any:
    """Reads a JSON file.

    Raises:
        BadInputError: It is none, or cannot be read.
    """
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise BadInputError(f'{str(path)!r} cannot be read ({error}); remove it.') from error


def read_finetuned(folder: Path, metric: str) -> dict[Candidate, float]:
    """The metric of each setting after finetuning: the mean over its seeds.

    Args:
        folder: Of compare_searches.py.
        metric: Its name.

    Raises:
        BadInputError: Too few settings were finetuned, or one lacks the metric.
    """
    found: dict[Candidate, list[float]] = {}
    for path in sorted(folder.glob('tune_*/metrics.json')):
        name, _, _ = path.parent.name.removeprefix('tune_').rpartition('_')
        ratios = tuple(tuple(int(r) / 100 for r in stage.split('-')) for stage in name.split('_'))
        metrics = read_json(path)
        if metric not in metrics:
            raise BadInputError(
                f'{str(path)!r} has no {metric!r}; it has {", ".join(sorted(metrics))}.'
            )
        found.setdefault(ratios, []).append(metrics[metric])
    if len(found) < FEWEST:
        raise BadInputError(
            f'{str(folder)!r} has {len(found)} finetuned settings; a rank correlation needs at '
            f'least {FEWEST}. It must be the --work-dir of tools/benchmarks/compare_searches.py.'
        )
    return {ratios: mean(values) for ratios, values in found.items()}


def ranks(values: Sequence[float]) -> np.ndarray:
    """``(N,)`` float64: the rank of each value; equal ones share the mean of theirs."""
    array = np.asarray(values, dtype=float)
    return np.array([(array < v).sum() + ((array == v).sum() - 1) / 2 for v in array])


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Spearman's rank correlation; NaN where all values of one are equal."""
    own, other = (ranks(values) for values in (first, second))
    own, other = own - own.mean(), other - other.mean()
    norm = math.sqrt(float(own @ own) * float(other @ other))
    return float(own @ other) / norm if norm else math.nan


def score_all(
    cfg: Config, args: argparse.Namespace, metrics: Sequence[str], settings: Sequence[Candidate]
) -> dict[str, list[dict]]:
    """Scores every setting by every metric on every number of images.

    Returns:
        For ``'METRIC on N'`` one dict a setting, in their order: ``value`` and ``by_images``. What
        the folder's proxies.json has is not computed again.
    """
    path = Path(args.finetuned) / 'proxies.json'
    weights = hashlib.sha256(Path(args.checkpoint).read_bytes()).hexdigest()
    own_config = digest_of(cfg)
    state = read_json(path) if path.exists() else dict(weights=weights, scores={})
    if state['weights'] != weights or state.setdefault('config', own_config) != own_config:
        raise BadInputError(
            f'{str(path)!r} has scores of another checkpoint or config; move it away.'
        )
    runner = build_quiet_runner(cfg)
    report(check_checkpoint(args.checkpoint, runner.model, whole=True))
    with without_prints():
        runner.load_checkpoint(args.checkpoint)
    found: dict[str, list[dict]] = {}
    with progress_bar('Scoring', total=len(metrics) * len(args.images) * len(settings)) as bar:
        for metric in metrics:
            rule = 'less' if metric == LOSS else 'greater'
            scorer = CandidateScorer(runner, metric, rule, seed=0)
            total = scorer.num_images(None)
            if max(args.images) > total:
                raise BadInputError(
                    f'--images must be at most {total}, the number of validation images, not '
                    f'{max(args.images)}.'
                )
            scorer.check(min(args.images))
            for number in args.images:
                own = state['scores'].setdefault(f'{metric} on {number}', {})
                for ratios in settings:
                    key = json.dumps(ratios)
                    if key not in own:
                        score = scorer.score(ratios, number)
                        if score.failure:
                            raise BadInputError(f'{ratios} has no score: {score.failure}.')
                        own[key] = dict(value=score.value, by_images=score.by_images)
                        write_atomically(path, json.dumps(state))
                    bar.update()
                found[f'{metric} on {number}'] = [own[json.dumps(r)] for r in settings]
            scorer.close()
    return found


def errors_of(scores: Sequence[dict]) -> tuple[float, float, float] | None:
    """Standard errors: of a score, of a difference on other images, and on the same ones.

    Returns:
        Medians over all settings, and over all pairs of them; None where scores have no parts.
    """
    values = [unpack(score['by_images']) for score in scores]
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return None
    single = [standard_error(value) for value in known]
    pairs = list(combinations(range(len(known)), 2))
    apart = [math.hypot(single[i], single[j]) for i, j in pairs]
    paired = [error_of_difference(known[i], known[j]) for i, j in pairs]
    return median(single), median(apart), median(paired)


def table(
    scores: dict[str, list[dict]], final: Sequence[float], group: Callable[[int], str]
) -> list[str]:
    """The result, in Markdown.

    Args:
        scores: From :func:`score_all`.
        final: The metric after finetuning, one for each setting.
        group: Which group the setting of an index belongs to; correlations are given for all
            settings and within each group.
    """
    groups: dict[str, list[int]] = {'all': list(range(len(final)))}
    for index in range(len(final)):
        groups.setdefault(group(index), []).append(index)
    shown = {name: own for name, own in groups.items() if name and len(own) >= FEWEST}
    heads = [f'{name} ({len(own)})' for name, own in shown.items()]
    lines = [
        f'| score | {" | ".join(heads)} | of a score | difference, other images | same images |',
        f'| --- |{" --- |" * (len(heads) + 3)}',
    ]
    for name, own in scores.items():
        values = [score['value'] for score in own]
        cells = [
            f'{rank_correlation([values[i] for i in members], [final[i] for i in members]):.2f}'
            for members in shown.values()
        ]
        errors = errors_of(own)
        cells += [f'{error:.4f}' for error in errors] if errors else [''] * 3
        lines.append(f'| {name} | {" | ".join(cells)} |')
    return lines


def budgets_of(folder: Path) -> dict[Candidate, str]:
    """The budget that each setting was finetuned for; of several, the first."""
    path = folder / 'comparison.json'
    rows = read_json(path) if path.exists() else []
    found: dict[Candidate, str] = {}
    for row in rows:
        for ratios in row['ratios']:
            found.setdefault(tuple(tuple(stage) for stage in ratios), row['budget'])
    return found


def main() -> None:
    """Scores the settings, prints the table and writes it."""
    args = parse_args()
    folder = Path(args.finetuned)
    if min(args.images) < 2:
        raise BadInputError('--images must be at least 2.')
    cfg = load_config(args)
    metric = args.metric or SearchSettings.from_config(cfg, {}).metric
    cfg.custom_hooks = []
    cfg.load_from = None
    set_default_loader_options(cfg, 'val')
    finetuned = read_finetuned(folder, metric)
    report(
        check_settings(cfg, 'val')
        + check_data(cfg, ('val',))
        + check_checkpoint_file(args.checkpoint)
    )
    settings = list(finetuned)
    scores = score_all(cfg, args, [metric, LOSS], settings)
    budgets = budgets_of(folder)
    lines = table(scores, list(finetuned.values()), lambda index: budgets.get(settings[index], ''))
    write_atomically(folder / 'proxies.md', '\n'.join(lines) + '\n')
    print('Rank correlation with the metric after finetuning, and standard errors (medians):')
    print('\n'.join(lines))
    print(f'written: {folder}/proxies.md, proxies.json')


if __name__ == '__main__':
    run(main)
