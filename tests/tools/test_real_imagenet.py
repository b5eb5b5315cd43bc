"""The real ImageNet config on real images: an epoch of two steps, its averaged weights, a test."""

import pytest
import torch

from sparse_mm.checkpoints import read_checkpoint
from tests.conftest import ROOT

REDUCED = """
_base_ = {base!r}
loader = dict(num_workers=0, persistent_workers=False, batch_size=2)
files = dict(split='', data_prefix='val', ann_file={files!r}, indices=4)
train_dataloader = dict(dataset=files, **loader)
val_dataloader = dict(dataset=files, **loader)
test_dataloader = dict(dataset=files, **loader)
train_cfg = dict(max_epochs=1)
param_scheduler = []
default_hooks = dict(logger=dict(interval=1))
"""


@pytest.mark.slow
def test_two_steps_and_a_test(run_tool, tmp_path, shared):
    config = tmp_path / 'reduced.py'
    base = str(ROOT / 'configs' / 'sparseformer_tiny_imagenet.py')
    root = shared('data/imagenet')
    named = [line.split() for line in (root / 'class_index.txt').read_text().splitlines()]
    files = tmp_path / 'files.txt'
    paths = {f'{name.split("_")[0]}/{name}': index for name, index in named}
    there = [path for path in paths if (root / 'val' / path).is_file()]
    files.write_text(''.join(f'{path} {paths[path]}\n' for path in there))
    config.write_text(REDUCED.format(base=base, files=str(files)))
    env = {'IMAGENET_ROOT': str(root)}
    log = run_tool('train.py', config, '--work-dir', 'run', env=env).stdout
    assert 'accuracy/top1' in log
    assert 'loss: nan' not in log
    checkpoint = read_checkpoint(str(tmp_path / 'run' / 'epoch_1.pth'))
    # MMEngine saves what is validated, the average, as the state_dict.
    averaged, raw = checkpoint['state_dict'], checkpoint['ema_state_dict']
    name = 'backbone.focusing.attn.qkv.weight'
    assert not torch.equal(averaged[name], raw[f'module.{name}'])
    log = run_tool('test.py', config, 'run/epoch_1.pth', '--work-dir', 'run', env=env).stdout
    assert 'accuracy/top1' in log


@pytest.mark.slow
def test_missing_images_are_found_before_training(refusal):
    config = ROOT / 'configs' / 'sparseformer_base_imagenet_384.py'
    message = refusal('train.py', config, env={'IMAGENET_ROOT': 'nowhere'})
    assert "there is no 'nowhere/train'" in message
    assert 'IMAGENET_ROOT' in message
