"""The authors' checkpoints through the converter: their outputs, and what is refused."""

import copy

import pytest
import torch

from sparse_mm.converters.sparse_former import convert_sparse_former
from sparse_mm.errors import BadInputError
from sparse_mm.models import SparseFormer
from tests.models.backbones.reference import load_reference, relative_error


def build(weights):
    model = SparseFormer('tiny', out_type='tokens').eval()
    converted = convert_sparse_former(weights)
    head = {name: converted.pop(f'head.fc.{name}') for name in ('weight', 'bias')}
    model.load_state_dict(converted)  # strict: every name and shape
    return model, head


@torch.no_grad()
def test_the_authors_outputs(shared):
    """As close as float32 can tell.

    Each look at the noise image with these weights makes a difference about eight times larger
    (a relative change of 1e-7 becomes 3e-4 over the five looks), so rounding alone, in another
    order or on another processor, puts two correct float32 models 0.02 apart; in float64 ours is as
    far from the reference as in float32. What can be told: the distance is that of rounding.
    """
    _, weights, image, outputs = load_reference(shared('reference/sparseformer_t.npz'))
    model, head = build(weights)
    tokens, rois, _ = model(image)
    assert relative_error(rois.transpose(0, 1), outputs['rois']) < 3e-4
    assert relative_error(tokens.transpose(0, 1), outputs['tokens']) < 0.06
    model.out_type = 'pooled'
    (pooled,) = model(image)
    logits = pooled @ head['weight'].T + head['bias']
    assert relative_error(logits, outputs['logits']) < 0.012
    # The yardstick: the smallest change of the image that float32 can express.
    model.out_type = 'tokens'
    nudged, _, _ = model(image * (1 + 2e-7))
    rounding = relative_error(nudged, tokens)
    assert relative_error(tokens.transpose(0, 1), outputs['tokens']) < 10 * rounding


@torch.no_grad()
def test_both_namings_give_the_same_model(shared):
    _, weights, _, _ = load_reference(shared('reference/sparseformer_t.npz'))
    library = {}
    for name, value in weights.items():
        for old, new in (
            ('token_embedding', 'initial_embedding'),
            ('token_roi', 'initial_roi'),
            ('tuo_proj', 'out_proj'),
            ('ln_attn', 'norm1'),
            ('attn.in_proj_', 'attn.qkv.'),
            ('attn.out_proj', 'attn.proj'),
            ('ffn.0', 'norm2'),
            ('ffn.1', 'mlp.fc1'),
            ('ffn.3', 'mlp.fc2'),
            ('head.norm', 'norm'),
            ('head.classifier', 'proj'),
        ):
            name = name.replace(old, new)
        library[name] = value
    ours, theirs = convert_sparse_former(weights), convert_sparse_former(library)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_what_is_no_sparse_former_is_refused(shared):
    with pytest.raises(BadInputError, match=r'unknown are backbone.norm.weight; it lacks the tok'):
        convert_sparse_former({'backbone.norm.weight': torch.zeros(1)})
    _, weights, _, _ = load_reference(shared('reference/sparseformer_t.npz'))
    more = copy.copy(weights)
    more['layers.2.pe_transition.0.weight'] = torch.zeros(1)
    with pytest.raises(BadInputError, match=r'unknown are layers.2.pe_transition.0.weight'):
        convert_sparse_former(more)
