"""The demo (``make demo``): dense training, adaptation, search, finetuning and a test."""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

from mmengine.config import Config

ROOT = Path(__file__).resolve().parent.parent
CONFIG = ROOT / 'configs' / 'sparsevit_maskrcnn_shapes.py'


def run_tool(tool: str, *arguments: str) -> None:
    """Runs one of our command lines; ends where it fails."""
    result = subprocess.run([sys.executable, str(ROOT / 'tools' / tool), *arguments], cwd=ROOT)
    if result.returncode:
        sys.exit(result.returncode)


def summarise(work_dir: Path, metrics: dict[str, float], last: Path) -> list[str]:
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
        f'latency: {best["measured_latency"]:.2f} of the dense backbone, measured on this device '
        f'(budget: {best["budget"]})',
        f'files:   {last}, {search}/pareto.png, {work_dir}/pictures',
    ]


def main() -> None:
    """Trains (or goes on, or skips what is done), tests, and says what came out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--work-dir', default='work_dirs/demo', help='folder for the results')
    parser.add_argument('--cfg-options', nargs='+', default=[], help='as for tools/train.py')
    args = parser.parse_args()
    work_dir = (ROOT / args.work_dir).resolve()
    options = ['--work-dir', str(work_dir)]
    overrides = ['--cfg-options', *args.cfg_options] if args.cfg_options else []
    epochs = Config.fromfile(CONFIG).train_cfg.max_epochs
    last = work_dir / f'epoch_{epochs}.pth'

    start = time.monotonic()
    if last.is_file():
        print(f'[1/2] training: done already ({last})', flush=True)
    else:
        print(
            '[1/2] dense training, adaptation, search, finetuning: about fourteen minutes on two '
            'cores',
            flush=True,
        )
        resume = ['--resume'] if list(work_dir.glob('*.pth')) else []
        run_tool('train.py', str(CONFIG), *options, *resume, *overrides)
    trained = time.monotonic()
    print('[2/2] testing on unseen scenes', flush=True)
    pictures = str(work_dir / 'pictures')
    run_tool('test.py', str(CONFIG), str(last), *options, '--show-dir', pictures, *overrides)
    newest = max(work_dir.glob('*/*.json'), key=lambda path: path.stat().st_mtime)
    print(f'\n{(trained - start) / 60:.1f} minutes of training and search')
    print('\n'.join(summarise(work_dir, json.loads(newest.read_text()), last)))


if __name__ == '__main__':
    main()
