"""Backbones are found wherever they sit, sizes whatever wraps the data set."""

import pytest
from mmengine.config import Config
from torch import nn

from sparse_mm.engine.inspection import (
    backbone_config,
    backbone_name,
    find_backbone,
    fixed_image_size,
    leaf_datasets,
    main_backbone,
)
from sparse_mm.errors import BadInputError
from sparse_mm.models import SparseViT

SMALL = dict(embed_dims=8, depths=[1], num_heads=[1], strides=[4], out_indices=[0])


class Model(nn.Module):
    def __init__(self, **parts):
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)


def test_the_one_to_prune_is_found_at_any_depth():
    vit = SparseViT(**SMALL)
    assert find_backbone(Model(detector=Model(img_backbone=vit))) is vit
    assert find_backbone(vit) is vit
    for wrong in (Model(backbone=nn.Linear(1, 1)), Model(one=vit, two=SparseViT(**SMALL))):
        with pytest.raises(BadInputError, match='needs exactly one'):
            find_backbone(wrong)


def test_any_backbone_has_a_name():
    linear = nn.Linear(1, 1)
    for model, name in (
        (Model(backbone=linear, head=nn.Linear(1, 1)), 'backbone.'),
        (Model(detector=Model(img_backbone=linear)), 'detector.img_backbone.'),
        (Model(encoder=SparseViT(**SMALL)), 'encoder.'),
        (linear, ''),
    ):
        assert backbone_name(model) == name
        assert main_backbone(model) is model.get_submodule(name.rstrip('.'))


def test_a_config_names_its_backbone():
    swin = dict(type='SwinTransformer', depths=[2])
    for model in (
        dict(type='Detector', backbone=swin, neck=dict(type='FPN')),
        dict(type='Wrapper', detector=dict(type='Detector', img_backbone=swin)),
        swin,
    ):
        assert backbone_config(Config(dict(model=model))) == swin


def test_sizes_inside_wrappers():
    resize = dict(type='Resize', scale=(300, 200), keep_ratio=False)
    inner = dict(type='CocoDataset', pipeline=[dict(type='LoadImageFromFile'), resize])
    for dataset in (
        inner,
        dict(type='RepeatDataset', times=2, dataset=inner),
        dict(type='ConcatDataset', datasets=[inner, inner]),
    ):
        cfg = Config(dict(val_dataloader=dict(dataset=dataset)))
        assert {item.type for item in leaf_datasets(cfg.val_dataloader.dataset)} == {'CocoDataset'}
        assert fixed_image_size(cfg, 'val') == (200, 300)
        with pytest.raises(BadInputError, match='The test pipeline has no fixed image size'):
            fixed_image_size(cfg, 'test')
