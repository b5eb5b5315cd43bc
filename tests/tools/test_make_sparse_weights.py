"""Starting weights of a written config: any layout and file, or one sentence."""

import json

import pytest
import torch
from mmengine.registry import MODELS

from sparse_mm.engine.checkpoint_loader import load_from_local
from sparse_mm.engine.config_file import read_config
from sparse_mm.models import SparseViT
from sparse_mm.weights_files import load_from_safetensors, write_safetensors
from tests.models.backbones.test_sparse_vit import randomize
from tests.models.backbones.test_swin_weights import (
    SMALL,
    by_transformers_names,
    in_original_layout,
    torchvisions,
)

BASE = f"""
model = dict(type='X', backbone=dict(
    type='mmdet.SwinTransformer', init_cfg=dict(type='Pretrained', checkpoint='x.pth', prefix='y'),
    **{SMALL!r}))
optim_wrapper = dict(optimizer=dict(lr=1.0))
train_cfg = dict(by_epoch=True, max_epochs=8)
val_dataloader = dict(dataset=dict(type='Y'))
val_evaluator = dict(type='CocoMetric', metric='bbox')
load_from = 'former.pth'
"""
WEIGHT = 'stages.0.blocks.1.ffn.layers.1.weight'


@pytest.fixture
def swin():
    return randomize(SparseViT(**SMALL))


@pytest.fixture
def written(call_tool, tmp_path):
    """Writes the config for a checkpoint, and reads it."""

    def write(checkpoint, base=BASE):
        (tmp_path / 'base.py').write_text(base)
        call_tool('make_sparse.py', 'base.py', '--out', 'sparse.py', '--checkpoint', checkpoint)
        return read_config(str(tmp_path / 'sparse.py'))

    return write


def in_parts(weights, folder):
    names = list(weights)
    files = ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors']
    for file, own in zip(files, (names[:9], names[9:]), strict=True):
        write_safetensors(str(folder / file), {name: weights[name] for name in own}, {})
    listed = {name: files[i >= 9] for i, name in enumerate(names)}
    (folder / 'w.safetensors.index.json').write_text(json.dumps(dict(weight_map=listed)))
    return 'w.safetensors.index.json'


FILES = {
    'w.pth': lambda w, to: torch.save(w, to / 'w.pth'),
    'mmengine.pth': lambda w, to: torch.save(dict(state_dict=w, meta={}), to / 'mmengine.pth'),
    'model.pth': lambda w, to: torch.save(dict(model=w, epoch=3), to / 'model.pth'),
    'ema.pth': lambda w, to: torch.save(dict(model_ema=w), to / 'ema.pth'),
    'ddp.pth': lambda w, to: torch.save({f'module.{n}': v for n, v in w.items()}, to / 'ddp.pth'),
    'w.safetensors': lambda w, to: write_safetensors(str(to / 'w.safetensors'), w, {}),
    'w.safetensors.index.json': in_parts,
}
LAYOUTS = {
    'own': lambda swin: swin.state_dict(),
    'with a prefix': lambda swin: {f'img_encoder.{n}': v for n, v in swin.state_dict().items()},
    'the backbone of a model': lambda swin: {
        f'backbone.{n}': v for n, v in swin.state_dict().items()
    },
    'original': in_original_layout,
    "another code's whole model": lambda swin: {
        **{f'backbone.{n}': v for n, v in in_original_layout(swin).items()},
        'head.weight': torch.ones(2),
    },
    'timm': lambda swin: in_original_layout(swin, timm=True),
    'transformers': lambda swin: by_transformers_names(in_original_layout(swin)),
}


@pytest.mark.parametrize('file', FILES)
def test_a_whole_model_is_loaded_from_any_file(file, swin, written, tmp_path):
    weights = {f'backbone.{name}': value for name, value in swin.state_dict().items()}
    FILES[file]({**weights, 'head.weight': torch.ones(2)}, tmp_path)
    cfg = written(file)
    assert cfg.load_from == str(tmp_path / file)
    assert cfg.model.backbone.init_cfg is None
    assert cfg.optim_wrapper.optimizer.lr == 1e-5
    load = load_from_safetensors if file.endswith('safetensors') else load_from_local
    loaded = load(cfg.load_from)
    names = {name.removeprefix('module.') for name in loaded.get('state_dict', loaded)}
    assert {'head.weight', f'backbone.{WEIGHT}'} <= names


@pytest.mark.parametrize(
    ('layout', 'file'),
    [*((layout, 'model.pth') for layout in LAYOUTS), *(('original', file) for file in FILES)],
)
def test_a_swin_alone_starts_the_backbone(layout, file, swin, written, tmp_path):
    FILES[file](LAYOUTS[layout](swin), tmp_path)
    cfg = written(file)
    assert cfg.load_from is None
    assert cfg.model.backbone.init_cfg == dict(type='Pretrained', checkpoint=str(tmp_path / file))
    assert cfg.optim_wrapper.optimizer.lr == 1.0
    backbone = MODELS.build(cfg.model.backbone)
    backbone.init_weights()
    assert torch.equal(backbone.state_dict()[WEIGHT], swin.state_dict()[WEIGHT])


def test_torchvisions_swin_starts_it(written, tmp_path):
    theirs = torchvisions(version_2=False).state_dict()
    torch.save(theirs, tmp_path / 'tv.pth')
    cfg = written('tv.pth', BASE.replace('(2, 1, 2)', '(2, 2, 2)'))
    assert cfg.load_from is None
    backbone = MODELS.build(cfg.model.backbone)
    backbone.init_weights()
    assert torch.equal(backbone.state_dict()[WEIGHT], theirs['features.1.1.mlp.3.weight'])


@pytest.mark.parametrize(
    ('weights', 'sentence'),
    [
        (None, "'w.pth' does not exist"),
        (dict(epoch=torch.ones(1)), 'none of the weights of a Swin'),
        ({'backbone.conv1.weight': torch.ones(1), 'head.weight': torch.ones(1)}, 'another model'),
    ],
)
def test_what_is_no_swin_gets_a_sentence(weights, sentence, written, tmp_path):
    if weights is not None:
        torch.save(weights, tmp_path / 'w.pth')
    with pytest.raises(SystemExit, match=f'error: .*{sentence}'):
        written('w.pth')
    assert not (tmp_path / 'sparse.py').exists()


def test_another_size_is_refused(swin, written, tmp_path):
    weights = {f'backbone.{name}': torch.cat([v, v]) for name, v in swin.state_dict().items()}
    torch.save({**weights, 'head.weight': torch.ones(2)}, tmp_path / 'w.pth')
    with pytest.raises(SystemExit, match=r'error: .*its shapes differ'):
        written('w.pth')
