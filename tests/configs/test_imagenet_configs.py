"""Every SparseFormer config for ImageNet builds, with the recipe of the paper."""

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DATA_SAMPLERS, MODELS, init_default_scope

from tests.conftest import ROOT

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


def test_what_decays():
    cfg = read('sparseformer_tiny_imagenet')
    model = MODELS.build(cfg.model)
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    names = {parameter: name for name, parameter in model.named_parameters()}
    decay = {
        names[parameter]: group['weight_decay']
        for group in wrapper.param_groups
        for parameter in group['params']
        if parameter in names  # MMEngine adds a group that stands for the base settings
    }
    assert decay['backbone.token_rois'] == 0
    assert decay['backbone.token_embedding'] == 0.05
    assert decay['backbone.focusing.norm1.weight'] == 0
    assert decay['backbone.focusing.attn.qkv.weight'] == 0.05
    assert cfg.optim_wrapper.clip_grad.max_norm == 5
    assert cfg.custom_hooks[0].momentum == 1e-4


@pytest.mark.parametrize('path', sorted((ROOT / 'configs').glob('sparseformer_*.py')), ids=str)
def test_every_sparse_former_is_told_the_loss_scale(path):
    hooks = Config.fromfile(path).custom_hooks
    assert sum(hook.type == 'LossScaleHook' for hook in hooks) == 1
