import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.hooks import Hook
from torch import nn
from torch.utils.data import DataLoader

from sparse_mm.checkpoints import read_checkpoint
from sparse_mm.engine.checks import preflight
from sparse_mm.engine.hooks import CheckDataHook
from sparse_mm.errors import BadInputError


def config(dataset):
    return Config(dict(train_dataloader=dict(dataset=dataset)))


def leaf(root, **settings):
    return dict(type='mmdet.CocoDataset', data_root=str(root), **settings)


def test_data_sets_inside_wrappers_are_checked(tmp_path):
    missing = leaf(tmp_path, ann_file='a.json')
    for dataset in (
        missing,
        dict(type='RepeatDataset', times=2, dataset=missing),
        dict(type='ConcatDataset', datasets=[leaf(tmp_path), missing]),
    ):
        with pytest.raises(BadInputError, match=r'CocoDataset \(train\) is missing.*a\.json'):
            preflight.check_data(config(dataset), ('train',))
    (tmp_path / 'a.json').write_text('{"images": []}\n')
    preflight.check_data(config(missing), ('train', 'val'))


def test_absolute_paths_and_folders_are_checked(tmp_path):
    (tmp_path / 'a.json').write_text('[]')
    dataset = leaf('elsewhere', ann_file=f'{tmp_path}/a.json', data_prefix=dict(img='images'))
    with pytest.raises(BadInputError, match="there is no 'elsewhere/images'"):
        preflight.check_data(config(dataset), ('train',))


@pytest.mark.parametrize(
    ('kind', 'hint'),
    [
        ('CityscapesDataset', 'leftImg8bit/ and gtFine/.*CITYSCAPES_ROOT'),
        ('NuScenesDataset', r'nuscenes_infos_train\.pkl.*create_data\.py.*NUSCENES_ROOT'),
        ('ADE20KDataset', r'set data_root of train_dataloader\.dataset'),
    ],
)
def test_each_data_set_gets_a_hint_of_its_own(kind, hint):
    dataset = dict(type=kind, data_root='nowhere')
    with pytest.raises(BadInputError, match=hint):
        preflight.check_data(config(dataset), ('train',))


def test_an_interrupted_check_leaves_nothing(tmp_path):
    preflight.check_work_dir(str(tmp_path / 'new'))
    assert list((tmp_path / 'new').iterdir()) == []


class TestCheckpoints:
    def model(self, classes):
        model = nn.Module()
        model.backbone = nn.Linear(4, 4)
        model.head = nn.Linear(4, classes)
        return model

    def save(self, tmp_path, model):
        path = str(tmp_path / 'model.pth')
        torch.save(dict(state_dict=model.state_dict(), meta={}), path)
        return path

    def test_other_heads_are_for_fine_tuning_only(self, tmp_path):
        path = self.save(tmp_path, self.model(3))
        preflight.check_checkpoint(path, self.model(3), whole=True)
        preflight.check_checkpoint(path, self.model(5), whole=False)
        with pytest.raises(BadInputError, match=r'head\.weight \(3, 4\) instead of \(5, 4\)'):
            preflight.check_checkpoint(path, self.model(5), whole=True)

    def test_weights_that_are_missing(self, tmp_path):
        path = self.save(tmp_path, self.model(3).backbone)
        for whole in (True, False):
            with pytest.raises(BadInputError, match=r'lacks backbone\.weight.* has weight, bias'):
                preflight.check_checkpoint(path, self.model(3), whole=whole)

    def test_what_is_no_checkpoint(self, tmp_path):
        path = str(tmp_path / 'model.pth')
        torch.save([1, 2], path)
        with pytest.raises(BadInputError, match='holds a list, not a checkpoint'):
            preflight.check_checkpoint(path, self.model(3), whole=True)
        torch.save(dict(meta=dict(epoch=1)), path)
        with pytest.raises(BadInputError, match='holds no named weights'):
            preflight.check_checkpoint(path, self.model(3), whole=True)

    def test_nothing_unsafe_is_loaded(self, tmp_path):
        class Payload:
            def __reduce__(self):
                return getattr, (str, 'upper')

        path = str(tmp_path / 'model.pth')
        for content, named in ((Payload(), None), (Hook(), 'mmengine.hooks.hook.Hook')):
            torch.save(dict(state_dict=self.model(3).state_dict(), extra=content), path)
            with pytest.raises(BadInputError) as error:
                read_checkpoint(path)
            if named:
                assert f'holds {named}, which is not safe to load' in str(error.value)


class Pictures(torch.utils.data.Dataset):
    def __init__(self, paths):
        self.paths = paths

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        return index

    def get_data_info(self, index):
        return dict(img_path=self.paths[index])


def test_missing_pictures_are_found_by_a_sample(tmp_path):
    paths = [str(tmp_path / f'{i}.jpg') for i in range(2500)]
    hook = CheckDataHook(num_images=100)
    with pytest.raises(BadInputError, match=r'100 of 100 files .*the first is .*0\.jpg'):
        hook._check(DataLoader(Pictures(paths)), 'train')
    for path in paths[::25]:
        (tmp_path / path).write_text('')
    hook._check(DataLoader(Pictures(paths)), 'train')


def test_an_empty_data_set_is_refused():
    with pytest.raises(BadInputError, match='The val set has no image with annotations'):
        CheckDataHook()._check(DataLoader(Pictures([])), 'val')


def test_cuda_is_asked_for_in_four_ways():
    if torch.cuda.is_available():
        pytest.skip('there is a CUDA device')
    for cfg, sentence in (
        (dict(optim_wrapper=dict(type='AmpOptimWrapper')), 'AmpOptimWrapper'),
        (
            dict(launcher='pytorch', env_cfg=dict(dist_cfg=dict(backend='nccl'))),
            'dist_cfg.backend=gloo',
        ),
        (dict(device='cuda:0'), "device 'cuda:0'"),
        (dict(model=dict(neck=dict(norm_cfg=dict(type='SyncBN')))), 'SyncBN'),
    ):
        with pytest.raises(BadInputError, match='torch sees n') as error:
            preflight.check_device(Config(cfg))
        assert sentence in str(error.value)
    preflight.check_device(Config(dict(optim_wrapper=ConfigDict(type='OptimWrapper'))))
