import pytest
from mmengine.config import Config

from sparse_mm.engine.config_file import lost_hooks, read_config
from sparse_mm.errors import BadInputError
from tests.conftest import require_configs_of

BASE = """
data_root = 'data/coco/'
model = dict(neck=dict(num_outs=5), backbone=dict(type='SparseViT', init_cfg=None))
custom_hooks = [dict(type='EMAHook'), dict(type='PipelineSwitchHook')]
optim_wrapper = dict(
    type='AmpOptimWrapper', dtype='bfloat16', loss_scale='dynamic', optimizer=dict(lr=1))
train_dataloader = dict(num_workers=2, persistent_workers=True, dataset=dict(
    type='CocoDataset', data_root=data_root, ann_file='annotations/a.json'))
val_evaluator = dict(type='CocoMetric', ann_file=data_root + 'annotations/b.json')
"""


@pytest.fixture
def write(tmp_path):
    (tmp_path / 'base.py').write_text(BASE)

    def write(text, name='own.py'):
        path = tmp_path / name
        path.write_text(text)
        return str(path)

    return write


@pytest.mark.parametrize(
    ('text', 'sentence'),
    [
        ("_base_ = './base.py'\nx = _base_.model.nekc.num_outs", r"own.py'.*nekc"),
        ("_base_ = './base.py'\n\nx = _base_.custom_hooks[7]", r'line 3.*index out of range'),
        ("custom_imports = dict(imports=['no_such_package_here'])", "No module named 'no_such_pa"),
        ("_base_ = './nowhere.py'", 'nowhere.py'),
        ('x = 1 / 0', 'line 1.*division by zero'),
        ("x = dict(a=1)\ny = x['b']", "line 2.*no 'b'"),
        ("x = 'a' + 1", 'line 1.*concatenate'),
        ('x = (', 'was never closed'),
        ("_base_ = './own.py'", 'inherits itself'),
        ('_base_ = 5', 'has 5 in _base_, which takes a path'),
        ("_base_ = ['./base.py', dict(a=1)]", r"has \{'a': 1\} in _base_"),
        ('import sys\nsys.exit(3)', 'ends the program itself'),
    ],
)
def test_mistakes_in_a_config_get_a_sentence(write, text, sentence):
    with pytest.raises(BadInputError, match=sentence):
        read_config(write(text))


def test_a_config_that_is_a_list(write):
    with pytest.raises(BadInputError, match='holds a list, where a config holds named settings'):
        read_config(write('[1]', 'list.json'))


def test_overrides_reach_into_none(write):
    path = write("_base_ = './base.py'")
    cfg = read_config(path, {'model.backbone.init_cfg.checkpoint': 'a.pth'})
    assert cfg.model.backbone.init_cfg.checkpoint == 'a.pth'


@pytest.mark.parametrize(
    ('options', 'sentence'),
    [
        ({'model.neck.num_outs.more': 1}, r'model\.neck\.num_outs is 5'),
        ({'custom_hooks.7.type': 'A'}, r'custom_hooks is a list of 2'),
        ({'custom_hooks.first.type': 'A'}, 'count from 0'),
    ],
)
def test_overrides_that_do_not_fit_get_a_sentence(write, options, sentence):
    with pytest.raises(BadInputError, match=sentence):
        read_config(write("_base_ = './base.py'"), options)


def test_amp_is_left_by_its_advice(write):
    cfg = read_config(write("_base_ = './base.py'"), {'optim_wrapper.type': 'OptimWrapper'})
    assert set(cfg.optim_wrapper) == {'type', 'optimizer'}
    assert set(read_config(write("_base_ = './base.py'")).optim_wrapper) > {'dtype'}


def test_loaders_without_workers_keep_none_alive(write):
    path = write("_base_ = './base.py'")
    cfg = read_config(path, {'train_dataloader.num_workers': 0})
    assert cfg.train_dataloader.persistent_workers is False
    assert read_config(path).train_dataloader.persistent_workers is True


class TestDataRoot:
    def test_the_option_moves_data_sets_and_evaluators(self, write):
        cfg = read_config(write("_base_ = './base.py'"), dict(data_root='/my/coco'))
        assert cfg.train_dataloader.dataset.data_root == '/my/coco/'
        assert cfg.val_evaluator.ann_file == '/my/coco/annotations/b.json'

    def test_it_moves_data_sets_of_configs_without_their_own(self, write):
        text = "train_dataloader = dict(dataset=dict(type='ImageNet', data_root='data/imagenet'))"
        cfg = read_config(write(text), dict(data_root='/my/imagenet'))
        assert cfg.train_dataloader.dataset.data_root == '/my/imagenet'

    def test_several_of_them_get_a_sentence(self, write):
        text = """
train_dataloader = dict(dataset=dict(type='ConcatDataset', datasets=[
    dict(type='CocoDataset', data_root='data/a'), dict(type='CocoDataset', data_root='data/b')]))
"""
        with pytest.raises(BadInputError, match='data/a, data/b'):
            read_config(write(text), dict(data_root='/my'))

    def test_the_environment_names_the_folder_of_what_is_not_there(
        self, write, monkeypatch, tmp_path
    ):
        monkeypatch.setenv('COCO_ROOT', '/my/coco')
        monkeypatch.chdir(tmp_path)
        path = write("_base_ = './base.py'")
        cfg = read_config(path)
        assert cfg.train_dataloader.dataset.data_root == '/my/coco/'
        assert cfg.val_evaluator.ann_file == '/my/coco/annotations/b.json'
        (tmp_path / 'data' / 'coco').mkdir(parents=True)
        assert read_config(path).train_dataloader.dataset.data_root == 'data/coco/'

    def test_home_is_understood_everywhere(self, write, monkeypatch):
        monkeypatch.setenv('HOME', '/home/me')
        cfg = read_config(write("_base_ = './base.py'"), dict(data_root='~/coco', work_dir='~/run'))
        assert cfg.train_dataloader.dataset.data_root == '/home/me/coco/'
        assert cfg.work_dir == '/home/me/run'
        monkeypatch.setenv('DATA', '/data')
        cfg = read_config(write("_base_ = './base.py'"), dict(data_root='$DATA/coco'))
        assert cfg.val_evaluator.ann_file == '/data/coco/annotations/b.json'
        text = "a = ['$DATA', '${DATA}/b', '$ABSENT/c', 'd$DATA', '$DATAX']"
        assert read_config(write(text)).a == ['/data', '/data/b', '$ABSENT/c', 'd$DATA', '$DATAX']
        text = "a = dict(b=['~/x', ('~', '~y', 'a~/b')])"
        assert read_config(write(text)).a.b == ['/home/me/x', ('/home/me', '~y', 'a~/b')]


def test_a_collation_function_of_a_host_is_called_without_its_name(write):
    require_configs_of('mmpretrain')
    base = 'mmpretrain::simmim/benchmarks/swin-base-w7_8xb256-coslr-100e_in1k.py'
    cfg = read_config(write(f'_base_ = {base!r}'))
    assert cfg.train_dataloader.collate_fn == dict(type='default_collate')


def test_hooks_of_a_base_that_were_lost_are_named(write):
    own = "_base_ = './base.py'\ncustom_hooks = [{}dict(type='SparsityAdaptationHook')]"
    path = write(own.format(''))
    assert lost_hooks(path, read_config(path)) == ['EMAHook', 'PipelineSwitchHook']
    path = write(own.format('*_base_.custom_hooks, '))
    assert lost_hooks(path, read_config(path)) == []
    path = write("_base_ = './base.py'")
    assert lost_hooks(path, read_config(path)) == []
    assert isinstance(read_config(path), Config)
