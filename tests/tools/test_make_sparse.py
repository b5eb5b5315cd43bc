"""tools/make_sparse.py writes the sparse config of a host's config."""

import re

import pytest
import torch
from mmengine.hub import get_config
from mmengine.registry import MODELS, init_default_scope

from sparse_mm.engine.config_file import lost_hooks, read_config
from sparse_mm.engine.hosts import name_of
from sparse_mm.models import SparseViT
from tests.conftest import ROOT, require_configs_of

CASES = {
    'mmdet::swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py': (
        dict(type='SparseViT'),
        dict(at=3, metric='coco/bbox_mAP'),
    ),
    'mmseg::swin/swin-tiny-patch4-window7-in1k-pre_upernet_8xb2-160k_ade20k-512x512.py': (
        dict(type='SparseViT'),
        dict(by_epoch=False, at=40000, metric='mIoU'),
    ),
    'mmpretrain::swin_transformer/swin-tiny_16xb64_in1k.py': (
        dict(type='SparseViT', arch='tiny', img_size=224),
        dict(at=75, metric='accuracy/top1'),
    ),
    'mmpretrain::swin_transformer_v2/swinv2-tiny-w8_16xb64_in1k-256px.py': (
        dict(type='SparseViTV2', arch='tiny'),
        dict(at=75, metric='accuracy/top1'),
    ),
}


def save_model(backbone, path):
    """Saves a whole model with a backbone, with weights that need no memory."""
    own = MODELS.build({**backbone, 'init_cfg': None}).state_dict()
    weights = {f'backbone.{name}': torch.zeros(()).expand(v.shape) for name, v in own.items()}
    torch.save({**weights, 'head.weight': torch.zeros(2)}, path)


@pytest.mark.parametrize('name', CASES)
def test_each_host(name, call_tool, tmp_path):
    require_configs_of(name.partition('::')[0])
    weights = tmp_path / 'dense.pth'
    backbone, search = CASES[name]
    save_model({**get_config(name).model.backbone, **backbone}, weights)
    call_tool('make_sparse.py', name, '--checkpoint', weights, '--out', 'mine/sparse.py')
    cfg = read_config(str(tmp_path / 'mine' / 'sparse.py'))
    assert backbone.items() <= cfg.model.backbone.to_dict().items()
    assert cfg.load_from == str(weights)
    assert cfg.optim_wrapper.optimizer.lr == 1e-5
    adaptation, found = cfg.custom_hooks[-2:]
    assert adaptation.type == 'SparsityAdaptationHook'
    assert adaptation.end == search['at']
    assert search.items() <= found.to_dict().items()


def test_a_hosts_own_hooks_and_imports_stay(call_tool, tmp_path):
    pytest.importorskip('mmdet')
    call_tool('make_sparse.py', 'mmdet::rtmdet/rtmdet_l_swin_b_4xb32-100e_coco.py', '--out', 'r.py')
    path = str(tmp_path / 'r.py')
    cfg = read_config(path)
    names = [name_of(hook['type']) for hook in cfg.custom_hooks]
    assert names[:2] == ['EMAHook', 'PipelineSwitchHook']
    assert names[2:] == ['SparsityAdaptationHook', 'SparsitySearchHook']
    assert lost_hooks(path, cfg) == []
    assert cfg.model.backbone.init_cfg  # without a dense model it starts as the host's does


def test_a_file_of_ones_own_is_inherited(call_tool, tmp_path):
    (tmp_path / 'base.py').write_text("""
model = dict(type='X', inner=dict(backbone=dict(type='mmpretrain.SwinTransformer')))
train_cfg = dict(by_epoch=True, max_epochs=8)
val_dataloader = dict(dataset=dict(type='Y'))
val_evaluator = [dict(type='CocoMetric', metric=['segm'])]
custom_imports = dict(imports=['json'])
""")
    call_tool('make_sparse.py', 'base.py', '--out', 'deep/er/sparse.py', '--budget', 'macs=0.5')
    cfg = read_config(str(tmp_path / 'deep' / 'er' / 'sparse.py'))
    assert cfg.model.inner.backbone == dict(type='SparseViT', arch='tiny')
    assert cfg.custom_hooks[1].metric == 'coco/segm_mAP'
    assert cfg.custom_hooks[1].budget == 'macs=0.5'
    assert cfg.custom_imports.imports == ['json', 'sparse_mm']


