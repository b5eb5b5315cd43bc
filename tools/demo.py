"""The demo: trains and tests SparseViT with Mask R-CNN on generated scenes (``make demo``)."""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

from mmengine.config import Config
from mmengine.runner import find_latest_checkpoint

ROOT = Path(__file__).resolve().parent.parent
CONFIG = ROOT / 'configs' / 'sparsevit_maskrcnn_shapes.py'


def run_tool(tool: str, *arguments: str) -> None:
    """Runs one of our command lines; ends where it fails."""
    result = subprocess.run([sys.executable, str(ROOT / 'tools' / tool), *arguments], cwd=ROOT)
    if result.returncode:
        sys.exit(result.returncode)


def main() -> None:
    """Trains (or goes on, or skips what is done), tests, and says where the results lie."""
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
        print(f'[1/2] training {epochs} epochs, about ten minutes on two cores', flush=True)
        resume = ['--resume'] if find_latest_checkpoint(str(work_dir)) else []
        run_tool('train.py', str(CONFIG), *options, *resume, *overrides)
    trained = time.monotonic()
    print('[2/2] testing on unseen scenes', flush=True)
    pictures = work_dir / 'pictures'
    arguments = [str(CONFIG), str(last), *options, '--show-dir', str(pictures), *overrides]
    run_tool('test.py', *arguments)

    newest = max(work_dir.glob('*/*.json'), key=lambda path: path.stat().st_mtime)
    metrics = json.loads(newest.read_text())
    print(
        f'\nbox mAP {metrics["coco/bbox_mAP"]:.3f}, mask mAP {metrics["coco/segm_mAP"]:.3f} '
        f'on unseen scenes (training took {(trained - start) / 60:.1f} min)\n'
        f'checkpoint: {last}\nmetrics:    {newest}\n'
        f'pictures:   {pictures} (left: truth, right: found)'
    )


if __name__ == '__main__':
    main()
