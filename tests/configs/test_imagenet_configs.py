"""Every SparseFormer config for ImageNet builds, with the recipe of the paper."""

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DATA_SAMPLERS, MODELS, init_default_scope

from tests.conftest import ROOT, require_configs_of

EVERY = sorted(path.stem for path in (ROOT / 'configs').glob('sparseformer_*_imagenet*.py'))
PRETRAINING = 'sparseformer_base_imagenet21k'
CONFIGS = [name for name in EVERY if name != PRETRAINING]


def read(name):
    cfg = Config.fromfile(ROOT / 'configs' / f'{name}.py')
    init_default_scope(cfg.default_scope)
    return cfg


@pytest.mark.parametrize('name', CONFIGS)
def test_config(name):
    cfg = read(name)
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    arch = name.split('_')[1]
    size = next((int(part) for part in name.split('_') if part in ('384', '512')), 224)
    tokens = {'tiny': 49, 'small': 64, 'base': 81}[arch]
    tokens = {'n144': 144, 'n196': 196}.get(name.split('_')[-1], tokens)
    assert len(model.backbone.token_rois) == tokens
    assert model.head.in_channels == model.backbone.num_features
    assert cfg.train_pipeline[1].scale == size
    for split in 'val', 'test':
        crop = cfg[f'{split}_dataloader'].dataset.pipeline[2]
        assert crop.type == 'CenterCrop'
        assert crop.crop_size == size
    assert cfg.train_dataloader.dataset.pipeline[1].scale == size
    assert cfg.train_dataloader.sampler.num_repeats == 3
    assert DATA_SAMPLERS.get('mmpretrain.RepeatAugSampler') is not None
    finetuned = size != 224
    assert cfg.train_cfg.max_epochs == (30 if finetuned else 300)
    pretrained = cfg.model.backbone.get('init_cfg')
    assert (pretrained is not None) == name.startswith(PRETRAINING)
    assert cfg.optim_wrapper.optimizer.lr == (5e-5 if finetuned else 1e-3)


def test_there_is_one_for_each_row_of_the_paper():
    rows = ('tiny', 'small', 'base')
    scaled = ('384', '512', '384_n144', '384_n196')
    names = {f'sparseformer_{row}_imagenet' for row in rows}
    names |= {f'sparseformer_base_imagenet_{row}' for row in scaled}
    finetuned = {f'{PRETRAINING}_finetune_{row}' for row in ('384', '384_n144', '384_n196')}
    assert set(EVERY) == names | finetuned | {PRETRAINING}


def test_pretraining_on_more_classes():
    cfg = read(PRETRAINING)
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    assert model.head.fc.out_features == cfg.data_preprocessor.num_classes == 21842
    assert len(model.backbone.token_rois) == 81
    assert cfg.train_dataloader.dataset.type == 'ImageNet21k'
    assert cfg.train_dataloader.sampler == dict(type='DefaultSampler', shuffle=True)
    assert cfg.val_dataloader is cfg.val_cfg is cfg.val_evaluator is None
    assert cfg.train_cfg.max_epochs == cfg.param_scheduler[1].end == 90


REDUCED = """
_base_ = {base!r}
model = dict(
    backbone=dict(
        arch=dict(
            _delete_=True, num_tokens={tokens}, dims=(16, 32), depth=1, drop_path_rate=0.0
        ),
        num_tokens=None,
        num_heads=4,
        num_points=4,
        feature_channels=8,
    ),
    head=dict(in_channels=32),
)
train_dataloader = dict(num_workers=0, persistent_workers=False, batch_size=4)
train_cfg = dict(max_epochs=1)
"""
STILL = """
two = dict(metainfo=dict(classes=['n00000000', 'n00000001']))
train_dataloader = dict(dataset=two)
loader = dict(num_workers=0, persistent_workers=False, dataset=two)
val_dataloader = loader
test_dataloader = loader
optim_wrapper = dict(optimizer=dict(lr=0.0))
model = dict(backbone=dict(init_cfg=dict(checkpoint={checkpoint!r})))
"""


