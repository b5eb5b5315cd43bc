"""tools/model_converters/sparseformer.py: forms of checkpoints, and nothing written if wrong."""

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from tests.conftest import ROOT
from tests.models.backbones.reference import load_reference

TOOL = 'model_converters/sparseformer.py'


@pytest.fixture
def weights(shared):
    return load_reference(shared('reference/sparseformer_t.npz'))[1]


def test_the_training_codes_checkpoint(weights, call_tool, tmp_path):
    other = {name: value + 1 for name, value in weights.items()}
    torch.save(dict(model=other, model_ema=weights, epoch=3), tmp_path / 'theirs.pth')
    printed = call_tool(TOOL, 'theirs.pth', 'ours.pth')
    assert 'taking model_ema' in printed
    assert "arch='tiny'" in printed
    state = torch.load(tmp_path / 'ours.pth', weights_only=True)['state_dict']
    cfg = Config.fromfile(ROOT / 'configs' / 'sparseformer_tiny_imagenet.py')
    init_default_scope(cfg.default_scope)
    model = MODELS.build(cfg.model)
    model.load_state_dict(state)
    assert torch.equal(model.head.fc.bias, weights['head.classifier.bias'])
    assert torch.equal(model.backbone.token_rois, weights['token_roi.weight'])


def test_refusals(weights, refusal, tmp_path):
    torch.save(dict(model=weights), tmp_path / 'theirs.pth')
    (tmp_path / 'there.pth').write_bytes(b'kept')
    assert 'exists; move it away' in refusal(TOOL, 'theirs.pth', 'there.pth')
    assert (tmp_path / 'there.pth').read_bytes() == b'kept'

    less = {name: value for name, value in weights.items() if 'layers.9.' not in name}
    torch.save(dict(model=less), tmp_path / 'less.pth')
    message = refusal(TOOL, 'less.pth', 'ours.pth')
    assert 'looks most like tiny, but cortex.7.norm1.weight is missing' in message
    torch.save({'backbone.layer.weight': torch.zeros(1)}, tmp_path / 'foreign.pth')
    assert 'not a SparseFormer checkpoint' in refusal(TOOL, 'foreign.pth', 'ours.pth')
    assert "'none.pth' does not exist" in refusal(TOOL, 'none.pth', 'ours.pth')
    assert not (tmp_path / 'ours.pth').exists()
