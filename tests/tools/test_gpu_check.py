"""tools/gpu_check.py --dry-run."""

import json

import pytest

from tests.conftest import ROOT
from tools.gpu_check import PLANS

# As in release 5: names that mmpretrain imports do not exist.
TRANSFORMERS = """
__version__ = '5.17.0'
def __getattr__(name):
    raise ImportError(f'cannot import name {name!r} from transformers')
"""


@pytest.mark.slow
def test_a_dry_run_finds_everything_right(run_tool, tmp_path):
    package = tmp_path / 'path' / 'transformers'
    package.mkdir(parents=True)
    (package / '__init__.py').write_text(TRANSFORMERS)
    path = f'{tmp_path / "path"}:{ROOT}'
    out = run_tool(
        'gpu_check.py', '--dry-run', '--seconds', 240, '--out', 'found', env={'PYTHONPATH': path}
    ).stdout
    assert out.splitlines()[-1] == 'no failure'
    found = json.loads((tmp_path / 'found' / 'gpu_check.json').read_text())
    assert found['dry_run'] is True
    sections = found['sections']
    assert list(sections) == [*(plan.name for plan in PLANS), 'targets']
    assert {name for name, s in sections.items() if s['status'] != 'done'} == set()
    # Every column of the checks was computed, of every backbone.
    for row in sections['correctness']['rows']:
        assert {'fp32', 'amp bf16', 'bf16', 'fp16', 'graph fp32', 'waits', 'ok'} <= set(row)
    assert len(sections['correctness']['rows']) == len(sections['gradients']['rows']) >= 11
    # mmdet's Swin is compared with this transformers, too.
    table = sections['swin_t_batch_4']['rows']
    assert {row['backbone'] for row in table} == {'mmdet Swin', 'dense', 'middle', '60 %'}
    assert {row['mode'] for row in table} == {'eager', 'graph'}
    assert [row['step'] for row in sections['learning_curve']['rows']] == [1, 2]
    assert 'not measured' not in {row['met'] for row in sections['targets']['rows']}
    page = (tmp_path / 'found' / 'gpu_check.md').read_text()
    assert 'A dry run: its figures mean nothing' in page
    assert '| mmdet Swin |' in page


def test_refuses_a_machine_without_a_gpu_and_no_time(refusal, monkeypatch):
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')
    assert 'torch sees no CUDA device' in refusal('gpu_check.py')
    assert '--seconds must be above 0' in refusal('gpu_check.py', '--seconds', '0')


def test_every_wheel_that_travels_is_named_with_its_version():
    lines = (ROOT / 'requirements' / 'gpu.txt').read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith('#')]
    assert all('==' in pin for pin in pins)
    names = {pin.split('==')[0] for pin in pins}
    # torch is installed; mmpretrain is not needed, and could not be imported.
    assert not names & {'torch', 'torchvision', 'mmpretrain', 'numpy'}
    assert {'mmengine', 'mmcv-lite', 'mmdet', 'pycocotools', 'setuptools'} <= names
