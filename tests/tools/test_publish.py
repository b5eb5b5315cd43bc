"""tools/model_converters/publish.py: one file for inference, which loads like a checkpoint."""

import numpy as np
import pytest
import torch
from mmdet.models.backbones import SwinTransformer
from mmengine.runner import load_checkpoint

from sparse_mm.checkpoints import read_checkpoint
from sparse_mm.models import SparseViT
from sparse_mm.named_weights import weights_of
from tests.engine.search.toy import ToyClassifier, toy_runner

TOOL = 'model_converters/publish.py'
SMALL = dict(embed_dims=16, depths=(2, 2, 3, 1), num_heads=(1, 2, 4, 8), window_size=4)


@pytest.fixture
def trained(tmp_path):
    """A run with EMA and a search: sparse, averaged."""
    runner = toy_runner(tmp_path / 'run', evaluations=2, population=2)
    runner.train()
    return tmp_path / 'run' / 'epoch_6.pth'


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_a_training_becomes_one_small_file(trained, call_tool, tmp_path, suffix):
    out = tmp_path / f'model{suffix}'
    said = call_tool(TOOL, trained, out)
    assert 'averaged' in said
    assert 'none (dense)' not in said
    assert out.stat().st_size < trained.stat().st_size / 3
    saved = read_checkpoint(str(trained))
    found = weights_of(read_checkpoint(str(out)), str(out))
    former = 'inner.body.ratio_fractions'  # which a training writes for release 0.1, too
    assert torch.equal(saved['state_dict'].pop(former), found['inner.body.saved_ratios'])
    assert set(found) == set(saved['state_dict'])
    for name, value in saved['state_dict'].items():
        assert torch.equal(found[name], value), name
    assert set(read_checkpoint(str(out))) == {'state_dict', 'meta'}
    # MMEngine's own loading, as init_detector, load_from and tools/test.py use it.
    model = ToyClassifier()
    load_checkpoint(model, str(out), strict=True)
    assert model.inner['body'].pruning_ratios != [[0, 0], [0, 0, 0, 0]]


def test_the_weights_as_trained(trained, call_tool, tmp_path):
    assert 'as trained' in call_tool(TOOL, trained, tmp_path / 'raw.pth', '--raw')
    own = read_checkpoint(str(trained))['ema_state_dict']
    for name, value in read_checkpoint(str(tmp_path / 'raw.pth'))['state_dict'].items():
        assert torch.equal(own[f'module.{name}'], value), name


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_a_dense_one_has_only_swins_names(call_tool, tmp_path, suffix):
    model = SparseViT(**SMALL)
    meta = dict(dataset_meta=dict(classes=('a', 'b'), palette=np.zeros((2, 3), np.uint8)), seed=3)
    torch.save(dict(state_dict=model.state_dict(), optimizer={}, meta=meta), tmp_path / 'in.pth')
    out = tmp_path / f'dense{suffix}'
    assert 'none (dense)' in call_tool(TOOL, 'in.pth', out)
    weights = weights_of(read_checkpoint(str(out)), str(out))
    SwinTransformer(**SMALL).load_state_dict(weights, strict=True)
    again = SparseViT(**SMALL, init_cfg=dict(type='Pretrained', checkpoint=str(out)))
    again.init_weights()
    assert all(map(torch.equal, again.state_dict().values(), model.state_dict().values()))
    kept = read_checkpoint(str(out))['meta']
    assert kept == dict(dataset_meta=dict(classes=['a', 'b'], palette=[[0, 0, 0]] * 2))


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_what_the_converter_says_is_kept(call_tool, tmp_path, suffix):
    """Without its constants the weights of the authors' model for clips give other outputs."""
    model = SparseViT(**SMALL)
    meta = dict(type='VideoSparseFormer', arch='tiny', replicates=8, constants='library')
    torch.save(dict(state_dict=model.state_dict(), meta=meta), tmp_path / 'in.pth')
    call_tool(TOOL, 'in.pth', tmp_path / f'out{suffix}')
    assert read_checkpoint(str(tmp_path / f'out{suffix}'))['meta'] == meta


def test_half_the_size(call_tool, tmp_path):
    torch.save(SparseViT(**SMALL, pruning_ratios=0.8).state_dict(), tmp_path / 'in.pth')
    call_tool(TOOL, 'in.pth', 'out.safetensors', '--dtype', 'float16')
    model = SparseViT(**SMALL, init_cfg=dict(type='Pretrained', checkpoint='out.safetensors'))
    model.init_weights()
    assert model.pruning_ratios[0] == [0.8, 0.8]


def test_refusals(call_tool, refusal, tmp_path):
    torch.save(SparseViT(**SMALL).state_dict(), tmp_path / 'in.pth')
    assert 'must end in .pth or .safetensors' in refusal(TOOL, 'in.pth', 'out.onnx')
    assert "'in.pth' exists; move it away" in refusal(TOOL, 'in.pth', 'in.pth')
    assert 'does not exist' in refusal(TOOL, 'none.pth', 'out.pth')
    call_tool(TOOL, 'in.pth', 'whole.safetensors')
    whole = (tmp_path / 'whole.safetensors').read_bytes()
    for name, data in (('cut', whole[: len(whole) // 2]), ('junk', b'junk'), ('empty', b'')):
        (tmp_path / f'{name}.safetensors').write_bytes(data)
        said = refusal(TOOL, f'{name}.safetensors', 'out.pth')
        assert 'truncated or not a safetensors file' in said
    assert not (tmp_path / 'out.pth').exists()
