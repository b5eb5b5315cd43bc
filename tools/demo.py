"""The demo (``make demo``): dense training, adaptation, search, finetuning, a test, and a page."""

import argparse
import json
import os
import time
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import sparse_mm  # noqa: F401, before MMEngine, which asks for the home of a user without one

# isort: split
from demo_page import write_page
from demo_progress import run_tool
from mmengine.config import Config

from sparse_mm.engine.checks import check_work_dir, report
from sparse_mm.engine.command_line import Override, read_config, run
from sparse_mm.engine.files import write_atomically
from sparse_mm.engine.image_sizes import fixed_image_size
from sparse_mm.engine.inspection import backbone_shape, build_model, find_backbone
from sparse_mm.search.cost import CostModel, LatencyTable
from sparse_mm.search.space import CHOICES, RatioSpace
from sparse_mm.search.timing import measure_whole

ROOT = Path(__file__).resolve().parent.parent
CONFIG = ROOT / 'configs' / 'sparsevit_maskrcnn_shapes_demo.py'
# What the demo would like the backbone to cost, of dense.
BUDGET = 0.7
MEASURE_SECONDS = 5.0  # for the winner beside dense, at the end


def parse_overrides(arguments: list[str]) -> dict[str, Any]:
    """Reads ``--cfg-options`` as the tools do."""
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=Override, default={})
    return parser.parse_args(arguments).cfg_options


def find_hook(cfg: Config, name: str) -> int:
    """The place of a hook in the config."""
    return next(i for i, hook in enumerate(cfg.custom_hooks) if hook['type'] == name)


def reachable_budget(lowest: float) -> dict[str, Any]:
    """The budget of the demo, where pruning reaches at best ``lowest`` of the dense latency.

    A small model on many cores, or on a busy machine, may not get down to the wish; then the search
    gets the lower half of what there is. Where pruning saves next to nothing, MACs count instead:
    what they reach does not depend on the machine.
    """
    if lowest > 0.95:
        return dict(unit='macs', max=BUDGET)
    room = lowest + 0.25 * (1 - lowest)  # something for the search to choose from
    return dict(unit='latency', max=round(max(BUDGET, room), 3))


def lowest_latency(cfg: Config, path: Path, settings: dict[str, Any]) -> float:
    """The share of the dense latency that the search space reaches at best."""
    backbone = find_backbone(build_model(cfg))
    space = RatioSpace.build(backbone.depths, settings.get('choices', CHOICES))
    shape = backbone_shape(backbone, fixed_image_size(cfg, 'val'), settings['batch'])
    return CostModel(shape, space, LatencyTable.read(path)).cost(space.most, 'latency')


def choose_budget(cfg: Config, work_dir: Path, overrides: list[str]) -> dict[str, Any]:
    """Measures latencies, and chooses a budget that they can meet.

    Returns:
        Settings of the search: its budget and, where that is a latency, the table that it was
        chosen by. The search measures nothing anew, so nothing can become out of reach.
    """
    table, decided = work_dir / 'latency_table.json', work_dir / 'demo_budget.json'
    if not decided.is_file():
        settings = cfg.custom_hooks[find_hook(cfg, 'SparsitySearchHook')]
        if not table.is_file():
            options = ['--batch', settings['batch'], '--seconds', settings['latency_seconds']]
            measured = run_tool(
                *('analysis_tools/latency_table.py', CONFIG, '--out', table, *options, *overrides),
                log=work_dir / 'demo.log',
                may_fail=True,
            )
            if not measured:
                print('  this machine is too busy to measure latencies: the budget counts MACs')
        budget = dict(unit='macs', max=BUDGET)
        if table.is_file():
            budget = reachable_budget(lowest_latency(cfg, table, settings))
        write_atomically(decided, json.dumps(budget))
    budget = json.loads(decided.read_text())
    found = {f'budget.{name}': value for name, value in budget.items()}
    if budget['unit'] == 'latency':
        found['latency_table'] = os.path.relpath(table, ROOT)  # where the tools run
    return found


