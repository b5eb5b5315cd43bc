"""Every kind of model by tools/test.py with its backbone on an engine: the same predictions."""

import pickle
import shutil

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from sparse_mm.deploy import check_engine
from sparse_mm.engine.config_file import read_config
from sparse_mm.engine.inspection import build_model, our_backbone
from sparse_mm.errors import BadInputError
from tests.conftest import ROOT, require_configs_of
from tests.hosts.bases import BASES, write_data
from tests.tools.test_real_cityscapes import SMALL_MASK2FORMER

SPARSE = """
_base_ = 'base.py'
custom_imports = dict(imports=['sparse_mm'])
model = dict(backbone=dict(type='SparseViT', pruning_ratios=0.5))
"""
# Settings that the hosts' base configs leave to the user, or that need a GPU.
EVALUATORS = {
    'mmpretrain': 'test_evaluator = dict(topk=1)',
    'mmdet3d': "test_evaluator = dict(type='MonoNuScenesMetric')",
}
SMALL_FORMER = 'arch=dict(num_tokens=16, dims=(16, 32), depth=2, drop_path_rate=0.0)'
FORMER_CLASSIFIER = f"""
_base_ = '{ROOT}/configs/sparseformer_shapes.py'
model = dict(
    backbone=dict({SMALL_FORMER}, num_heads=4, num_points=8, feature_channels=8),
    head=dict(in_channels=32))
test_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(num_images=8))
"""
FORMER_DETECTOR = f"""
_base_ = '{ROOT}/configs/sparseformer_maskrcnn_shapes.py'
model = dict(
    backbone=dict({SMALL_FORMER}, num_heads=4, num_points=8, feature_channels=8),
    neck=dict(in_channels=32, feature_channels=8), test_cfg=dict(rcnn=dict(score_thr=0.0)))
test_dataloader = dict(
    num_workers=0, persistent_workers=False, dataset=dict(num_images=4, size=96))
"""
MASK2FORMER = f"""
_base_ = '{ROOT}/configs/sparsevit_mask2former_cityscapes_dense.py'
crop_size = (64, 96)
{SMALL_MASK2FORMER}
names = [f'class {{i}}' for i in range(19)]
load = [
    dict(type='LoadImageFromFile'), dict(type='Resize', scale=(96, 64)),
    dict(type='LoadAnnotations'), dict(type='PackSegInputs')]
test_dataloader = dict(
    num_workers=0, persistent_workers=False,
    dataset=dict(
        _delete_=True, type='BaseSegDataset', data_root='pictures', pipeline=load,
        metainfo=dict(classes=names, palette=[[i, i, i] for i in range(19)]),
        data_prefix=dict(img_path='images', seg_map_path='labels')))
"""
BEVDET = f"""
_base_ = '{ROOT}/projects/bevdet/configs/bevdet_driving_sparse.py'
image_size = (56, 112)
model = dict(backbone=dict(embed_dims=8), neck=dict(in_channels=(16, 32)))
test_pipeline = _base_.test_pipeline
test_pipeline[1].size = image_size
test_dataloader = dict(
    num_workers=0, persistent_workers=False,
    dataset=dict(
        data_root='scenes', pipeline=test_pipeline, num_train_scenes=1, num_val_scenes=1,
        frames=2, image_size=(96, 64)))
test_evaluator = dict(data_root='scenes', ann_file='scenes/nuscenes_infos_val.pkl')
"""
OTHERS = {
    'former_classifier': ('mmpretrain', FORMER_CLASSIFIER),
    'former_detector': ('mmdet', FORMER_DETECTOR),
    'mask2former': ('mmseg', MASK2FORMER),
    'bevdet': ('mmdet3d', BEVDET),
}


@pytest.fixture(params=[*BASES, *OTHERS])
def model(request, tmp_path, monkeypatch):
    """A model's config, with the data that it reads, and a checkpoint of random weights."""
    host, config = OTHERS.get(request.param, (request.param, SPARSE))
    require_configs_of(host)
    monkeypatch.chdir(tmp_path)
    for name in ('SHAPES_ROOT', 'SHAPE_PICTURES_ROOT'):
        monkeypatch.setenv(name, str(tmp_path / 'drawn'))
    if request.param in BASES:
        (tmp_path / 'base.py').write_text(BASES[host][0])
        config += EVALUATORS.get(host, '')
    write_data(tmp_path, host)
    (tmp_path / 'config.py').write_text(config)
    torch.manual_seed(0)
    built = build_model(read_config('config.py'))
    built.init_weights()
    for parameter in our_backbone(built).parameters():  # the windows' contents must differ
        nn.init.normal_(parameter, mean=float(parameter.ndim == 1), std=0.1)
    torch.save(dict(state_dict=built.state_dict()), 'weights.pth')
    return built


def numbers(found):
    """All arrays in predictions, in any containers."""
    if isinstance(found, dict):
        return [array for key in sorted(found) for array in numbers(found[key])]
    if isinstance(found, list | tuple):
        return [array for item in found for array in numbers(item)]
    if hasattr(found, 'tensor'):  # mmdet3d's boxes
        found = found.tensor
    if isinstance(found, torch.Tensor | np.ndarray):
        return [np.asarray(found, np.float64)]
    return []


def predictions(call_tool, folder, maps, *options):
    """test.py's predictions as arrays; maps are read from the images that mmseg writes."""
    out = folder / ('maps' if maps else 'found.pkl')
    shutil.rmtree(out, ignore_errors=True)
    run = ('test.py', 'config.py', 'weights.pth', '--work-dir', 'run', '--out', out)
    call_tool(*run, *options)
    if maps:
        return [cv2.imread(str(path), 0).astype(float) for path in sorted(out.glob('*.png'))]
    return numbers(pickle.loads(out.read_bytes()))


def share_found(ours, theirs):
    """The share of rows found among the others: rounding changes the order of equal scores."""
    if not ours.size:
        return 1
    if ours.ndim < 2:
        return np.isclose(ours, theirs, rtol=1e-3, atol=1e-4).mean()
    ours, theirs = (rows.reshape(len(rows), -1) for rows in (ours, theirs))
    near = [np.isclose(row, theirs, rtol=1e-3, atol=1e-4).all(axis=1).any() for row in ours]
    return np.mean(near)


@pytest.mark.slow
def test_predictions_stay(model, call_tool, tmp_path):
    maps = hasattr(model, 'decode_head')
    plain = predictions(call_tool, tmp_path, maps)
    assert sum(array.size for array in plain) > 10
    for engine in ('onnxruntime', 'openvino'):
        try:
            check_engine(engine, 'float32')
        except BadInputError:
            continue  # not installed, or it would crash the process
        found = predictions(call_tool, tmp_path, maps, '--engine', engine)
        for ours, theirs in zip(found, plain, strict=True):
            if maps:  # rounding decides between two equally likely classes
                assert (ours != theirs).mean() < 0.005
            else:
                assert ours.shape == theirs.shape
                assert share_found(ours, theirs) > 0.95
