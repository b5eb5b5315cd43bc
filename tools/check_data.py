"""Reports what the data sets of a config contain, and what is missing or broken.

python tools/check_data.py CONFIG

Nothing is trained, and only a few samples of each set are opened, so it takes seconds.
"""

import argparse
from typing import Any

import sparse_mm  # noqa: F401, before MMEngine, which asks for the home of a user without one

# isort: split
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope

from sparse_mm.engine.checks import check_data, check_samples, report
from sparse_mm.engine.command_line import add_config_options, load_config, run, whole
from sparse_mm.engine.hosts import scope_of
from sparse_mm.engine.quiet import without_prints
from sparse_mm.errors import BadInputError

SPLITS = 'train', 'val', 'test'


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_config_options(parser)
    parser.add_argument(
        '--samples', type=whole, default=20, help='samples of each set to check (default: 20)'
    )
    return parser.parse_args()


def look_at(dataset: Any, split: str, num_samples: int) -> list[str]:
    """Prints what a data set holds; gives what is wrong with it.

    Args:
        dataset: The data set, loaded.
        split: Its name.
        num_samples: How many samples to check; data sets of videos open them.
    """
    own = getattr(dataset, 'describe', None)
    print(f'{split}: {own() if own else f"{len(dataset)} samples."}')
    problems = check_samples(dataset, split, num_samples)
    survey = getattr(dataset, 'survey', None)
    if survey:
        broken = survey(num_samples)
        opened = min(num_samples, len(dataset))
        print(f'{split}: {len(broken)} broken of {opened} videos that were opened.')
        problems += broken
    return problems


def check(cfg: Config, num_samples: int) -> list[str]:
    """Builds every data set of a config, and checks it.

    Args:
        cfg: The config.
        num_samples: How many samples of each to check.

    Returns:
        What is wrong, a sentence each.
    """
    splits = tuple(split for split in SPLITS if cfg.get(f'{split}_dataloader'))
    problems = check_data(cfg, splits)
    if problems:
        return problems
    init_default_scope(scope_of(cfg))
    seen: list[Any] = []
    for split in splits:
        settings = cfg[f'{split}_dataloader'].dataset
        if settings in seen:
            print(f'{split}: as {splits[seen.index(settings)]}.')
            seen.append(settings)
            continue
        seen.append(settings)
        try:
            with without_prints():
                dataset = DATASETS.build(settings)
            problems += look_at(dataset, split, num_samples)
        except BadInputError as error:
            problems.append(str(error))
    return problems


def main() -> None:
    """Looks at all data sets, then says what is wrong."""
    args = parse_args()
    if args.samples < 1:
        raise BadInputError(f'--samples must be at least 1, not {args.samples}.')
    cfg = load_config(args)
    report(check(cfg, args.samples))
    print('No problem found.')


if __name__ == '__main__':
    run(main)
