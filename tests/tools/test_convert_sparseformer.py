"""tools/model_converters/sparseformer.py: forms of checkpoints; wrong ones are refused."""

import runpy

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from sparse_mm.checkpoints import read_checkpoint
from sparse_mm.converters.sparse_former import convert_sparse_former
from sparse_mm.errors import BadInputError
from sparse_mm.weights_files import write_safetensors
from tests.conftest import ROOT
from tests.models.backbones.reference import load_tame
from tests.tools.test_make_sparse_weights import in_parts

TOOL = 'model_converters/sparseformer.py'


@pytest.fixture
def weights(shared):
    return load_tame(shared, 'tame_sparseformer_t')[0]


def test_the_training_codes_checkpoint(weights, call_tool, tmp_path):
    other = {name: value + 1 for name, value in weights.items()}
    torch.save(dict(model=other, model_ema=weights, epoch=3), tmp_path / 'theirs.pth')
    printed = call_tool(TOOL, 'theirs.pth', 'ours.pth')
    assert 'taking model_ema' in printed
    assert "arch='tiny'" in printed
    state = read_checkpoint(str(tmp_path / 'ours.pth'))['state_dict']
    cfg = Config.fromfile(ROOT / 'configs' / 'sparseformer_tiny_imagenet.py')
    init_default_scope(cfg.default_scope)
    model = MODELS.build(cfg.model)
    model.load_state_dict(state)
    assert torch.equal(model.head.fc.bias, weights['head.classifier.bias'])
    assert torch.equal(model.backbone.token_rois, weights['token_roi.weight'])


@pytest.mark.parametrize('file', ['timm.pth', 'ddp.pth', 'part.pth', 'w.safetensors', 'parts'])
def test_other_files_and_layouts(file, weights, call_tool, tmp_path):
    other = {name: value + 1 for name, value in weights.items()}
    parted = {f'encoder.{name}': value for name, value in weights.items()}
    if file == 'parts':
        file = in_parts(weights, tmp_path)
    elif file == 'w.safetensors':
        write_safetensors(str(tmp_path / file), weights, {})
    else:
        content = {
            'timm.pth': dict(state_dict=other, state_dict_ema=weights),
            'ddp.pth': {f'module.{name}': value for name, value in weights.items()},
            'part.pth': dict(model=parted),
        }
        torch.save(content[file], tmp_path / file)
    assert "arch='tiny'" in call_tool(TOOL, file, 'ours.pth')
    state = read_checkpoint(str(tmp_path / 'ours.pth'))['state_dict']
    assert torch.equal(state['backbone.token_rois'], weights['token_roi.weight'])


def test_refusals(weights, refusal, tmp_path):
    torch.save(dict(model=weights), tmp_path / 'theirs.pth')
    (tmp_path / 'there.pth').write_bytes(b'kept')
    assert 'exists; move it away' in refusal(TOOL, 'theirs.pth', 'there.pth')
    assert (tmp_path / 'there.pth').read_bytes() == b'kept'

    less = {name: value for name, value in weights.items() if 'layers.9.' not in name}
    torch.save(dict(model=less), tmp_path / 'less.pth')
    message = refusal(TOOL, 'less.pth', 'ours.pth')
    assert 'looks most like tiny, but cortex.7.norm1.weight is missing' in message
    torch.save({'backbone.token_rois': torch.zeros(1)}, tmp_path / 'ours_already.pth')
    assert 'our names already, and need no' in refusal(TOOL, 'ours_already.pth', 'ours.pth')
    parted = {f'encoder.{name}': value for name, value in weights.items()}
    torch.save({**parted, 'text.weight': torch.zeros(1)}, tmp_path / 'part.pth')
    assert "stands there as 'encoder.…' beside text.weight" in refusal(TOOL, 'part.pth', 'ours.pth')
    torch.save({'backbone.layer.weight': torch.zeros(1)}, tmp_path / 'foreign.pth')
    assert 'not a SparseFormer checkpoint' in refusal(TOOL, 'foreign.pth', 'ours.pth')
    assert "'none.pth' does not exist" in refusal(TOOL, 'none.pth', 'ours.pth')
    assert not (tmp_path / 'ours.pth').exists()


# Sizes of a large model instead of a base model.
LARGE = {384: 512, 1152: 1536, 1536: 2048, 768: 1024, 2304: 3072, 3072: 4096}


@pytest.fixture(scope='module')
def fits(shared):
    """Which arch the tool finds for a bootstrapped checkpoint by the authors' names."""
    base = load_tame(shared, 'tame_btsp_augreg_base')[0]
    check = runpy.run_path(str(ROOT / 'tools' / TOOL))['check_arch']

    def find(large=False, tokens=48, without=(), arch=None):
        shapes = {}
        for name, value in base.items():
            shape = [LARGE.get(size, size) if large else size for size in value.shape]
            if name == 'initial_roi.weight':
                shape = [tokens, 4]
            shapes[name] = shape
            if large and name.startswith('layers.3.'):  # 16 blocks instead of 8
                shapes |= {name.replace('.3.', f'.{i}.', 1): shape for i in range(11, 19)}
        weights = {
            name: torch.empty(shape, device='meta')
            for name, shape in shapes.items()
            if name not in without
        }
        return check(convert_sparse_former(weights), 'theirs.pth', arch)

    return find


def test_bootstrapped_models_are_distinguished(fits):
    no_bias, no_head = ('proj.bias',), ('proj.weight', 'proj.bias')
    assert fits() == 'augreg_base'
    assert fits(without=no_bias) == 'clip_base'  # the same shapes
    assert fits(large=True) == 'augreg_large'
    assert fits(large=True, tokens=63, without=no_bias) == 'clip_large'
    assert fits(large=True, tokens=63, without=no_head) == 'clip_large'
    with pytest.raises(BadInputError, match=r'fits augreg_base and clip_base.*with --arch'):
        fits(without=no_head)
    assert fits(without=no_head, arch='clip_base') == 'clip_base'
    with pytest.raises(BadInputError, match=r'is no clip_large; it fits augreg_base or clip_base'):
        fits(without=no_head, arch='clip_large')
    with pytest.raises(BadInputError, match=r'fits none of.*most like augreg_large'):
        fits(large=True, tokens=50)
