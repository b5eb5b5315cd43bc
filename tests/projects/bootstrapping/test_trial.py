"""The small trial with seeds: the time of each training, and the printed table."""

import json
from types import SimpleNamespace

from projects.bootstrapping import trial


def test_the_student_alone_gets_at_least_the_others_time(tmp_path, monkeypatch, capsys):
    runs = []

    def train(name, folder, *options):
        runs.append((name, folder.name, options))
        step = 0.3 if name == 'bootstrap_shapes' else 0.2
        accuracy = dict(
            pretrain_shapes=80.0, teacher_shapes=90.0, bootstrap_shapes=88.0, student_shapes=70.0
        )[name]
        return dict(accuracy=accuracy, seconds=10, step=step, checkpoint=f'{folder.name}.pth')

    monkeypatch.setattr(trial, 'train', train)
    arguments = ['trial.py', '--work-dir', str(tmp_path), '--seeds', '0', '3']
    monkeypatch.setattr('sys.argv', [*arguments, '--cfg-options', 'a=1'])
    trial.main()
    names = [folder for _, folder, _ in runs]
    assert names[5:] == ['pretrain_3', 'teacher_3', 'taught_3', 'once_3', 'alone_3']
    assert all('a=1' in options for *_, options in runs)
    assert 'model.backbone.init_cfg.checkpoint=pretrain_3.pth' in runs[6][2]
    assert 'model.teacher.init_cfg.checkpoint=teacher_3.pth' in runs[7][2]
    # Four epochs of 0.3 s are as long as six of 0.2 s.
    assert {'randomness.seed=3', 'train_cfg.max_epochs=6'} <= set(runs[9][2])
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == '| mean | 90.0 | 88.0 | 70.0 | |'
    assert lines[-2] == '| 3 | 90.0 | 88.0 | 70.0 | 20, 10, 10 |'


def test_what_was_trained_is_not_trained_again(tmp_path, monkeypatch):
    (tmp_path / 'trial.json').write_text('{"accuracy": 50.0}')
    monkeypatch.setattr(trial.subprocess, 'run', None)
    assert trial.train('teacher_shapes', tmp_path) == dict(accuracy=50.0)


def test_a_training_that_was_interrupted_counts_as_a_whole(tmp_path, monkeypatch):
    """MMEngine begins another folder of logs at each start."""
    logs = {
        '20260101_000000': [dict(loss=1.0, time=0.2, iter=100), {'accuracy/top1': 40.0}],
        '20260101_010000': [dict(loss=0.5, time=0.2, iter=200), {'accuracy/top1': 90.0}],
        '20260101_020000': [],  # everything was done
    }
    for name in reversed(logs):
        (tmp_path / name / 'vis_data').mkdir(parents=True)
        lines = '\n'.join(json.dumps(line) for line in logs[name])
        (tmp_path / name / 'vis_data' / 'scalars.json').write_text(lines)
    (tmp_path / 'last_checkpoint').write_text('/elsewhere/epoch_2.pth')
    monkeypatch.setattr(trial.subprocess, 'run', lambda *_, **__: SimpleNamespace(returncode=0))
    found = trial.train('teacher_shapes', tmp_path)
    assert (found['accuracy'], found['step']) == (90.0, 0.2)
    assert abs(found['seconds'] - 40) < 1e-9
    assert found == json.loads((tmp_path / 'trial.json').read_text())
