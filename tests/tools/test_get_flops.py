import json
import math

import pytest
import torch

from sparse_mm.models import SparseViT
from sparse_mm.models.ratios import num_kept, parse_ratios
from tests.conftest import ROOT

R41 = [[0.3, 0.3], [0, 0], [0.1, 0.1, 0.2, 0.2, 0.2, 0.2], [0, 0]]
R34 = [[0.6, 0.6], [0, 0], [0.2, 0.2, 0.4, 0.4, 0.5, 0.5], [0, 0]]


def count(tool_main, capsys, monkeypatch, *arguments):
    monkeypatch.setattr('sys.argv', ['get_flops.py', *map(str, arguments)])
    tool_main()
    return capsys.readouterr().out


@pytest.fixture(scope='module')
def tool():
    import runpy

    return runpy.run_path(str(ROOT / 'tools' / 'analysis_tools' / 'get_flops.py'))


@pytest.fixture(scope='module')
def tool_main(tool):
    return tool['main']


def by_hand(shape, batch, channels=96, ratios=None, depths=(2, 2, 6, 2), window=7):
    """The backbone's MACs from the formulas, window by window."""
    height, width = (math.ceil(side / 4) for side in shape)
    total = height * width * 3 * 16 * channels
    for i, stage in enumerate(parse_ratios(ratios, depths)):
        windows = math.ceil(height / window) * math.ceil(width / window)
        for ratio in stage:
            tokens = num_kept(windows, ratio) * window**2
            total += tokens * (12 * channels**2 + 2 * window**2 * channels)
        if i < len(depths) - 1:
            height, width = math.ceil(height / 2), math.ceil(width / 2)
            total += height * width * 8 * channels**2
            channels *= 2
    return total * batch


@pytest.mark.parametrize(
    ('config', 'arguments', 'paper'),
    [
        ('_r576', (), 149.5),
        ('_r544', (), 119.8),
        ('_r512', (), 117.5),
        ('_41ms', (), 139.5),
        ('_34ms', (), 116.5),
        ('', ('--ratios', json.dumps(R34)), 116.5),
        ('_w09', (), 122.3),
        ('_w08', (), 90.5),
        ('_w06', (), 63.4),
        ('', ('--shape', 256, 704, '--batch', 6), 140.8),
        ('', ('--shape', 224, 616, '--batch', 6), 78.5),
        ('', ('--shape', 192, 528, '--batch', 6), 67.1),
    ],
)
def test_the_papers_figures(tool_main, capsys, monkeypatch, config, arguments, paper):
    path = ROOT / 'configs' / f'sparsevit_maskrcnn_coco{config or "_dense"}.py'
    batch = () if '--batch' in arguments else ('--batch', 4)
    out = count(tool_main, capsys, monkeypatch, path, '--backbone', '--json', *batch, *arguments)
    result = json.loads(out.strip().splitlines()[-1])
    assert result['macs'] == pytest.approx(paper * 1e9, rel=0.005)
    channels = {'_w09': 84, '_w08': 72, '_w06': 60}.get(config, 96)
    assert result['macs'] == by_hand(
        result['shape'], result['batch'], channels, result['pruning_ratios']
    )
    assert isinstance(result['params'], int)


def test_a_whole_model_is_counted(tool_main, capsys, monkeypatch):
    path = ROOT / 'configs' / 'sparsevit_maskrcnn_shapes.py'
    whole = json.loads(count(tool_main, capsys, monkeypatch, path, '--json').splitlines()[-1])
    backbone = json.loads(
        count(tool_main, capsys, monkeypatch, path, '--json', '--backbone').splitlines()[-1]
    )
    assert whole['macs'] > backbone['macs'] > 0
    assert whole['params'] > backbone['params'] > 0
    assert whole['type'] == 'MaskRCNN'


def test_attention_is_counted_on_every_device(tool):
    """A whole model, too, with the CPU's fused attention, which PyTorch's counter misses."""
    backbone = SparseViT(embed_dims=16, num_heads=(1, 2, 4, 8)).eval()
    images = torch.zeros(1, 3, 56, 56)
    on_cpu = tool['count_macs'](backbone, images)
    assert on_cpu == tool['count_macs'](backbone.to('meta'), images.to('meta'))
    assert on_cpu == by_hand((56, 56), 1, channels=16)


def test_text_and_refusals(run_tool, tool_main, capsys, monkeypatch, refusal):
    config = ROOT / 'configs' / 'sparsevit_maskrcnn_shapes.py'
    tool = 'analysis_tools/get_flops.py'
    ratios = '--backbone', '--ratios'
    out = count(tool_main, capsys, monkeypatch, config, *ratios, '[0.5, 0.2, 0, 0]')
    assert 'MACs:' in out
    assert '[[0.5, 0.5], [0.2, 0.2], [0.0, 0.0], [0.0, 0.0]]' in out
    message = refusal(tool, config, *ratios, '[0.5, 1.2, 0, 0]')
    assert message.startswith('error: pruning_ratios must be')
    # One line of JSON and nothing else, though MMEngine logs the variable it reads.
    env = {'SHAPES_ROOT': 'elsewhere'}
    result = run_tool(tool, config, '--backbone', '--json', env=env)
    assert 'SHAPES_ROOT' in result.stderr
    assert json.loads(result.stdout)['counted'] == 'backbone'
