"""SparseFormer's dense configs: neck and heads fit each other; which parameters do not decay."""

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope

from tests.conftest import ROOT, require_configs_of

STRIDES = dict(
    maskrcnn_coco=[4, 8, 16, 32, 64],
    upernet_cityscapes=[4, 8, 16, 32],
    fcos3d_nuscenes=[8, 16, 32, 64, 128],
    maskrcnn_shapes=[8, 16, 32],
)


@pytest.mark.parametrize('name', STRIDES)
def test_config(name):
    require_configs_of({'up': 'mmseg', 'fc': 'mmdet3d'}.get(name[:2], 'mmdet'))
    cfg = Config.fromfile(ROOT / 'configs' / f'sparseformer_{name}.py')
    init_default_scope(cfg.default_scope)
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    assert len(model.backbone.token_rois) == (100 if name == 'maskrcnn_shapes' else 400)
    assert list(model.neck.strides) == STRIDES[name]
    head = getattr(model, 'decode_head', None) or getattr(model, 'bbox_head', None)
    if head is None:
        generator = model.rpn_head.prior_generator
        assert [stride[0] for stride in generator.strides] == STRIDES[name]
    elif name == 'fcos3d_nuscenes':
        assert head.strides == STRIDES[name]
    else:
        assert head.in_channels == [256] * 4
    cfg.optim_wrapper.type = 'OptimWrapper'
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    assert type(wrapper.optimizer).__name__ == 'AdamW'
    rois = model.backbone.token_rois
    decay = [
        group['weight_decay']
        for group in wrapper.param_groups
        if any(parameter is rois for parameter in group['params'])
    ]
    assert decay == [0]
