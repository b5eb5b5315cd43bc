"""Trainings of clips by the command line: resumed, on broken videos, at full size on real clips."""

import pytest
import torch
from mmengine.optim.optimizer import amp_optimizer_wrapper

from sparse_mm.checkpoints import read_checkpoint
from tests.projects.video_recognition.conftest import CONFIGS
from tests.projects.video_recognition.videos import write_video

# The recipe of Kinetics-400 with the smallest model, on two clips of two classes.
SMALLEST = """
_base_ = {base!r}
model = dict(
    backbone=dict(
        _delete_=True, type='VideoSparseFormer',
        arch=dict(num_tokens=4, dims=(16, 32), depth=1, drop_path_rate=0.2),
        replicates=2, focusing_repeats=1, num_heads=4, num_points=4, feature_channels=8),
    head=dict(num_classes=2, in_channels=32, topk=(1,)))
data_preprocessor = dict(num_classes=2)
clip = dict(type='DecodeClips', clip_len=4)
pipeline = [
    dict(random=True, **clip), dict(type='RandomResizedCropClips', size=16),
    dict(type='FlipClips'), dict(type='PackClips')]
test_pipeline = [clip, dict(type='ResizeClips', size=16), dict(type='PackClips')]
loader = dict(num_workers=0, batch_size=2)
train_dataloader = dict(dataset=dict(num_classes=2, pipeline=pipeline), **loader)
val_dataloader = dict(dataset=dict(num_classes=2, pipeline=test_pipeline), **loader)
test_dataloader = val_dataloader
val_evaluator = dict(topk=1)
test_evaluator = val_evaluator
train_cfg = dict(max_epochs=2)
custom_hooks = [
    dict(type='EMAHook', momentum=0.1, priority='ABOVE_NORMAL'), dict(type='LossScaleHook')]
randomness = dict(seed=0)
"""
# One real clip, as it is.
FULL = """
_base_ = {base!r}
model = dict(backbone=dict(init_cfg=None))
one = dict(ann_file={table!r}, data_prefix=dict(video=''))
loader = dict(num_workers=0, batch_size=1)
train_dataloader = dict(dataset=one, **loader)
val_dataloader = dict(dataset=one, **loader)
test_dataloader = dict(dataset=one, **loader)
train_cfg = dict(max_epochs=1)
default_hooks = dict(
    logger=dict(interval=1), checkpoint=dict(save_optimizer=False, save_param_scheduler=False))
"""
FP32 = '--cfg-options', 'optim_wrapper.type=OptimWrapper'  # a CPU has no mixed precision


@pytest.fixture
def kinetics(tmp_path, monkeypatch):
    """Two classes of two short videos, laid out as Kinetics-400."""
    root = tmp_path / 'kinetics'
    for split in ('train', 'val'):
        for name in ('air drumming', 'zumba'):
            for number in range(2):
                write_video(root / split / name / f'{number}.mp4', frames=8)
    (root / 'label_map_k400.txt').write_text('zumba\nair drumming\n')
    monkeypatch.setenv('KINETICS_ROOT', str(root))
    return root


@pytest.fixture
def smallest(tmp_path, kinetics):
    pytest.importorskip('av', reason='PyAV is not installed: requirements/video.txt')
    # Runs of one name in one second would share a logger, which a former test has closed.
    path = tmp_path / f'{tmp_path.name}.py'
    path.write_text(SMALLEST.format(base=str(CONFIGS / 'video_sparseformer_tiny_kinetics400.py')))
    return path


@pytest.fixture
def amp_on_a_cpu(monkeypatch):
    """Lets MMEngine's AmpOptimWrapper compute where there is no GPU, with torch's own scaler."""

    class Scaler(torch.amp.GradScaler):
        def __init__(self):
            super().__init__('cpu', init_scale=1024.0, growth_interval=1)

    monkeypatch.setattr(amp_optimizer_wrapper, 'is_cuda_available', lambda: True)
    monkeypatch.setattr(amp_optimizer_wrapper, 'GradScaler', Scaler)
    monkeypatch.setattr('sparse_mm.engine.checks.device.uses_amp', lambda wrapper: False)


