"""The small recognition configs: from scratch on generated images, and overfitted on real ones."""

import re

import pytest
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS, init_default_scope

from tests.conftest import ROOT


@pytest.mark.slow
def test_pictures_are_learnt_and_tested(call_tool, tmp_path):
    config = ROOT / 'configs' / 'sparseformer_shapes.py'
    few = ['train_dataloader.dataset.num_images=64', 'val_dataloader.dataset.num_images=32']
    few += ['test_dataloader.dataset.num_images=32', 'train_cfg.max_epochs=2']
    options = '--work-dir', 'run', '--cfg-options', 'default_hooks.logger.interval=1', *few
    log = call_tool('train.py', config, *options)
    losses = [float(loss) for loss in re.findall(r' loss: ([\d.]+|nan)', log)]
    assert len(losses) == 4
    assert all(0.5 < loss < 3 for loss in losses)
    assert 'accuracy/top1' in call_tool('test.py', config, 'run/epoch_2.pth', *options)


def test_a_hundred_real_images_of_as_many_classes(shared, monkeypatch):
    monkeypatch.setenv('IMAGENET_ROOT', str(shared('data/imagenet')))
    cfg = Config.fromfile(ROOT / 'configs' / 'sparseformer_imagenet_overfit.py')
    init_default_scope('mmpretrain')
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    assert len(dataset) == 100
    assert len({dataset.get_data_info(i)['gt_label'] for i in range(100)}) == 100
    model = MODELS.build({**cfg.model, 'data_preprocessor': cfg.data_preprocessor})
    data = model.data_preprocessor(dict(inputs=[dataset[0]['inputs']]), False)
    assert model(data['inputs']).shape == (1, 1000)
