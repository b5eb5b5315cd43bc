"""The table of the hosts' classes, looked up by names, dotted names and classes."""

from types import SimpleNamespace

import mmdet.registry
import pytest
from mmengine.config import Config
from mmengine.registry import METRICS

from sparse_mm.engine import hosts


class Resize:
    pass


class MyResize(Resize):
    pass


class CocoDataset:
    pass


class MyCoco(CocoDataset):
    pass


def test_a_type_has_names():
    assert hosts.names_of('mmdet.Resize') == ('Resize',)
    assert hosts.names_of('mmdet.datasets.transforms.Resize') == ('Resize',)
    assert hosts.names_of(MyResize) == ('MyResize', 'Resize')
    assert hosts.name_of(hosts.name_of) == 'name_of'
    assert hosts.is_kind(MyResize, 'Resize', 'CenterCrop')
    assert not hosts.is_kind('MyResize', 'Resize')


def test_a_class_of_ones_own_is_known_by_the_classes_above_it(monkeypatch):
    monkeypatch.setitem(METRICS.module_dict, 'MineByName', MyCoco)
    for kind in 'MineByName', 'mmdet.MineByName':
        assert hosts.names_of(kind) == ('MineByName', 'MyCoco', 'CocoDataset')
        assert hosts.name_of(kind) == 'MineByName'
    assert hosts.names_of(f'{__name__}.MyResize') == ('MyResize', 'Resize')
    # Of a registry that belongs to a host.
    monkeypatch.setitem(mmdet.registry.TRANSFORMS.module_dict, 'MyResize', MyResize)
    assert hosts.is_kind('MyResize', 'Resize')
    # Hosts' classes have one name, whether they are imported or not.
    assert hosts.names_of('FilterAnnotations') == ('FilterAnnotations',)


@pytest.mark.parametrize(
    ('transform', 'size'),
    [
        (dict(type='Resize', scale=(300, 200), keep_ratio=False), (200, 300)),
        (dict(type='mmdet.Resize', scale=(300, 200)), (200, 300)),
        (dict(type=MyResize, scale=300), (300, 300)),
        (dict(type='Resize', scale=(300, 200), keep_ratio=True), None),
        (dict(type='Resize', scale_factor=2.0), None),
        (dict(type='RandomResize', scale=(300, 200), ratio_range=(0.5, 2.0)), None),
        (dict(type='CenterCrop', crop_size=224), (224, 224)),
        (dict(type='mmpretrain.CenterCrop', crop_size=(200, 300)), (200, 300)),
        (dict(type='FixShapeResize', width=300, height=200), (200, 300)),
        (dict(type='AugmentSurroundImages', size=(56, 112)), (56, 112)),
        (dict(type='RandomFlip'), None),
    ],
)
def test_sizes_that_transforms_fix(transform, size):
    assert hosts.size_after(transform) == size


@pytest.mark.parametrize('kind', ['CocoDataset', 'mmdet.CocoDataset', MyCoco])
def test_data_sets(kind):
    assert hosts.dataset_needs(kind).variable == 'COCO_ROOT'


def test_data_sets_that_are_not_in_the_table():
    assert hosts.dataset_needs('NuScenesFrames').info_files
    assert hosts.dataset_needs('Anything').hint('val') == 'set data_root of val_dataloader.dataset'


def test_metrics():
    def metric(name, *above):
        return type(name, above, {})

    nuscenes = metric('NuScenesMetric')
    assert hosts.needs_whole_set(metric('MonoNuScenesMetric', nuscenes))
    assert not hosts.needs_whole_set(metric('CocoMetric'))
    # A derived class may round in another way.
    assert hosts.precise_metric(metric('Own', metric('CocoMetric'))) is None


def test_where_a_config_belongs():
    model = type('Detector', (), {'__module__': 'mmdet.models.detectors'})
    for cfg in (
        dict(default_scope='mmdet'),
        dict(model=dict(type=model)),
        dict(default_scope=None, model=dict(type='mmdet.MaskRCNN')),
    ):
        assert hosts.scope_of(Config(cfg)) == 'mmdet'
        assert hosts.host_of(Config(cfg)).metric == 'coco/bbox_mAP'
    assert hosts.scope_of(Config(dict(model=dict(type='SparseViT')))) == 'mmengine'
    assert hosts.host_of(Config(dict(default_scope='mine'))) == hosts.Host()


def test_types_are_found_at_any_depth():
    model = dict(type='A', parts=[dict(type='B', norm=dict(type='SyncBN')), 3], other=None)
    assert list(hosts.types_in(model)) == ['A', 'B', 'SyncBN']
    assert list(hosts.types_in(SimpleNamespace(type='C'))) == []
    assert hosts.uses_sync_bn(model)


def test_what_a_metric_of_a_whole_set_may_give():
    class NuScenesMetric:
        prefix = 'NuScenes metric'

    class KittiMetric:
        prefix = 'Kitti metric'

    meta = dict(classes=('car', 'bus'))
    names = 'pred_instances_3d_NuScenes/'
    for item in ('mAP', 'NDS', 'car_AP_dist_0.5', 'bus_trans_err'):
        assert hosts.may_give(NuScenesMetric(), f'NuScenes metric/{names}{item}', meta)
    for name in (
        *(f'{names}mAP', f'NuScenes metric/{names}map', f'NuScenes metric/{names}dog_mAP'),
        *('NuScenes metric/mAP', 'NuScenes metric/img_pred_NuScenes/mAP'),
        *(f'NuScenes metric/{names}car_mAP', f'NuScenes metric/{names}car_AP_dist_0.7'),
    ):
        assert not hosts.may_give(NuScenesMetric(), name, meta)
    assert hosts.may_give(KittiMetric(), 'Kitti metric/anything', meta)
    assert not hosts.may_give(KittiMetric(), 'mAP', meta)


@pytest.mark.parametrize(
    ('evaluator', 'metric'),
    [
        (dict(type='CocoMetric', metric=['segm', 'bbox']), 'coco/bbox_mAP'),
        (dict(type='mmdet.CocoMetric', metric='segm'), 'coco/segm_mAP'),
        ([dict(type='DumpResults'), dict(type='IoUMetric')], 'mIoU'),
        (dict(type='Unknown'), 'accuracy/top1'),
    ],
)
def test_what_a_config_is_judged_by(evaluator, metric):
    cfg = dict(default_scope='mmpretrain', val_evaluator=evaluator)
    assert hosts.metric_of(cfg) == metric
    best = dict(checkpoint=dict(save_best='my/score'))
    assert hosts.metric_of({**cfg, 'default_hooks': best}) == 'my/score'


def test_the_command_for_a_mini_release_names_it(tmp_path):
    assert '--version' not in hosts.create_infos_command(tmp_path)
    (tmp_path / 'v1.0-mini').mkdir()
    assert hosts.create_infos_command(tmp_path).endswith('--version v1.0-mini')
    (tmp_path / 'v1.0-trainval').mkdir()
    assert '--version' not in hosts.create_infos_command(tmp_path)
