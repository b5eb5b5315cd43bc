"""Starting SparseFormers from checkpoints: other numbers of tokens, other archs."""

import pytest
import torch

from sparse_mm.errors import BadInputError
from sparse_mm.models import BootstrappedSparseFormer, SparseFormer

SETTINGS = dict(num_heads=4, num_points=4)
ARCH = dict(num_tokens=9, dims=(16, 32), depth=1, drop_path_rate=0.0)


def start(path, **options):
    model = SparseFormer(
        **{**SETTINGS, **options}, init_cfg=dict(type='Pretrained', checkpoint=str(path))
    )
    model.init_weights()
    return model


@pytest.fixture
def saved(tmp_path):
    model = SparseFormer(arch=ARCH, **SETTINGS)
    model.init_weights()
    path = tmp_path / 'nine.pth'
    state = {f'backbone.{name}': value for name, value in model.state_dict().items()}
    torch.save(dict(state_dict={**state, 'head.fc.bias': torch.zeros(10)}), path)
    return model, path


def test_a_classifiers_backbone_is_taken(saved):
    model, path = saved
    images = torch.randn(1, 3, 32, 48)
    torch.testing.assert_close(start(path, arch=ARCH)(images), model(images))


def test_more_tokens_start_as_their_neighbours_on_rois_of_their_own(saved):
    model, path = saved
    more = start(path, arch=ARCH, num_tokens=36, roi_side=0.2)
    assert torch.equal(more.token_rois, SparseFormer(num_tokens=36, roi_side=0.2).token_rois)
    cells = more.token_embedding.detach().view(6, 6, 16)
    old = model.token_embedding.detach().view(3, 3, 16)
    for corner in (0, -1):
        assert torch.equal(cells[corner, corner], old[corner, corner])
    assert {tuple(row) for row in cells.view(36, 16).tolist()} == set(
        map(tuple, old.view(9, 16).tolist())
    )


def test_another_arch_is_named(tmp_path):
    with torch.device('meta'):
        small = SparseFormer('small').state_dict()
    path = tmp_path / 'small.pth'
    torch.save({name: torch.zeros(value.shape) for name, value in small.items()}, path)
    with pytest.raises(BadInputError, match=r"does not fit.*; it looks like arch='small'\."):
        start(path, arch='tiny', num_heads=64, num_points=36)
    bootstrapped = BootstrappedSparseFormer(
        arch=dict(num_tokens=4, dims=(64, 128), depth=1, activation='gelu'),
        init_cfg=dict(type='Pretrained', checkpoint=str(path)),
    )
    with pytest.raises(BadInputError, match=r'not fit.*another one of widths \(320, 640\)'):
        bootstrapped.init_weights()


def test_a_foreign_checkpoint_is_refused(tmp_path):
    path = tmp_path / 'foreign.pth'
    torch.save({'layer1.weight': torch.zeros(3)}, path)
    with pytest.raises(BadInputError, match=r'none of the weights of a SparseFormer.*converters'):
        start(path, arch=ARCH)
