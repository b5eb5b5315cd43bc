"""Backbones are found anywhere in a model, image sizes in any wrapped data set."""

import pytest
import torch
from mmengine.config import Config
from torch import nn

from sparse_mm.engine.image_sizes import (
    fixed_image_size,
    say_sliding,
    usual_image_size,
    val_images_have_size,
)
from sparse_mm.engine.inspection import (
    backbone_config,
    backbone_name,
    build_backbone,
    build_model,
    find_backbone,
    leaf_datasets,
    main_backbone,
    metric_configs,
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


class TestUsualImageSize:
    def config(self, *pipeline, divisor=None):
        loader = dict(dataset=dict(type='X', pipeline=list(pipeline)))
        model = dict(type='Y', data_preprocessor=dict(type='Z', pad_size_divisor=divisor))
        return Config(dict(model=model, val_dataloader=loader))

    def test_without_data_images_are_4_to_3(self):
        resize = dict(type='Resize', scale=(1333, 800), keep_ratio=True)
        assert usual_image_size(self.config(resize, divisor=32), 'val') == (800, 1088)
        assert usual_image_size(self.config(resize), 'val') == (800, 1067)

    def test_the_size_of_most_images_is_found_from_the_data(self):
        shapes = [(60, 90), (60, 80), (90, 60), (60, 90)]
        data = [dict(inputs=torch.zeros(3, *shape)) for shape in shapes]
        resize = dict(type='mmcv.Resize', scale=(90, 60), keep_ratio=True)
        assert usual_image_size(self.config(resize, divisor=32), 'val', data) == (64, 96)
        assert usual_image_size(self.config(divisor=32), 'val', data) == (64, 96)

    def test_a_fixed_size_goes_first(self):
        resize = dict(type='Resize', scale=(90, 60), keep_ratio=False)
        assert usual_image_size(self.config(resize, divisor=32), 'val') == (60, 90)

    def test_nothing_to_go_by(self):
        with pytest.raises(BadInputError, match='--image-size H W'):
            usual_image_size(self.config(), 'val', [dict(inputs=torch.zeros(3, 8, 8))])


def test_a_window_that_slides_over_the_images_is_what_the_backbone_sees():
    def seen(window, scale, **resize):
        pipeline = [dict(type='Resize', scale=scale, **resize)]
        cfg = Config(
            dict(
                model=dict(test_cfg=dict(mode='slide', crop_size=window, stride=window)),
                val_dataloader=dict(dataset=dict(pipeline=pipeline)),
            )
        )
        size = usual_image_size(cfg, 'val')
        return size, val_images_have_size(cfg, size)

    assert seen((64, 96), (200, 100)) == ((64, 96), True)
    assert seen((64, 96), (200, 32)) == ((32, 96), True)  # no window is larger than the image
    assert seen((64, 96), (2048, 512), keep_ratio=True) == ((64, 96), False)
    no_size = Config(dict(model=dict(test_cfg=dict(mode='slide', crop_size=(64, 96)))))
    assert usual_image_size(no_size, 'test') == (64, 96)


def test_how_many_windows_a_test_slides_over_an_image():
    def say(scale, stride=(48, 64), **resize):
        pipeline = [dict(type='Resize', scale=scale, **resize)]
        test_cfg = dict(mode='slide', crop_size=(64, 96), stride=stride)
        loader = dict(dataset=dict(pipeline=pipeline))
        return say_sliding(
            Config(dict(model=dict(test_cfg=test_cfg), val_dataloader=loader)), 'val'
        )

    # Of 160 columns 0 to 96 and 64 to 160; of 130 rows from 0, 48, and back from 96 to 66.
    assert '64x96, which a test slides over the image: 6 of them over' in say((160, 130))
    assert '1 of them over an image of 32x90.' in say((90, 32))
    assert 'of 512x683, as one of 4:3 becomes.' in say((2048, 512), keep_ratio=True)
    assert say_sliding(Config(dict(model=dict(test_cfg=dict(mode='whole')))), 'val') == ''
    with pytest.raises(BadInputError, match=r'stride=48; it needs stride=\(H, W\)'):
        say((160, 130), stride=48)


def test_mmsegs_padding_counts():
    preprocessor = dict(test_cfg=dict(size_divisor=32))
    pipeline = [dict(type='Resize', scale=(200, 100))]
    cfg = Config(
        dict(
            model=dict(data_preprocessor=preprocessor, test_cfg=dict(mode='whole')),
            val_dataloader=dict(dataset=dict(pipeline=pipeline)),
        )
    )
    assert not val_images_have_size(cfg, (100, 200))
    cfg.val_dataloader.dataset.pipeline[0].keep_ratio = True
    assert usual_image_size(cfg, 'val') == (128, 160)


def test_mmpretrains_preprocessor_beside_the_model_is_built(monkeypatch):
    pytest.importorskip('mmpretrain')
    backbone = dict(type='SparseViT', **SMALL)
    cfg = Config(
        dict(
            default_scope='mmpretrain',
            model=dict(type='ImageClassifier', backbone=backbone),
            data_preprocessor=dict(mean=[1.0] * 3, std=[2.0] * 3, num_classes=3),
        )
    )
    model = build_model(cfg)
    assert model.data_preprocessor.mean.flatten().tolist() == [1, 1, 1]
    assert type(build_backbone(cfg)).__name__ == 'SparseViT'


def test_metrics_of_evaluators_in_any_form():
    one, two = dict(type='A'), dict(type='B')
    assert metric_configs(one) == [one]
    assert metric_configs([one, two]) == metric_configs(dict(metrics=[one, two])) == [one, two]
