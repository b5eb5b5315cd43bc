"""tools/train.py and tools/test.py as a user runs them, on tiny generated scenes."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from sparse_mm.checkpoints import read_checkpoint
from tests.conftest import ROOT, free_port

SHAPES = ROOT / 'configs' / 'sparsevit_maskrcnn_shapes_dense.py'
COCO = ROOT / 'configs' / 'sparsevit_maskrcnn_coco.py'
SWIN = ROOT / 'configs' / '_base_' / 'sparse_mm.py'
TINY = [
    'train_dataloader.dataset.pipeline.2.scale=(128,128)',
    'val_dataloader.dataset.pipeline.1.scale=(128,128)',
    'test_dataloader.dataset.pipeline.1.scale=(128,128)',
    'train_dataloader.dataset.num_images=6',
    'train_dataloader.dataset.size=96',
    'train_dataloader.num_workers=0',
    'train_dataloader.persistent_workers=False',
    'train_dataloader.batch_size=2',
    'val_dataloader.dataset.num_images=2',
    'val_dataloader.dataset.size=96',
    'val_dataloader.num_workers=0',
    'val_dataloader.persistent_workers=False',
    'test_dataloader.dataset.num_images=2',
    'test_dataloader.dataset.size=96',
    'test_dataloader.num_workers=0',
    'test_dataloader.persistent_workers=False',
    'model.backbone.embed_dims=16',
    'model.neck.in_channels=[32,64,128]',
    # After a few steps all scores are low; without any detection there is no metric.
    'model.test_cfg.rcnn.score_thr=1e-4',
    'default_hooks.logger.interval=1',
    'default_hooks.checkpoint.save_best=None',
    'default_hooks.checkpoint.max_keep_ckpts=9',
]


def last_error(result) -> str:
    assert 'Traceback' not in result.stderr, result.stderr[-3000:]
    return result.stderr.strip().splitlines()[-1]


def start_tool(tool, *arguments, cwd):
    command = [sys.executable, str(ROOT / 'tools' / tool), *map(str, arguments)]
    quiet = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return subprocess.Popen(command, cwd=cwd, **quiet)


def epochs(count):
    return [*TINY, f'train_cfg.max_epochs={count}', 'param_scheduler.1.end=2']


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A run of two epochs, with its log."""
    folder = tmp_path_factory.mktemp('trained')
    result = subprocess.run(
        [
            *(sys.executable, str(ROOT / 'tools' / 'train.py'), str(SHAPES), '--work-dir', 'run'),
            *('--cfg-options', *epochs(2)),
        ],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    return folder, result.stdout


def options_in(folder: Path) -> list[str]:
    return [*TINY, f'data_root={folder}/data/shapes']


@pytest.mark.slow
def test_training_draws_the_data_trains_and_evaluates(trained):
    folder, log = trained
    assert (folder / 'run' / 'epoch_2.pth').is_file()
    assert (folder / 'data' / 'shapes' / 'annotations' / 'train.json').is_file()
    assert 'coco/bbox_mAP' in log
    assert 'coco/segm_mAP' in log
    assert 'eta:' in log


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_weights_of_the_uninterrupted_one(trained, tmp_path, run_tool):
    folder, _ = trained
    run = tmp_path / 'run'
    arguments = ['train.py', SHAPES, '--work-dir', 'run']
    options = ['--cfg-options', *epochs(2), f'data_root={folder}/data/shapes']
    process = start_tool(*arguments, *options, cwd=tmp_path)
    # A kill -9 somewhere in the second epoch.
    deadline = time.monotonic() + 120
    while not (run / 'last_checkpoint').is_file() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.kill()
    process.wait()
    assert not (run / 'epoch_2.pth').is_file()
    result = run_tool(*arguments, '--resume', *options)
    assert 'resumed epoch: 1' in result.stdout
    found = read_checkpoint(str(run / 'epoch_2.pth'))
    expected = read_checkpoint(str(folder / 'run' / 'epoch_2.pth'))
    for name, value in expected['state_dict'].items():
        torch.testing.assert_close(found['state_dict'][name], value, rtol=0, atol=0, msg=name)
    assert found['param_schedulers'] == expected['param_schedulers']
    history = found['message_hub']['log_scalars']['train/loss']
    assert len(history._log_history) == 6


@pytest.mark.slow
def test_testing_with_every_option(trained, run_tool, tmp_path):
    folder, _ = trained
    checkpoint = folder / 'run' / 'epoch_2.pth'
    options = ['--cfg-options', *options_in(folder)]
    result = run_tool(
        *('test.py', SHAPES, checkpoint, '--work-dir', 'test', '--out', 'found.pkl'),
        *('--show-dir', 'pictures', *options),
    )
    assert 'coco/bbox_mAP' in result.stdout
    assert (tmp_path / 'found.pkl').is_file()
    assert len(list((tmp_path / 'test').glob('*/pictures/*.jpg'))) == 2
    metrics = json.loads(next((tmp_path / 'test').glob('*/*.json')).read_text())
    assert 'coco/segm_mAP' in metrics
    result = run_tool('test.py', SHAPES, checkpoint, '--work-dir', 'tta', '--tta', *options)
    assert 'boxes only' in result.stdout
    assert 'coco/bbox_mAP' in result.stdout
    assert 'coco/segm_mAP' not in result.stdout


@pytest.mark.slow
def test_a_finished_run_is_not_written_over(trained, refusal):
    folder, _ = trained
    before = (folder / 'run' / 'epoch_2.pth').stat().st_mtime
    work_dir = '--work-dir', folder / 'run'
    message = refusal('train.py', SHAPES, *work_dir, '--cfg-options', *options_in(folder))
    assert re.search(r'holds an earlier run .*epoch_1.pth.* --resume', message)
    assert (folder / 'run' / 'epoch_2.pth').stat().st_mtime == before


@pytest.mark.slow
def test_checkpoints_of_other_models_are_refused(trained, refusal, tmp_path):
    folder, _ = trained
    checkpoint = folder / 'run' / 'epoch_2.pth'
    options = ['--cfg-options', *options_in(folder), 'model.backbone.embed_dims=32']
    options.append('model.neck.in_channels=[64,128,256]')
    message = refusal('test.py', SHAPES, checkpoint, '--work-dir', 'test', *options)
    assert re.search(
        r'is of another model, its shapes differ: backbone.patch_embed.projection.weight '
        r'\(16, 3, 4, 4\) instead of \(32, 3, 4, 4\)',
        message,
    )
    cut = tmp_path / 'cut.pth'
    cut.write_bytes(checkpoint.read_bytes()[:100_000])
    resume = '--work-dir', 'new', '--resume', cut
    message = refusal('train.py', SHAPES, *resume, '--cfg-options', *options_in(folder))
    assert 'cut.pth' in message
    assert 'is truncated or not a PyTorch checkpoint' in message


@pytest.mark.slow
def test_the_demo_closes_with_five_lines(run_tool, tmp_path):
    search = [f'custom_hooks.1.{name}' for name in ('evaluations=3', 'population=3')]
    # In MACs, so that the test does not depend on this machine's latency.
    search += ['custom_hooks.1.budget.unit=macs', 'custom_hooks.1.latency_seconds=1']
    options = [*TINY, *search, f'data_root={tmp_path}/data']
    result = run_tool('demo.py', '--work-dir', tmp_path / 'run', '--cfg-options', *options)
    lines = result.stdout.strip().splitlines()[-5:]
    names = ['dense', 'winner', 'kept', 'latency', 'files']
    assert [line.split(':')[0] for line in lines] == names
    assert re.search(r'latency: \d\.\d\d of the dense backbone', lines[3])
    assert (tmp_path / 'run' / 'sparsity_search' / 'pareto.png').is_file()
    page = (tmp_path / 'run' / 'index.html').read_text()
    assert page.count('src="data:image/') == page.count('<img') == 2 * 2 + 8 + 2
    assert 'Epoch(train)' not in result.stdout  # it is in the log
    assert '  training, epoch 3: 100%' in result.stdout.splitlines()


@pytest.mark.slow
def test_two_processes_train_together(run_tool, tmp_path):
    result = subprocess.run(
        [
            *('bash', str(ROOT / 'tools' / 'dist_train.sh'), str(SHAPES), '2'),
            *('--work-dir', 'run', '--cfg-options', *epochs(1)),
            'env_cfg.dist_cfg.backend=gloo',
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={
            **os.environ,
            **{'PYTHON': sys.executable, 'OMP_NUM_THREADS': '1', 'PORT': str(free_port())},
        },
    )
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    assert (tmp_path / 'run' / 'epoch_1.pth').is_file()
    assert 'coco/bbox_mAP' in result.stdout


class TestRefusals:
    """One clear sentence, no traceback, before anything is built."""

    def test_no_coco(self, run_tool):
        result = run_tool(
            'train.py', COCO, '--cfg-options', 'optim_wrapper.type=OptimWrapper', fails=True
        )
        message = last_error(result)
        assert "there is no 'data/coco/annotations/instances_train2017.json'" in message
        for part in ('train2017/', 'COCO_ROOT', 'data_root=', 'sparsevit_maskrcnn_shapes.py'):
            assert part in message

    @pytest.mark.parametrize('how', ['environment', 'option'])
    def test_one_setting_moves_the_data(self, refusal, tmp_path, how):
        (tmp_path / 'elsewhere' / 'annotations').mkdir(parents=True)
        for name in ('train2017', 'val2017'):
            (tmp_path / 'elsewhere' / name).mkdir()
        whole = '{"images": []}'
        (tmp_path / 'elsewhere/annotations/instances_train2017.json').write_text(whole)
        (tmp_path / 'elsewhere/annotations/instances_val2017.json').write_text(whole[:5])
        options = ['optim_wrapper.type=OptimWrapper']
        env = {}
        if how == 'option':
            options.append('data_root=elsewhere')
        else:
            env['COCO_ROOT'] = 'elsewhere/'
        message = refusal('train.py', COCO, '--cfg-options', *options, env=env)
        assert 'instances_val2017.json' in message
        assert 'is truncated' in message

    def test_cuda_where_there_is_none(self, refusal):
        if torch.cuda.is_available():
            pytest.skip('there is a CUDA device')
        message = refusal('train.py', SHAPES, '--amp')
        assert 'optim_wrapper.type=OptimWrapper' in message
        assert 'needs a CUDA device, and torch sees none' in message
        launched = dict(RANK='0', WORLD_SIZE='1', MASTER_ADDR='localhost')
        message = refusal('train.py', SHAPES, '--launcher', 'pytorch', env=launched)
        assert 'env_cfg.dist_cfg.backend=gloo' in message

    def test_all_problems_are_reported_at_once(self, run_tool, tmp_path):
        (tmp_path / 'run').mkdir()
        (tmp_path / 'run' / 'epoch_1.pth').touch()
        result = run_tool('train.py', COCO, '--work-dir', 'run', '--launcher', 'none', fails=True)
        assert 'Traceback' not in result.stderr
        lines = result.stderr[result.stderr.index('error: ') :].strip().splitlines()
        problems = [line for line in lines if line.startswith('- ')]
        expected = ['epoch_1.pth', 'data/coco/annotations/instances_train2017.json']
        if not torch.cuda.is_available():
            expected.append('AmpOptimWrapper')
        assert len(problems) == len(expected)
        assert lines[0].startswith(f'error: {len(expected)} things')
        for part in expected:
            assert sum(part in problem for problem in problems) == 1

    def test_ratios(self, refusal):
        for ratios, sentence in (('[0.1,0.2]', '2 numbers'), ('1.5', 'less than 1')):
            option = f'model.backbone.pruning_ratios={ratios}'
            assert sentence in refusal('train.py', SHAPES, '--cfg-options', option)

    def test_work_dir(self, refusal, tmp_path):
        (tmp_path / 'file').write_text('')
        message = refusal('train.py', SHAPES, '--work-dir', 'file/run')
        assert "The work directory 'file/run' cannot be written" in message

    def test_config_and_checkpoint(self, refusal):
        assert 'no config file' in refusal('train.py', 'nothing.py')
        message = refusal('test.py', SHAPES, 'nothing.pth')
        assert "The checkpoint 'nothing.pth' does not exist" in message
        message = refusal('test.py', SHAPES, 'nothing.pth', '--out', 'found.json')
        assert '--out must name a .pkl file' in message
        message = refusal('search.py', SHAPES, 'nothing.pth')
        assert 'The search needs a budget' in message
        message = refusal('search.py', SHAPES, 'nothing.pth', '--budget', 'speed=2')
        assert 'the units are latency, ms, macs, gmacs' in message
        message = refusal('search.py', SHAPES, 'nothing.pth', '--budget', 'macs=0.5')
        assert "The checkpoint 'nothing.pth' does not exist" in message
        tool = 'analysis_tools/latency_table.py'
        assert 'fixed image size' in refusal(tool, SWIN)
        assert '--batch and --shape must be at least 1' in refusal(tool, SHAPES, '--batch', '0')
