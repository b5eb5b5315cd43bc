"""benchmark.py --whole: models of every task predict on random images."""

from dataclasses import replace

import pytest
import torch

from sparse_mm.deploy import DeployedBackbone
from sparse_mm.errors import BadInputError
from tests.conftest import ROOT
from tools.benchmarks.passes import Pass, Setup, count_gmacs
from tools.benchmarks.runs import build, read_run

NARROW = ('model.backbone.embed_dims=16', 'model.backbone.num_heads=[1,2,4,8]')
MODELS = {
    'Mask R-CNN': ('configs/sparsevit_maskrcnn_shapes_dense.py', (), (96, 128)),
    'UPerNet': (
        'configs/sparsevit_upernet_cityscapes_dense.py',
        (
            *NARROW,
            *('model.decode_head.in_channels=[16,32,64,128]', 'model.decode_head.channels=16'),
            *('model.auxiliary_head.in_channels=64', 'model.auxiliary_head.channels=16'),
        ),
        (64, 96),
    ),
    'classifier': ('configs/sparseformer_shapes.py', (), (96, 96)),
    'BEVDet': (
        'projects/bevdet/configs/bevdet_driving.py',
        ('model.bbox_head.bbox_coder.max_num=10',),  # fewer boxes to suppress
        (64, 96),
    ),
}


@pytest.mark.parametrize('name', MODELS)
def test_a_whole_model_predicts(name):
    config, changes, size = MODELS[name]
    given = [name, str(ROOT / config), *changes]
    run = read_run(given, size, whole=True)
    model = build(run)
    found = []
    model.register_forward_hook(lambda module, args, out: found.append(out))
    Pass(run, Setup('cpu', 2), model)()
    assert len(found[0]) == 2  # predictions of each image
    assert not model.model.training


def test_the_rest_of_the_model_is_counted_too():
    config, changes, size = MODELS['classifier']
    given, setup = ['model', str(ROOT / config), *changes], Setup('cpu', 2)
    runs = [read_run(given, size, whole) for whole in (True, False)]
    whole, backbone = (count_gmacs(run, setup, build(run)) for run in runs)
    assert whole > backbone


def test_a_backbone_without_a_config_has_no_whole_model():
    with pytest.raises(BadInputError, match='which --whole needs'):
        read_run(['swin', 'mmdet.SwinTransformer'], (64, 64), whole=True)


def test_a_model_that_wants_more_is_refused():
    config, changes, size = MODELS['classifier']
    run = read_run(['model', str(ROOT / config), *changes], size, whole=True)
    model = build(run)

    def forward(*args, **kwargs):
        raise KeyError('depth_maps')

    model.model.forward = forward
    with pytest.raises(BadInputError, match="needs 'depth_maps'"):
        model(torch.zeros(1, 3, *size))


def test_the_command_line(call_tool, refusal):
    tool = 'analysis_tools/benchmark.py'
    config, changes, _ = MODELS['classifier']
    rows = [
        *('--run', 'whole', ROOT / config, *changes),
        *(
            '--shape',
            64,
            64,
            '--seconds',
            0.1,
            '--matrix',
            64,
            '--threads',
            1,
            '--whole',
            '--no-memory',
        ),
    ]
    printed = call_tool(tool, *rows)
    assert 'mode: inference of whole models' in printed
    assert '| whole | 64×64 |' in printed
    assert 'leave --preset, --train and --compile out' in refusal(
        tool, '--preset', 'sparsevit', '--whole'
    )


def test_the_backbone_of_a_whole_model_runs_on_an_engine():
    config, changes, size = MODELS['classifier']
    run = read_run(['model', str(ROOT / config), *changes], size, whole=True)
    run = replace(run, engine='torch', precision='bfloat16')
    model, setup = build(run), Setup('cpu', 1)
    gmacs = count_gmacs(run, setup, model)
    assert gmacs > 0
    found = []
    once = Pass(run, setup, model)
    assert isinstance(model.model.backbone, DeployedBackbone)
    model.model.backbone.register_forward_hook(lambda module, args, out: found.extend(out))
    once()
    assert found[0].dtype == torch.float32