def pictures(folder, classes, count=4):
    for number in range(classes):
        (folder / f'n{number:08}').mkdir(parents=True)
        for picture in range(count):
            image = np.random.default_rng((number, picture)).integers(0, 255, (40, 48, 3), np.uint8)
            cv2.imwrite(str(folder / f'n{number:08}' / f'{picture}.jpg'), image)


@pytest.mark.slow
def test_from_more_classes_to_other_ones_and_more_tokens(call_tool, tmp_path, monkeypatch):
    """Pre-trains with 4 tokens and 21842 classes; finetunes with 4, then 9, and a new head."""
    pictures(tmp_path / '21k' / 'train', classes=3)
    for split in 'train', 'val':
        pictures(tmp_path / '1k' / split, classes=2)
    monkeypatch.setenv('IMAGENET21K_ROOT', str(tmp_path / '21k'))
    monkeypatch.setenv('IMAGENET_ROOT', str(tmp_path / '1k'))

    def train(name, tokens, start=None):
        """Trains a reduced config for an epoch; with a start it learns at a rate of zero."""
        text = REDUCED.format(base=str(ROOT / 'configs' / f'{name}.py'), tokens=tokens)
        config = tmp_path / f'reduced_{name}.py'
        config.write_text(text)
        if start is not None:
            still = tmp_path / f'still_{name}.py'
            still.write_text(f'_base_ = {str(config)!r}\n' + STILL.format(checkpoint=start))
            config = still
        log = call_tool('train.py', config, '--work-dir', name, '--cfg-options',
                        'train_dataloader.dataset.pipeline.1.scale=32')  # fmt: skip
        assert 'loss: nan' not in log
        path = tmp_path / name / 'epoch_1.pth'
        return str(path), torch.load(path, weights_only=True)['state_dict']

    pretrained, first = train(PRETRAINING, 4)
    assert first['head.fc.weight'].shape == (21842, 32)
    finetuned, second = train(f'{PRETRAINING}_finetune_384', 4, pretrained)
    assert second['head.fc.weight'].shape == (1000, 32)
    for name, value in second.items():
        if name.startswith('backbone.'):
            torch.testing.assert_close(value, first[name], msg=name)
    _, more = train(f'{PRETRAINING}_finetune_384_n144', 9, finetuned)
    assert more['backbone.token_rois'].shape == (9, 4)
    # Each new token starts as one of the four, the corners as their own.
    known = {tuple(row) for row in second['backbone.token_embedding'].tolist()}
    assert {tuple(row) for row in more['backbone.token_embedding'].tolist()} == known


def test_what_decays():
    cfg = read('sparseformer_tiny_imagenet')
    model = MODELS.build(cfg.model)
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    names = {parameter: name for name, parameter in model.named_parameters()}
    decay = {
        names[parameter]: group['weight_decay']
        for group in wrapper.param_groups
        for parameter in group['params']
        if parameter in names  # MMEngine adds a group with the base settings
    }
    assert decay['backbone.token_rois'] == 0
    assert decay['backbone.token_embedding'] == 0.05
    assert decay['backbone.focusing.norm1.weight'] == 0
    assert decay['backbone.focusing.attn.qkv.weight'] == 0.05
    assert cfg.optim_wrapper.clip_grad.max_norm == 5
    assert cfg.custom_hooks[0].momentum == 1e-4


@pytest.mark.parametrize('path', sorted((ROOT / 'configs').glob('sparseformer_*.py')), ids=str)
def test_every_sparse_former_config_has_the_loss_scale_hook(path):
    for host in ('mmdet3d', 'mmseg'):
        if f'{host}::' in path.read_text():
            require_configs_of(host)
    hooks = Config.fromfile(path).custom_hooks
    assert sum(hook.type == 'LossScaleHook' for hook in hooks) == 1
