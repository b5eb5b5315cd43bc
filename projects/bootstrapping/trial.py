"""The small trial, with several seeds: a teacher, its student, and the student without a teacher.

python projects/bootstrapping/trial.py --work-dir work_dirs/bootstrapping --seeds 0 1 2

The student without a teacher learns by labels, and gets at least as much time as the other one.
What is done already is not done again.
"""

import argparse
import json
import math
import subprocess
import sys
from pathlib import Path
from statistics import mean, median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # Python adds a script's folder alone

from sparse_mm.engine.checks import check_work_dir, report
from sparse_mm.engine.children import ending_with_parent
from sparse_mm.engine.command_line import read_config, run, whole
from sparse_mm.engine.files import write_atomically
from sparse_mm.engine.logged import scalars
from sparse_mm.errors import BadInputError

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / 'projects' / 'bootstrapping' / 'configs'


def setting(text: str) -> str:
    """A setting of ``--cfg-options``.

    Raises:
        argparse.ArgumentTypeError: It has no value.
    """
    if '=' not in text:
        raise argparse.ArgumentTypeError(f'{text!r} is not key=value')
    return text


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--work-dir', required=True, help='folder for all runs')
    parser.add_argument(
        '--seeds',
        type=whole,
        nargs='+',
        default=[0, 1, 2],
        help='seeds of the runs (default: 0 1 2)',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        default=[],
        type=setting,
        help='settings of all configs, as for train.py',
    )
    return parser.parse_args()


def train(name: str, folder: Path, *options: str) -> dict[str, Any]:
    """Trains a config, unless it has been trained there; gives its accuracy and its steps' time.

    Args:
        name: Of the config.
        folder: For its run.
        *options: Settings to change.

    Raises:
        BadInputError: The training failed.
    """
    done = folder / 'trial.json'
    if done.exists():
        return json.loads(done.read_text())
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / 'output.txt'
    command = [sys.executable, str(ROOT / 'tools' / 'train.py'), str(CONFIGS / f'{name}.py')]
    command += ['--work-dir', str(folder), '--resume', '--cfg-options', *options]
    with log.open('a') as file:
        child = ending_with_parent(command)
        failed = subprocess.run(child, stdout=file, stderr=subprocess.STDOUT).returncode
    if failed:
        raise BadInputError(f'Training {name} failed; its output is in {str(log)!r}.')
    found = _summary(scalars(folder), _last_checkpoint(folder))
    write_atomically(done, json.dumps(found))
    return found


def _summary(lines: list[dict[str, Any]], checkpoint: str) -> dict[str, Any]:
    """What a run has logged, over all its starts: a run that was interrupted has several."""
    steps = [line for line in lines if 'loss' in line]
    step = median(line['time'] for line in steps)
    return dict(
        accuracy=[line['accuracy/top1'] for line in lines if 'accuracy/top1' in line][-1],
        seconds=step * max(line['iter'] for line in steps),
        step=step,
        checkpoint=checkpoint,
    )


def _last_checkpoint(folder: Path) -> str:
    return str((folder / Path((folder / 'last_checkpoint').read_text()).name).resolve())


def trial(seed: int, folder: Path, common: list[str]) -> dict[str, dict[str, Any]]:
    """Trains the three models with one seed; the teacher's seconds count both of its trainings."""
    options = [f'randomness.seed={seed}', *common]
    pretrained = train('pretrain_shapes', folder / f'pretrain_{seed}', *options)
    init = f'model.backbone.init_cfg.checkpoint={pretrained["checkpoint"]}'
    teacher = train('teacher_shapes', folder / f'teacher_{seed}', *options, init)
    teacher = dict(teacher, seconds=pretrained['seconds'] + teacher['seconds'])
    init = f'model.teacher.init_cfg.checkpoint={teacher["checkpoint"]}'
    taught = train('bootstrap_shapes', folder / f'taught_{seed}', *options, init)
    # As many epochs as the other's time has room for, and one of its own at most more.
    epochs = int(read_config(str(CONFIGS / 'student_shapes.py')).max_epochs)
    once = train('student_shapes', folder / f'once_{seed}', *options, 'train_cfg.max_epochs=1',
                 'train_cfg.val_interval=1')  # fmt: skip
    longer = max(epochs, math.ceil(epochs * taught['step'] / once['step']))
    lengths = [f'train_cfg.max_epochs={longer}', f'param_scheduler.1.end={longer}']
    lengths += [f'train_cfg.val_interval={longer}']
    alone = train('student_shapes', folder / f'alone_{seed}', *options, *lengths)
    return dict(teacher=teacher, taught=taught, alone=alone)


def main() -> None:
    """Runs the trial; prints a line for each seed, and the means."""
    args = parse_args()
    report(check_work_dir(args.work_dir))
    print('| seed | teacher | taught student | student alone | seconds of each, in steps |')
    print('| --- | --- | --- | --- | --- |')
    trials = []
    for seed in args.seeds:
        found = trial(seed, Path(args.work_dir), args.cfg_options)
        trials.append(found)
        accuracies = ' | '.join(f'{one["accuracy"]:.1f}' for one in found.values())
        seconds = ', '.join(f'{one["seconds"]:.0f}' for one in found.values())
        print(f'| {seed} | {accuracies} | {seconds} |', flush=True)
    means = [mean(found[name]['accuracy'] for found in trials) for name in trials[0]]
    print(f'| mean | {" | ".join(f"{value:.1f}" for value in means)} | |')


if __name__ == '__main__':
    run(main)
