"""A folder of small files, good and bad, that the command lines of the table name."""

import json
import zipfile
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import MODELS

from sparse_mm.engine.command_line import read_config
from sparse_mm.engine.inspection import build_model
from tests.engine.search.toy import toy_config

SPARSE_VIT = """
default_scope = 'mmpretrain'
custom_imports = dict(imports=['sparse_mm'])
data_preprocessor = dict(num_classes=3, mean=[100.0] * 3, std=[50.0] * 3)
model = dict(
    type='ImageClassifier',
    backbone=dict(type='SparseViT', embed_dims=8, depths=(2, 2), num_heads=(1, 2), strides=(4, 2),
                  window_size=4, out_indices=(1,)),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=3, in_channels=16))
pipeline = [dict(type='LoadImageFromFile'), dict(type='ResizeEdge', scale=64, edge='short'),
            dict(type='CenterCrop', crop_size=64), dict(type='PackInputs')]
test_dataloader = dict(batch_size=1, num_workers=0, dataset=dict(
    type='CustomDataset', data_root='photos', pipeline=pipeline))
test_evaluator = dict(type='Accuracy')
test_cfg = dict()
"""
SPARSE_FORMER = """
default_scope = 'mmpretrain'
custom_imports = dict(imports=['sparse_mm'])
data_preprocessor = dict(mean=[100.0] * 3, std=[50.0] * 3)
model = dict(
    type='ImageClassifier',
    backbone=dict(type='SparseFormer', num_points=4,
                  arch=dict(num_tokens=4, dims=(64, 128), depth=1, drop_path_rate=0.0)),
    head=dict(type='LinearClsHead', num_classes=2, in_channels=128))
"""
SHAPES = """
default_scope = 'mmpretrain'
custom_imports = dict(imports=['sparse_mm'])
model = dict(type='ImageClassifier', backbone=dict(type='ResNet', depth=18),
             head=dict(type='LinearClsHead', num_classes=3, in_channels=512))
test_dataloader = dict(dataset=dict(type='CustomDataset', data_root='photos', pipeline=[]))
"""
INHERITING = {
    'unknown_type.py': "model = dict(backbone=dict(type='SparseVit'))",
    'unknown_argument.py': 'model = dict(backbone=dict(window=4))',
    'lacking.py': "model = dict(head=dict(_delete_=True, type='LinearClsHead', num_classes=3))",
    'no_size.py': "test_dataloader = dict(dataset=dict(pipeline=[dict(type='LoadImageFromFile')]))",
    'sliding.py': "model = dict(test_cfg=dict(mode='slide'))",
    'best.py': """own = _base_.test_dataloader
train_dataloader = own
val_dataloader = own
val_evaluator = _base_.test_evaluator
val_cfg = dict()
train_cfg = dict(by_epoch=True, max_epochs=1)
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1))
default_hooks = dict(checkpoint=dict(type='CheckpointHook', save_best='accuracy/top3'))""",
    'resized_truth.py': """default_scope = 'mmdet'
default_hooks = dict(visualization=dict(type='DetVisualizationHook'))
load, *others = _base_.pipeline
pipeline = [load, dict(type='LoadAnnotations'), *others]
test_dataloader = dict(dataset=dict(pipeline=pipeline))""",
    'moved.py': "test_dataloader = dict(dataset=dict(data_root='nowhere'))",
    'spoiled_images.py': "test_dataloader = dict(dataset=dict(data_root='spoiled'))",
    'empty_folder.py': "test_dataloader = dict(dataset=dict(data_root='empty'))",
}


def make(folder: Path) -> None:
    """Writes all files into a folder."""
    _write_configs(folder)
    _write_weights(folder)
    picture = np.full((60, 90, 3), 200, np.uint8)
    for name in ('image.png', 'photos/a/1.png', 'photos/b/2.png', 'photos/c/3.png'):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / name), picture)
    for name in ('spoiled/a/1.png', 'spoiled/b/2.png', 'spoiled/c/3.png', 'text.png', 'clip.mp4'):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text('no picture')
    (folder / 'empty').mkdir()
    installed = 'lib/python3.11/site-packages'
    for name in ('with_openmmlab', 'with_mmcv'):
        package = 'mmengine-0.10.7' if name == 'with_openmmlab' else 'mmcv-2.1.0'
        (folder / name / installed / f'{package}.dist-info').mkdir(parents=True)
    (folder / 'file').write_text('a file, where a folder is wanted')
    (folder / 'run').mkdir()
    (folder / 'run' / 'epoch_1.pth').touch()
    about = dict(
        kind='classifier',
        preprocessing=dict(size=[64, 64], channels='RGB', mean=[0.0] * 3, std=[1.0] * 3),
    )
    for name, kind in (('whole', 'classifier'), ('boxes', 'detector')):
        (folder / f'{name}.onnx').write_bytes(b'half')
        (folder / f'{name}.json').write_text(json.dumps(dict(about, kind=kind)))
    (folder / 'undescribed.onnx').write_bytes(b'half')
    (folder / 'list.json').write_text('[]')
    (folder / 'ratios.json').write_text('{"a": 1}')
    (folder / 'empty.csv').write_text('ratios,score,num_images\n')


def _write_configs(folder: Path) -> None:
    (folder / 'config.py').write_text(SPARSE_VIT)
    (folder / 'former.py').write_text(SPARSE_FORMER)
    (folder / 'resnet.py').write_text(SHAPES)
    Config(toy_config()).dump(folder / 'toy.py')
    short = toy_config()
    short['train_cfg'].update(max_epochs=1)
    Config(short).dump(folder / 'short.py')
    for name, text in INHERITING.items():
        (folder / name).write_text(f"_base_ = './config.py'\n{text}\n")
    (folder / 'syntax.py').write_text('model = dict(\n')
    (folder / 'orphan.py').write_text("_base_ = './gone.py'\n")
    (folder / 'stranger.py').write_text("custom_imports = dict(imports=['no_such_package'])\n")
    (folder / 'no_model.py').write_text('a = 1\n')


def _write_weights(folder: Path) -> None:
    toy = MODELS.build(toy_config()['model'])
    models = dict(toy=toy)
    for name in ('config', 'former'):
        models[name] = build_model(read_config(str(folder / f'{name}.py')))
    for name, model in models.items():
        torch.save(dict(state_dict=model.state_dict()), folder / f'{name}.pth')
    whole = (folder / 'config.pth').read_bytes()
    (folder / 'cut.pth').write_bytes(whole[: len(whole) // 2])
    (folder / 'junk.pth').write_bytes(b'junk')
    (folder / 'nothing.pth').write_bytes(b'')
    (folder / 'cut.safetensors').write_bytes(b'junk')
    torch.save([1, 2], folder / 'list.pth')
    (folder / 'pointer.pth').write_text('version https://git-lfs.github.com/spec/v1\nsize 9\n')
    (folder / 'page.pth').write_text('<!DOCTYPE html><html>not found</html>')
    with zipfile.ZipFile(folder / 'archive.pth', 'w') as archive:
        archive.writestr('readme.txt', 'text')
    name = 'features.1.0.attn.relative_position_bias_table'
    torch.save({name: torch.zeros(9, 1)}, folder / 'torchvision.pth')
    diverged = {**models['config'].state_dict(), 'head.fc.weight': torch.full((3, 16), torch.nan)}
    torch.save(diverged, folder / 'diverged.pth')
    torch.save(dict(state_dict={}), folder / 'no_weights.pth')
    torch.save(dict(state_dict={'layer.weight': torch.zeros(1)}), folder / 'foreign.pth')
