"""Every Swin config of the installed hosts works with ``type='SparseViT'``.

Each is parsed, built at reduced width with the host's Swin beside it, started from a checkpoint of
that, compared dense, and trained a step at mixed ratios. Some are checked in every run; all of them
by ``make test-all``, in shares of ``HOSTS_SHARD=1/4`` where one machine is not enough.
"""

import os

import pytest
import torch
from mmengine.hub import get_config
from mmengine.registry import MODELS, init_default_scope

from sparse_mm.engine.hosts import SPARSE_TWINS, name_of
from tests.conftest import require_configs_of
from tests.hosts.swin_configs import SUBSET, swin_configs
from tests.models.backbones.reference import relative_error
from tests.models.backbones.test_sparse_vit import randomize
from tools.make_sparse import at, find_swin, sparse_backbone

ARCHS = dict(t=(6, 3), s=(18, 3), b=(18, 4), l=(18, 6))  # depth of stage 3, heads of stage 1
CONFIGS = swin_configs()
# mmpretrain cannot read these itself: they change a test pipeline that their base does not have.
UNREADABLE = [f'swinv2-{size}-w12_8xb128_in21k-192px.py' for size in ('base', 'large')]
SHARD, SHARDS = map(int, os.environ.get('HOSTS_SHARD', '1/1').split('/'))


def campaign_unless_in_the_subset():
    for i, name in enumerate(CONFIGS):
        if name in SUBSET:
            yield name
        elif i % SHARDS == SHARD - 1:
            yield pytest.param(name, marks=pytest.mark.campaign)


def test_the_subset_is_there():
    hosts = {name.partition('::')[0] for name in CONFIGS}
    assert {name for name in SUBSET if name.partition('::')[0] in hosts} <= set(CONFIGS)


def reduced(swin):
    """The host's settings at the smallest width that its numbers of heads divide."""
    small = {k: v for k, v in swin.items() if k not in ('init_cfg', 'pretrained', 'type')}
    if isinstance(small.get('arch', 'tiny' if 'img_size' in small else None), str):
        depth, heads = ARCHS[small.get('arch', 'tiny')[0].lower()]
        small['arch'] = dict(
            embed_dims=2 * heads,
            depths=[2, 2, depth, 2],
            num_heads=[heads * 2**i for i in range(4)],
        )
        if name_of(swin['type']) == 'SwinTransformerV2':
            small['arch']['extra_norm_every_n_blocks'] = 0
    else:
        small['embed_dims'] = 2 * small.get('num_heads', [3])[0]
    return small


@pytest.mark.parametrize('name', campaign_unless_in_the_subset())
def test_the_backbone_takes_swins_place(name, tmp_path):
    require_configs_of(name.partition('::')[0])
    if name.rpartition('/')[2] in UNREADABLE:
        with pytest.raises(KeyError, match='test_pipeline'):
            get_config(name)
        return
    cfg = get_config(name)
    if cfg.model.type == 'SimMIM':
        pytest.skip('SimMIM pre-training is refused in a sentence')
    (place,) = find_swin(cfg.model)
    scope = cfg.get('default_scope') or name.partition('::')[0]  # a part of a model names none
    swin = at(cfg.model, place).to_dict()
    settings = reduced(swin)
    init_default_scope(scope)
    host = randomize(MODELS.build(dict(type=swin['type'], **settings)))
    torch.save(
        dict(state_dict={f'backbone.{k}': v for k, v in host.state_dict().items()}),
        tmp_path / 'swin.pth',
    )
    pretrained = dict(type='Pretrained', checkpoint=str(tmp_path / 'swin.pth'))
    type_alone = sparse_backbone(swin, scope)
    ours = MODELS.build({**settings, **type_alone, 'init_cfg': pretrained})
    assert type(ours).__name__ in (*SPARSE_TWINS.values(), 'MMPretrainSparseViT')
    ours.init_weights()
    host.eval(), ours.eval()
    side = settings.get('img_size')
    image = torch.randn(1, settings.get('in_channels', 3), *((side, side) if side else (96, 144)))
    with torch.no_grad():
        for found, expected in zip(ours(image), host(image), strict=True):
            assert found.shape == expected.shape
            assert relative_error(found, expected) < 1e-5

    ours.train()
    further = [0.0] * (len(ours.depths) - 3)  # of four stages, or five
    ours.set_pruning_ratios([0.5, 0.3, [0.1] * (ours.depths[2] - 1) + [0.6], *further])
    sum(out.square().mean() for out in ours(image)).backward()
    trained = [p for p in ours.parameters() if p.requires_grad]
    assert trained
    assert all(p.grad is not None and p.grad.isfinite().all() for p in trained)
