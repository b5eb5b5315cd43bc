"""Two processes as if on two machines without a shared disk: each has its own folder."""

import shutil
import signal

import pytest
from mmengine.config import Config

from tests.engine.search.toy import toy_config
from tests.faults.runs import TRAIN, Run, same_weights, scored, winner


def machines_in(folder):
    machines = [folder / name for name in ('first', 'second')]
    for machine in machines:
        machine.mkdir(parents=True, exist_ok=True)
    return machines


@pytest.mark.slow
def test_machines_need_no_common_disk(forks, tmp_path):
    cfg = toy_config(budget='latency=0.8', evaluations=8, population=4, finalists=2)
    # MMEngine's own evaluation would exchange files (docs/reliability.md).
    cfg['val_evaluator']['collect_device'] = 'gpu'
    Config(cfg).dump(tmp_path / 'toy.py')
    command = TRAIN, tmp_path / 'toy.py', '--work-dir', 'run'

    def start(machines, *options):
        return Run(forks, tmp_path, *command, *options, ranks=2, folders=machines, KILL='none')

    whole, other = machines_in(tmp_path / 'whole')
    start([whole, other]).finish()
    assert not (other / 'run' / 'sparsity_search').exists()
    assert not list((other / 'run').glob('*.pth'))

    first, second = machines_in(tmp_path / 'stopped')
    run = start([first, second])
    assert run.when(lambda: scored(first / 'run') >= 3)
    run.send(signal.SIGTERM)
    run.wait(30)
    shutil.rmtree(second)  # as if another machine replaced it
    output = start(machines_in(tmp_path / 'stopped'), '--resume').finish()
    assert 'scores of state.json of' in output
    assert (second / 'run' / 'epoch_4.pth').is_file()
    assert winner(first / 'run') == winner(whole / 'run')
    assert same_weights(first / 'run' / 'epoch_6.pth', whole / 'run' / 'epoch_6.pth')


@pytest.mark.slow
def test_a_machine_with_other_validation_images_is_refused(forks, tmp_path):
    cfg = toy_config(evaluations=4, population=4, num_images=10, finalists=0, at=2)
    cfg['custom_imports']['imports'].append('tests.faults.broken')
    cfg['custom_hooks'][0].update(begin=1, end=2)
    cfg['val_dataloader']['dataset']['type'] = 'BrokenPictures'
    cfg['val_evaluator']['collect_device'] = 'gpu'
    Config(cfg).dump(tmp_path / 'toy.py')
    machines = machines_in(tmp_path)
    for machine in machines:
        (machine / 'pictures').mkdir()
        for index in range(10):
            (machine / 'pictures' / f'{index}.jpg').write_text(f'picture {index}')
    (machines[1] / 'pictures' / '4.jpg').write_text('picture 9')  # of the same size
    command = TRAIN, tmp_path / 'toy.py', '--work-dir', 'run'
    run = Run(forks, tmp_path, *command, ranks=2, folders=machines)
    assert run.wait(60) == [1, 1]
    for rank in range(2):
        assert 'error: Process 1 has other validation images than process 0' in run.output(rank)
