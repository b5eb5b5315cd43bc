"""Searches the best pruning ratios of a model: ``python tools/search.py CONFIG CHECKPOINT``.

Works for every config with a SparseViT backbone and a validation set: detection, segmentation, 3D,
classification. The winner, ``sparsity_search/best.json`` in the work directory, can be used as
``pruning_ratios`` of the backbone.
"""

import argparse
from inspect import signature
from pathlib import Path

from sparse_mm.engine.checks import (
    check_checkpoint,
    check_checkpoint_file,
    check_data,
    check_device,
    check_loops,
    check_settings,
    check_types,
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
from sparse_mm.engine.deployment import add_engine_options, undeploy
from sparse_mm.engine.file_backend import remove_leftovers
from sparse_mm.engine.quiet import build_quiet_runner, without_prints
from sparse_mm.engine.search.settings import SearchSettings
from sparse_mm.engine.search.sparsity_search import FOLDER, SparsitySearch
from sparse_mm.engine.search.summary import summarise
from sparse_mm.engine.work_dir import guard_work_dir
from sparse_mm.ranks import is_main_process, on_every_process, on_main_process
from sparse_mm.search.evolution import STRATEGIES


def parse_args() -> argparse.Namespace:
    """Reads the command line; what is not given comes from the config's SparsitySearchHook."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog="Options that are not given come from the config's SparsitySearchHook, if any.",
    )
    add_config_options(parser)
    parser.add_argument('checkpoint', help='weights, which should be adapted to sparsity')
    parser.add_argument(
        '--budget',
        nargs='+',
        help='latency=0.7 or macs=0.7 (of the dense backbone), ms=20, gmacs=116.5; a range is '
        'latency=0.6..0.7; several give one winner each',
    )
    parser.add_argument(
        '--metric', help="the score: a metric of the config's evaluator, as coco/bbox_mAP; or loss"
    )
    parser.add_argument(
        '--rule',
        choices=['greater', 'less'],
        help='whether a greater or a smaller score is better (default: greater)',
    )
    parser.add_argument(
        '--evaluations',
        type=whole,
        help='number of settings to score for each budget (default: 2000)',
    )
    parser.add_argument(
        '--generations', type=whole, help='the same, as a number of populations (default: 20)'
    )
    parser.add_argument(
        '--population', type=whole, help='number of settings in a generation (default: 100)'
    )
    parser.add_argument(
        '--parents',
        type=whole,
        help='number of the best settings that have offspring (default: 25)',
    )
    parser.add_argument(
        '--mutation', type=finite, help='probability of changing a ratio (default: 0.1)'
    )
    parser.add_argument(
        '--strategy', choices=STRATEGIES, help='strategy of the search (default: evolution)'
    )
    parser.add_argument('--seed', type=whole, help='seed of all random numbers (default: 0)')
    parser.add_argument(
        '--choices', nargs='+', type=finite, help='ratios to choose from (default: 0 0.1 … 0.8)'
    )
    parser.add_argument(
        '--stage-limits',
        nargs='+',
        type=finite,
        help='largest ratio of each stage (default: no limit)',
    )
    parser.add_argument(
        '--num-images', type=whole, help='number of validation images for a score (default: 500)'
    )
    parser.add_argument(
        '--finalists',
        type=whole,
        help='number of settings that are scored again, on more images (default: 5)',
    )
    parser.add_argument(
        '--final-images', type=whole, help='number of images for the finalists (default: all)'
    )
    parser.add_argument(
        '--image-size',
        nargs=2,
        type=whole,
        metavar=('H', 'W'),
        help='image size for latencies and MACs (default: the most frequent one of the validation)',
    )
    parser.add_argument(
        '--batch', type=whole, help='batch size for latencies and MACs (default: 4)'
    )
    add_engine_options(parser)
    parser.add_argument(
        '--dtype', help='dtype of latencies: float32, float16, bfloat16 (default: float32)'
    )
    parser.add_argument(
        '--latency-table',
        help='JSON file of tools/analysis_tools/latency_table.py (default: measure here)',
    )
    parser.add_argument(
        '--latency-seconds', type=finite, help='about how long to measure latencies (default: 60)'
    )
    return parser.parse_args()


def main() -> None:
    """Checks everything that can be checked, then searches."""
    args = parse_args()
    cfg = load_config(args)
    names = signature(SearchSettings.build).parameters
    given = {name: value for name, value in vars(args).items() if name in names}
    for name, value in undeploy(cfg).items():
        given[name] = given[name] or value
    settings = SearchSettings.from_config(cfg, given)
    # Phases of a training are not the search's; its own hooks would only refuse set ratios.
    cfg.custom_hooks = []
    cfg.load_from = None
    set_default_loader_options(cfg, 'val')
    device = check_device(cfg)
    report(check_settings(cfg, 'val'))
    problems = device + check_loops(cfg) + check_types(cfg, ('val',))
    problems += check_data(cfg, ('val',)) + check_work_dir(cfg.work_dir)
    problems += check_checkpoint_file(args.checkpoint)
    start_together(cfg, device, problems)
    said = guard_work_dir(cfg.work_dir)
    on_main_process(lambda: remove_leftovers(Path(cfg.work_dir)))
    runner = build_quiet_runner(cfg)
    for sentence in said:
        runner.logger.info(sentence)
    on_every_process(lambda: report(check_checkpoint(args.checkpoint, runner.model, whole=True)))
    with without_prints():
        runner.load_checkpoint(args.checkpoint)
        search = SparsitySearch(runner, settings, Path(cfg.work_dir) / FOLDER)
        search.prepare()
    lines = summarise(search, search.run())
    if is_main_process():
        print(*lines, sep='\n')


if __name__ == '__main__':
    run(main)