@pytest.mark.parametrize('imports', ["'sparse_mm'", "['sparse_mm']"])
def test_what_a_file_of_ones_own_imports_is_imported_once(call_tool, tmp_path, imports):
    (tmp_path / 'base.py').write_text(f"""
model = dict(backbone=dict(type='mmpretrain.SwinTransformer'))
train_cfg = dict(by_epoch=True, max_epochs=8)
val_dataloader = dict(dataset=dict(type='Y'))
val_evaluator = dict(type='CocoMetric')
custom_imports = dict(imports={imports})
""")
    call_tool('make_sparse.py', 'base.py', '--out', 'sparse.py')
    assert read_config(str(tmp_path / 'sparse.py')).custom_imports.imports == ['sparse_mm']


PURE_PYTHON = """
from mmengine.hooks import EMAHook
from mmengine.runner import EpochBasedTrainLoop
from mmpretrain.evaluation import Accuracy
from mmpretrain.models import ImageClassifier, SwinTransformer

default_scope = None
model = dict(type=ImageClassifier, backbone=dict(type=SwinTransformer))
optim_wrapper = dict(optimizer=dict(lr=1.0, weight_decay=0.1))
train_cfg = dict(type=EpochBasedTrainLoop, max_epochs=8)
val_dataloader = dict(dataset=dict(type='X'))
val_evaluator = dict(type=Accuracy)
custom_hooks = [dict(type=EMAHook)]
"""


@pytest.mark.parametrize(
    ('base', 'out'), [('base.py', 's.py'), ('far/base.py', 's.py'), ('base.py', 'mine/deep/s.py')]
)
def test_a_pure_python_config_is_inherited_by_read_base(base, out, call_tool, tmp_path):
    pytest.importorskip('mmpretrain')
    (tmp_path / base).parent.mkdir(exist_ok=True)
    (tmp_path / base).write_text(PURE_PYTHON)
    save_model(dict(type='SparseViT', arch='tiny'), tmp_path / 'dense.pth')
    call_tool('make_sparse.py', base, '--out', out, '--checkpoint', 'dense.pth')
    cfg = read_config(str(tmp_path / out))
    assert cfg.model.backbone.type is SparseViT
    assert type(MODELS.build(cfg.model.backbone)).__name__ == 'MMPretrainSparseViT'
    assert cfg.load_from == str(tmp_path / 'dense.pth')
    assert cfg.optim_wrapper.optimizer.to_dict() == dict(lr=1e-5, weight_decay=0.1)
    names = [name_of(hook['type']) for hook in cfg.custom_hooks]
    assert names == ['EMAHook', 'SparsityAdaptationHook', 'SparsitySearchHook']
    assert not isinstance(cfg.custom_hooks[1]['type'], str)
    assert cfg.custom_hooks[2].at == 2


def test_a_pure_python_config_that_is_no_module(call_tool, tmp_path):
    pytest.importorskip('mmpretrain')
    (tmp_path / 'my-base.py').write_text(PURE_PYTHON)
    with pytest.raises(SystemExit, match="'my-base', and that is no name of a module"):
        call_tool('make_sparse.py', 'my-base.py')


@pytest.mark.parametrize(
    ('arguments', 'sentence'),
    [
        (['mmdet::swin/no_such.py'], 'There is no config'),
        (['mmpretrain::resnet/resnet18_8xb32_in1k.py'], 'no Swin backbones'),
        (['mmpretrain::simmim/simmim_swin-base-w6_8xb256-amp-coslr-100e_in1k-192px.py'], 'SimMIM'),
        (['nowhere.py'], 'no config file'),
        (['mmdet::swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py', '--out', 'x.yaml'], 'a .py file'),
        (['mmdet::swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py', '--budget', 'speed=2'], 'speed'),
    ],
)
def test_what_cannot_be_made_sparse_gets_a_sentence(arguments, sentence, call_tool):
    pytest.importorskip('mmdet'), pytest.importorskip('mmpretrain')
    with pytest.raises(SystemExit, match=f'error: .*{sentence}'):
        call_tool('make_sparse.py', *arguments)


def test_the_readmes_fixed_ratios_are_read_as_they_are_printed(tmp_path):
    pytest.importorskip('mmdet')
    text = (ROOT / 'README.md').read_text()
    path = tmp_path / 'mine.py'
    path.write_text(re.search(r'## Use it in your config\n.*?```python\n(.*?)```', text, re.S)[1])
    cfg = read_config(str(path))
    init_default_scope('mmdet')
    model = MODELS.build({**cfg.model.backbone, 'init_cfg': None, 'embed_dims': 24})
    assert model.pruning_ratios[2] == [0.2, 0.2, 0.4, 0.4, 0.5, 0.5]
