"""Training with a loss scale equals training without one; every clamp gets its scale."""

import copy
from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.model import BaseModel, MMDistributedDataParallel
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import nn

from sparse_mm.engine.hooks import LossScaleHook
from sparse_mm.errors import BadInputError
from sparse_mm.models import SparseFormer

ARCH = dict(num_tokens=5, dims=(16, 32), depth=2, drop_path_rate=0.0)


class ScaledOptimWrapper(OptimWrapper):
    """What ``AmpOptimWrapper`` does with its scaler, on a CPU."""

    def __init__(self, scale, **options):
        super().__init__(**options)
        # The scale doubles with each step.
        self.loss_scaler = torch.amp.GradScaler('cpu', init_scale=scale, growth_interval=1)

    def backward(self, loss, **kwargs):
        self.loss_scaler.scale(loss).backward(**kwargs)
        self._inner_count += 1

    def step(self, **kwargs):
        self.loss_scaler.step(self.optimizer, **kwargs)
        self.loss_scaler.update()


class Classifier(BaseModel):
    def __init__(self):
        super().__init__()
        self.backbone = SparseFormer(ARCH, num_heads=4, num_points=4, feature_channels=8)
        self.head = nn.Linear(32, 1)
        self.seen = []

    def init_weights(self):
        random = torch.Generator().manual_seed(0)
        for parameter in self.parameters():
            nn.init.normal_(parameter, mean=float(parameter.ndim == 1), std=0.3, generator=random)

    def forward(self, inputs, mode='tensor', **kwargs):
        self.seen.append(self.backbone.loss_scale)
        (pooled,) = self.backbone(inputs)
        return dict(loss=30 * self.head(pooled).square().sum())


class Images(torch.utils.data.Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, i):
        generator = torch.Generator().manual_seed(i)
        return dict(inputs=torch.randn(3, 16, 24, generator=generator))


def train(tmp_path, model, scale=None, hooks=(), accumulate=1):
    options = dict(
        optimizer=torch.optim.SGD(model.parameters(), lr=1e-4), accumulative_counts=accumulate
    )
    wrapper = OptimWrapper(**options) if scale is None else ScaledOptimWrapper(scale, **options)
    loader = dict(
        dataset=Images(),
        batch_size=2,
        sampler=dict(type='DefaultSampler', shuffle=False),
        collate_fn=dict(type='default_collate'),
    )
    Runner(
        model=model,
        work_dir=str(tmp_path),
        train_dataloader=loader,
        train_cfg=dict(by_epoch=True, max_epochs=1),
        optim_wrapper=wrapper,
        custom_hooks=[dict(hook) for hook in hooks],
        default_hooks=dict(checkpoint=None, logger=None),
        experiment_name=f'{tmp_path.name}_{id(model)}',
        log_level='ERROR',
    ).train()
    return {name: value.detach() for name, value in model.named_parameters()}


EMA = dict(type='EMAHook')
HOOK = dict(type='LossScaleHook')


@pytest.mark.parametrize('scale', [1024.0, 65536.0])
@pytest.mark.parametrize('accumulate', [1, 2])
def test_training_with_a_scale_equals_training_without(tmp_path, scale, accumulate):
    plain = train(tmp_path, Classifier(), accumulate=accumulate)
    model = Classifier()
    told = train(tmp_path, model, scale, [EMA, HOOK], accumulate)
    for name, value in plain.items():
        torch.testing.assert_close(told[name], value, rtol=1e-6, atol=1e-7)
    steps = [i // accumulate for i in range(4)]
    assert [float(seen) for seen in model.seen] == [scale * 2**step for step in steps]
    assert model.backbone.loss_scale is None  # taken away
    # The clamp binds here: without the scale the gradients would differ.
    untold = train(tmp_path, Classifier(), scale, [EMA], accumulate)
    assert any((untold[name] - value).abs().max() > 1e-5 for name, value in plain.items())


def test_without_mixed_precision_nothing_is_handed_over(tmp_path):
    model = Classifier()
    train(tmp_path, model, hooks=[HOOK])
    assert model.seen == [None] * 4


def scaled(parameters, scale):
    return ScaledOptimWrapper(scale, optimizer=torch.optim.SGD(parameters, lr=0.1))


def hand_over(model, wrapper):
    hook = LossScaleHook()
    runner = SimpleNamespace(model=model, optim_wrapper=wrapper)
    hook.before_train(runner)
    hook.before_train_iter(runner, 0)
    return hook, runner


def test_of_two_optimizers_the_one_that_trains_the_backbone_counts():
    model = Classifier()
    parts = scaled(model.head.parameters(), 4.0), scaled(model.backbone.parameters(), 8.0)
    for pair in (parts, parts[::-1]):
        hand_over(model, OptimWrapperDict(**{str(i): part for i, part in enumerate(pair)}))
        assert float(model.backbone.loss_scale) == 8
    model.backbone.loss_scale = None
    plain = OptimWrapper(torch.optim.SGD(model.backbone.parameters(), lr=0.1))
    hand_over(model, OptimWrapperDict(head=parts[0], backbone=plain))
    assert model.backbone.loss_scale is None


def test_two_scales_for_one_backbone_are_refused():
    model = Classifier()
    stem, cortex = model.backbone.stem, model.backbone.cortex
    parts = scaled(stem.parameters(), 4.0), scaled(cortex.parameters(), 8.0)
    with pytest.raises(BadInputError, match='several optim wrappers'):
        hand_over(model, OptimWrapperDict(stem=parts[0], cortex=parts[1]))


def test_every_sparse_former_of_a_wrapped_model():
    model = nn.ModuleDict(dict(one=Classifier(), two=Classifier()))
    options = dict(backend='gloo', rank=0, world_size=1, store=torch.distributed.HashStore())
    torch.distributed.init_process_group(**options)
    try:
        wrapped = MMDistributedDataParallel(model)
        hook, runner = hand_over(wrapped, scaled(model.parameters(), 16.0))
    finally:
        torch.distributed.destroy_process_group()
    backbones = model['one'].backbone, model['two'].backbone
    assert [float(backbone.loss_scale) for backbone in backbones] == [16, 16]
    # A copy made during training, as for averaged weights, is a working model.
    assert float(copy.deepcopy(model)['one'].backbone.loss_scale) == 16
    assert not any('loss_scale' in name for name in model.state_dict())
    hook.after_train(runner)
    assert [backbone.loss_scale for backbone in backbones] == [None, None]


def test_it_is_registered():
    assert isinstance(HOOKS.build(HOOK), Hook)
