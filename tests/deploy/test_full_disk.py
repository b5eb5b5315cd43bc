"""A disk that fills up while a graph is written: one sentence, and no partial file is left."""

import resource
from contextlib import contextmanager

import pytest
import torch

from sparse_mm.errors import BadInputError
from tests.conftest import require_engine
from tests.deploy.test_deployed_backbone import VIT, check_equal, deployed, graphs

WIDE = dict(VIT, embed_dims=32)


@contextmanager
def largest_file(size):
    """Limits the size of files in bytes, as a full disk would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize('engine', ['onnxruntime', 'openvino'])
def test_a_disk_that_fills_up_in_the_middle(engine, cache):
    require_engine(engine)
    model = deployed(engine, WIDE)
    images = torch.randn(1, 3, 56, 56)
    with (
        largest_file(20_000),
        pytest.raises(BadInputError, match=r'cannot be kept in .*\(File too large\); make room'),
    ):
        model(images)
    assert graphs(cache) == []
    check_equal(model, images)
    assert len(graphs(cache)) == 1


def test_a_folder_that_cannot_be_made():
    with pytest.raises(BadInputError, match=r"cannot be kept in '/proc/graphs' .*; make room"):
        deployed(cache_dir='/proc/graphs')(torch.randn(1, 3, 56, 56))
