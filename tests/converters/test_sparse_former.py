"""The authors' checkpoints through the converter: their outputs, and what is refused.

The reference outputs belong to weights that make the models chaotic: each look at the noise image
makes a difference about eight times larger. Changing the weights by their last bit alone moves the
outputs by 0.01 to 0.02, and so does the order in which another processor sums. What the files can
tell is that the distance is that of rounding.
"""

import pytest
import torch

from sparse_mm.converters.sparse_former import convert_sparse_former
from sparse_mm.errors import BadInputError
from sparse_mm.models import BootstrappedSparseFormer, SparseFormer
from tests.models.backbones.reference import load_reference, relative_error


def build(weights, **options):
    name, converted = convert_sparse_former(weights)
    head = {name: converted.pop(f'head.fc.{name}') for name in ('weight', 'bias')}
    cls = {c.__name__: c for c in (SparseFormer, BootstrappedSparseFormer)}[name]
    model = cls(**options).eval()
    model.load_state_dict(converted)  # strict: every name and shape
    return model, head


def logits(model, head, image):
    model.out_type = 'pooled'
    (pooled,) = model(image)
    return pooled @ head['weight'].T + head['bias']


def rounding(model, run):
    """How far a model's output moves when its weights change by their last bit."""
    expected = run()
    torch.manual_seed(0)
    for parameter in model.parameters():
        parameter.mul_(1 + 6e-8 * torch.randn_like(parameter))
    return relative_error(run(), expected)


@torch.no_grad()
def test_the_authors_outputs(shared):
    _, weights, image, outputs = load_reference(shared('reference/sparseformer_t.npz'))
    model, head = build(weights, arch='tiny', out_type='tokens')
    tokens, rois, _ = model(image)
    distance = relative_error(tokens.transpose(0, 1), outputs['tokens'])
    assert distance < 0.06
    assert relative_error(rois.transpose(0, 1), outputs['rois']) < 3e-4
    assert relative_error(logits(model, head, image), outputs['logits']) < 0.012
    model.out_type = 'tokens'
    assert distance < 3 * rounding(model, lambda: model(image)[0])


@torch.no_grad()
def test_the_authors_bootstrapped_outputs(shared):
    _, weights, image, outputs = load_reference(shared('reference/btsp_augreg_base.npz'))
    model, head = build(weights, arch='augreg_base')
    distance = relative_error(logits(model, head, image), outputs['out'])
    assert distance < 0.05
    assert distance < 3 * rounding(model, lambda: logits(model, head, image))


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
    ours, theirs = (convert_sparse_former(form).weights for form in (weights, library))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_what_is_no_sparse_former_is_refused(shared):
    with pytest.raises(BadInputError, match=r'unknown are backbone.norm.weight; it lacks the tok'):
        convert_sparse_former({'backbone.norm.weight': torch.zeros(1)})
    _, weights, _, _ = load_reference(shared('reference/sparseformer_t.npz'))
    weights['layers.2.pe_transition.0.weight'] = torch.zeros(1)
    with pytest.raises(BadInputError, match=r'unknown are layers.2.pe_transition.0.weight'):
        convert_sparse_former(weights)
