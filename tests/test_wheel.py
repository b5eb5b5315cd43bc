"""The wheel contains configs, tools and projects, and works without a checkout."""

import json
import os
import re
import subprocess
import sys
import zipfile
from configparser import ConfigParser

import pytest
import yaml

from tests.conftest import ROOT, require_configs_of

HEIR = """
_base_ = 'sparse_mm::sparsevit/mask-rcnn_sparsevit-t-p4-w7_fpn_coco_dense-672.py'
model = dict(backbone=dict(pruning_ratios=0.5))
"""
READ = """
import json, os, sys
import sparse_mm
from mmengine.hub import get_config
from sparse_mm.engine.config_file import read_config
from sparse_mm.engine.inspection import build_backbone
heir = read_config('heir.py')
video = get_config('sparse_mm::videosparseformer/video-sparseformer-tiny_kinetics400-rgb.py')
print(json.dumps(dict(
    home=os.path.dirname(sparse_mm.__file__),
    backbone=heir.model.backbone.type,
    our_scopes=repr(heir._cfg_dict).count("'_scope_': 'sparse_mm'"),
    ratios=build_backbone(heir).pruning_ratios[0],
    video=video.model.backbone.type)))
"""


@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
    """The wheel of the source distribution, as ``python -m build`` makes it."""
    folder = tmp_path_factory.mktemp('wheel')
    backend = 'import sparse_mm_build as b; import sys; print(b.{}(sys.argv[1]))'
    env = {**os.environ, 'PYTHONPATH': str(ROOT / 'tools' / 'packaging')}

    def build(hook, cwd, env):
        command = [sys.executable, '-c', backend.format(hook), str(folder)]
        done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        return folder / done.stdout.split()[-1]

    copy = folder / 'checkout'
    tracked = subprocess.run(
        ['git', 'ls-files', '-zco', '--exclude-standard'], cwd=ROOT, capture_output=True, text=True
    )
    if tracked.returncode:
        pytest.skip('needs a Git checkout, whose files are copied')
    for name in filter(None, tracked.stdout.split('\0')):
        if (ROOT / name).is_file() and not name.startswith(('tests/', 'docs/')):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((ROOT / name).read_bytes())
    sdist = build('build_sdist', copy, env)
    subprocess.run(['tar', 'xf', str(sdist)], cwd=folder, check=True)
    unpacked = folder / sdist.name.removesuffix('.tar.gz')
    env['PYTHONPATH'] = str(unpacked / 'tools' / 'packaging')
    return build('build_wheel', unpacked, env)


@pytest.fixture(scope='module')
def installed(wheel, tmp_path_factory):
    target = tmp_path_factory.mktemp('target')
    pip = [sys.executable, '-m', 'pip', 'install', '--quiet', '--no-deps', '--no-index']
    subprocess.run([*pip, '--target', str(target), str(wheel)], check=True)
    return target


def run(installed, *words, cwd, fails=False):
    done = subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=cwd,
        env={**os.environ, 'PYTHONPATH': str(installed)},
        capture_output=True,
        text=True,
    )
    assert bool(done.returncode) == fails, done.stderr[-3000:]
    return done.stdout + done.stderr


def test_everything_published_is_in_it(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder in ('configs', 'tools', 'projects'):
        for path in (ROOT / folder).rglob('*.py'):
            assert f'sparse_mm/.mim/{path.relative_to(ROOT).as_posix()}' in names
    index = yaml.safe_load((ROOT / 'model-index.yml').read_text())['Import']
    models = [
        model for name in index for model in yaml.safe_load((ROOT / name).read_text())['Models']
    ]
    for name in (*index, *(model['Config'] for model in models)):
        assert f'sparse_mm/.mim/{name}' in names
    for model in models:
        folder = model['In Collection'].lower().replace(' ', '_')
        assert f'sparse_mm/.mim/configs/{folder}/{model["Name"]}.py' in names
    assert not any('__pycache__' in name for name in names)


def test_configs_are_inherited_by_their_published_names(installed, tmp_path):
    require_configs_of('mmdet')
    pytest.importorskip('mmpretrain')
    (tmp_path / 'heir.py').write_text(HEIR)
    found = json.loads(run(installed, '-c', READ, cwd=tmp_path).splitlines()[-1])
    assert found == dict(
        home=str(installed / 'sparse_mm'),
        backbone='SparseViT',
        our_scopes=0,
        ratios=[0.5, 0.5],
        video='VideoSparseFormer',
    )


def test_its_tools_run_as_mim_runs_them(installed, tmp_path):
    require_configs_of('mmdet')
    (tmp_path / 'heir.py').write_text(HEIR)
    tools = installed / 'sparse_mm' / '.mim' / 'tools'
    flops = tools / 'analysis_tools' / 'get_flops.py'
    said = run(installed, flops, 'heir.py', '--backbone', cwd=tmp_path)
    assert re.search(r'MACs: +\d+\.\d\d G', said)
    said = run(installed, tools / 'train.py', 'heir.py', cwd=tmp_path, fails=True)
    assert 'Traceback' not in said and 'COCO_ROOT' in said


def test_extras_have_the_versions_of_the_requirements():
    setup = ConfigParser()
    setup.read(ROOT / 'setup.cfg')
    extras = {name: text.split() for name, text in setup['options.extras_require'].items()}
    assert set(extras) == {'det', 'seg', 'det3d', 'cls', 'video', 'export', 'deploy'}
    pinned = (ROOT / 'requirements' / 'runtime.txt').read_text().split()
    for extra, host in (
        *(('det', 'mmdet'), ('seg', 'mmsegmentation'), ('det3d', 'mmdet3d')),
        ('cls', 'mmpretrain'),
    ):
        (line,) = (line for line in extras[extra] if line.startswith(f'{host}=='))
        assert line in pinned
    # Our operators for mmcv-lite and mmpretrain import it, and no host requires it.
    for extra in ('det', 'seg', 'det3d', 'cls', 'video'):
        assert 'torchvision' in extras[extra]
    assert set(extras['export']) < set(extras['deploy'])
    assert not any(line.startswith('mmcv') for lines in extras.values() for line in lines)