@pytest.mark.slow
@pytest.mark.parametrize('mixed', [False, True])
def test_the_recipe_resumes_to_the_same_weights(call_tool, smallest, tmp_path, mixed, amp_on_a_cpu):
    """Mixup, random clips, drop path, average, AdamW's moments and the loss scale continue."""
    given = '--cfg-options', 'optim_wrapper.clip_grad.max_norm=5.0' if mixed else FP32[1]
    call_tool('train.py', smallest, '--work-dir', 'whole', *given)
    options = '--work-dir', 'parts'
    call_tool('train.py', smallest, *options, *given, 'train_cfg.max_epochs=1')
    call_tool('train.py', smallest, *options, *given, '--resume')
    whole, parts = (
        read_checkpoint(str(tmp_path / run / 'epoch_2.pth')) for run in ('whole', 'parts')
    )
    for part in ('state_dict', 'ema_state_dict'):
        assert whole[part].keys() == parts[part].keys()
        for name, value in whole[part].items():
            assert torch.equal(value, parts[part][name]), (part, name)
    name = 'backbone.cortex.0.attn.qkv.weight'
    assert not torch.equal(whole['state_dict'][name], whole['ema_state_dict'][f'module.{name}'])
    if mixed:
        scales = [saved['optimizer']['loss_scaler']['scale'] for saved in (whole, parts)]
        assert scales == [1024.0 * 2**4] * 2  # doubled in each of four steps
    log = call_tool('test.py', smallest, tmp_path / 'whole' / 'epoch_2.pth')
    assert 'accuracy/views: 1' in log


@pytest.mark.slow
def test_a_training_skips_broken_videos(call_tool, refusal, smallest, kinetics):
    broken = kinetics / 'train' / 'zumba' / '0.mp4'
    broken.write_bytes(broken.read_bytes()[:400])
    log = call_tool('train.py', smallest, '--work-dir', 'run', *FP32)
    assert log.count('Skipped (1 so far)') == 1
    tested = kinetics / 'val' / 'zumba' / '1.mp4'
    tested.write_bytes(tested.read_bytes()[:400])
    test = 'test.py', smallest, 'run/epoch_2.pth', '--work-dir', 'run'
    message = refusal(*test)
    assert str(tested) in message
    assert "on_broken='skip'" in message
    skip = 'test_dataloader.dataset.on_broken=skip', 'experiment_name=skipping'
    assert 'accuracy/broken: 1' in call_tool(*test, '--cfg-options', *skip)


def test_other_numbers_of_classes_are_named_before_the_first_step(refusal, call_tool, smallest):
    train = 'train.py', smallest, *FP32
    head = 'model.head.num_classes=3'
    message = refusal(*train, head, '--work-dir', 'one')
    assert 'mixes labels of 2 classes, and the head has 3' in message
    both = head, 'data_preprocessor.num_classes=3', 'experiment_name=both'
    with pytest.raises(SystemExit, match=r'2 classes, and the model has 3; set num_cl'):
        call_tool(*train, *both, '--work-dir', 'two')


@pytest.fixture
def real(shared, tmp_path, monkeypatch):
    """Writes a config of full size that sees one real clip."""
    pytest.importorskip('av', reason='PyAV is not installed: requirements/video.txt')
    monkeypatch.setenv('KINETICS_ROOT', str(shared('data/kinetics400')))
    table = tmp_path / 'one.csv'
    table.write_text('arm_wrestling.mp4,arm wrestling\n')

    def write(arch):
        base = CONFIGS / f'video_sparseformer_{arch}_kinetics400.py'
        path = tmp_path / f'{arch}.py'
        path.write_text(FULL.format(base=str(base), table=str(table)))
        return path

    return write


@pytest.mark.slow
@pytest.mark.parametrize('arch', ['tiny', 'small', 'base'])
def test_a_step_at_full_size_on_a_real_clip(call_tool, real, arch, tmp_path):
    """32 frames of 224x224, with mixing, drop path, falling rates and the average."""
    log = call_tool('train.py', real(arch), '--work-dir', 'run', *FP32)
    assert 'loss: nan' not in log
    assert 'These scores are of one view of each video' in log
    if arch == 'tiny':
        log = call_tool('test.py', real(arch), 'run/epoch_1.pth', '--work-dir', 'run')
        assert 'These scores are means of 12 views of each video' in log
        assert 'accuracy/views: 12' in log