def measure_latency(cfg: Config, ratios: list[list[float]]) -> float:
    """Latency of a whole pass of the pruned backbone over that of the dense one, side by side."""
    backbone = find_backbone(build_model(cfg))
    batch = cfg.custom_hooks[find_hook(cfg, 'SparsitySearchHook')]['batch']
    shape = backbone_shape(backbone, fixed_image_size(cfg, 'val'), batch)
    dense, pruned = measure_whole(backbone, shape, [None, ratios], seconds=MEASURE_SECONDS)
    return pruned / dense


def summarise(cfg: Config, work_dir: Path, metrics: dict[str, float], page: Path) -> list[str]:
    """What came out, in five lines."""
    search = work_dir / 'sparsity_search'
    best = json.loads((search / 'best.json').read_text())
    state = json.loads((search / 'state.json').read_text())
    images = best['num_images']
    dense = next(
        record['score']
        for record in state['records']
        if not any(map(any, record['ratios'])) and record['num_images'] == images
    )
    kept = ' '.join(
        '/'.join(f'{1 - ratio:.0%}' for ratio in stage) for stage in best['pruning_ratios']
    )
    return [
        f'dense:   box mAP {dense:.3f} on {images} unseen scenes, before finetuning',
        f'winner:  box mAP {best["score"]:.3f} before finetuning, '
        f'{metrics["coco/bbox_mAP"]:.3f} after (mask mAP {metrics["coco/segm_mAP"]:.3f})',
        f'kept:    {kept} of the windows in stages 1 to 4; {best["macs"]:.2f} of the MACs',
        f'latency: {measure_latency(cfg, best["pruning_ratios"]):.2f} of the dense backbone, '
        f'measured on this device (budget: {best["budget"]})',
        f'files:   {page}, {search}/pareto.png, {work_dir}/latency_table.json',
    ]


def main() -> None:
    """Trains (or goes on, or skips what is done), tests, and says what came out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--work-dir', default='work_dirs/demo', help='folder for the results')
    parser.add_argument('--cfg-options', nargs='+', default=[], help='as for tools/train.py')
    args = parser.parse_args()
    os.chdir(ROOT)  # as the tools that it runs
    work_dir = Path(args.work_dir).resolve()
    report(check_work_dir(str(work_dir)))
    log = work_dir / 'demo.log'
    options = ['--work-dir', str(work_dir)]
    overrides = ['--cfg-options', *args.cfg_options] if args.cfg_options else []
    given = parse_overrides(overrides)
    cfg = read_config(str(CONFIG), given)
    last = work_dir / f'epoch_{cfg.train_cfg.max_epochs}.pth'

    start = time.monotonic()
    search = f'custom_hooks.{find_hook(cfg, "SparsitySearchHook")}'
    if last.is_file():
        print(f'[1/3] training: done already ({last})', flush=True)
    else:
        print('[1/3] training and search: some minutes on two cores', flush=True)
        if not any(key.startswith(f'{search}.budget') for key in given):
            settings = choose_budget(cfg, work_dir, overrides)
            chosen = [f'{search}.{name}={value}' for name, value in settings.items()]
            overrides = ['--cfg-options', *args.cfg_options, *chosen]
        run_tool('train.py', CONFIG, *options, '--resume', *overrides, log=log)
    trained = time.monotonic()
    print('[2/3] testing on unseen scenes', flush=True)
    run_tool('test.py', CONFIG, last, *options, *overrides, log=log)
    newest = max(work_dir.glob('*/*.json'), key=lambda path: path.stat().st_mtime)
    page = work_dir / 'index.html'
    lines = summarise(cfg, work_dir, json.loads(newest.read_text()), page)
    print('[3/3] the page', flush=True)
    adapted = work_dir / f'epoch_{cfg.custom_hooks[find_hook(cfg, "SparsitySearchHook")]["at"]}.pth'
    with log.open('a') as file, redirect_stdout(file):  # what pycocotools prints
        write_page(page, cfg, adapted, last, lines)
    print(f'\n{(trained - start) / 60:.1f} minutes of training and search')
    print('\n'.join(lines))


if __name__ == '__main__':
    run(main)
