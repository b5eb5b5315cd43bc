"""Weights keep their names, so that checkpoints of earlier runs fit."""

import hashlib
import re

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS

from tests.conftest import ROOT, require_configs_of

# Hash of the names of all weights. If it changes, former names must still load.
DIGESTS = {
    'sparsevit_maskrcnn_coco': '56e3aa61a20c',
    'sparseformer_tiny_imagenet': 'cf35c3a74749',
    'sparseformer_maskrcnn_coco': '8e0a9721d138',
    'bootstrapped_sparseformer_augreg_base_imagenet': '293ea911c189',
}


@pytest.mark.parametrize('name', DIGESTS)
def test_names_stay(name):
    require_configs_of('mmdet')
    model = Config.fromfile(ROOT / 'configs' / f'{name}.py').model
    names = set()
    with torch.device('meta'):
        for part in ('backbone', 'neck'):
            if part in model and model[part] is not None:
                built = MODELS.build(dict(model[part], _scope_='mmdet'))
                names |= {f'{part}.{re.sub("[0-9]+", "0", key)}' for key in built.state_dict()}
    digest = hashlib.sha256('\n'.join(sorted(names)).encode()).hexdigest()[:12]
    assert digest == DIGESTS[name], sorted(names)
