"""tools/deployment/export.py --whole and run_exported.py: one file gives the model's outputs."""

import json

import cv2
import numpy as np
import onnx
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from torch import nn

from sparse_mm.engine.inspection import build_model
from tests.conftest import ROOT

EXPORT, RUN = 'deployment/export.py', 'deployment/run_exported.py'
BACKBONE = (
    "dict(type='SparseViT', embed_dims=8, depths=(2,), num_heads=(1,), strides=(4,), "
    'out_indices=(0,), pruning_ratios=0.5)'
)
CLASSIFIER = f"""
custom_imports = dict(imports=['sparse_mm'])
default_scope = 'mmpretrain'
data_preprocessor = dict(
    type='ClsDataPreprocessor', num_classes=3, mean=[100.0, 120.0, 140.0], std=[50.0, 60.0, 70.0],
    to_rgb=True)
model = dict(
    type='ImageClassifier', backbone={BACKBONE}, neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=3, in_channels=8))
pipeline = [
    dict(type='LoadImageFromFile'), dict(type='Resize', scale=56), dict(type='PackInputs')]
test_dataloader = dict(dataset=dict(type='CustomDataset', pipeline=pipeline))
"""
SEGMENTOR = f"""
custom_imports = dict(imports=['sparse_mm'])
default_scope = 'mmseg'
model = dict(
    type='EncoderDecoder', backbone={BACKBONE},
    data_preprocessor=dict(type='SegDataPreProcessor', mean=[127.0] * 3, std=[50.0] * 3),
    decode_head=dict(
        type='FCNHead', in_channels=8, in_index=0, channels=8, num_convs=1, num_classes=3,
        norm_cfg=dict(type='BN')),
    test_cfg=dict(mode='whole'))
pipeline = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=(84, 56), keep_ratio=False)]
test_dataloader = dict(dataset=dict(pipeline=pipeline))
"""


@pytest.fixture
def written(tmp_path):
    """Writes a config and a checkpoint of it with classes; gives the model and both paths."""

    def write(text, classes):
        config, checkpoint = tmp_path / 'config.py', tmp_path / 'weights.pth'
        config.write_text(text)
        model = build_model(Config.fromfile(config))
        for parameter in model.parameters():
            nn.init.normal_(parameter, mean=float(parameter.ndim == 1), std=0.1)
        meta = dict(dataset_meta=dict(classes=classes))
        torch.save(dict(state_dict=model.state_dict(), meta=meta), checkpoint)
        return model, config, checkpoint

    return write


@pytest.fixture
def picture(tmp_path):
    """Soft colours, of another size than any graph's."""
    cells = np.random.default_rng(0).integers(0, 255, (6, 8, 3), np.uint8)
    cv2.imwrite(str(tmp_path / 'picture.png'), cv2.resize(cells, (120, 90)))
    return tmp_path / 'picture.png'


def test_a_classifier(written, picture, call_tool, tmp_path):
    model, config, checkpoint = written(CLASSIFIER, ('ant', 'bee', 'cat'))
    printed = call_tool(EXPORT, config, checkpoint, '--out', 'm.onnx', '--whole')
    assert 'written: m.json' in printed
    described = json.loads((tmp_path / 'm.json').read_text())
    assert described['kind'] == 'classifier'
    assert described['classes'] == ['ant', 'bee', 'cat']
    assert described['outputs'] == {'scores': [1, 3]}
    steps = described['preprocessing']
    assert steps['size'] == [56, 56]
    assert steps['channels'] == 'RGB'
    assert steps['mean'] == [100.0, 120.0, 140.0]
    assert [step['type'] for step in steps['pipeline']] == ['Resize']
    lines = call_tool(RUN, 'm.onnx', picture).splitlines()
    image = cv2.resize(cv2.imread(str(picture)), (56, 56))
    inputs = model.data_preprocessor(dict(inputs=torch.tensor(image).permute(2, 0, 1)[None]))
    with torch.no_grad():
        scores = model(inputs['inputs'], mode='tensor').softmax(-1)[0]
    best = scores.argsort(descending=True).tolist()
    expected = [f'  {("ant", "bee", "cat")[i]} {scores[i]:.4f}' for i in best]
    assert lines == [str(picture), *expected]


def test_a_segmentor(written, picture, call_tool, tmp_path):
    model, config, checkpoint = written(SEGMENTOR, ())
    call_tool(EXPORT, config, checkpoint, '--out', 'm.onnx', '--whole')
    outputs = json.loads((tmp_path / 'm.json').read_text())['outputs']
    assert outputs == {'logits': [1, 3, 56, 84]}
    printed = call_tool(RUN, 'm.onnx', picture, '--out', 'maps')
    assert '% of the image' in printed
    found = cv2.imread(str(tmp_path / 'maps' / 'picture.png'), cv2.IMREAD_UNCHANGED)
    image = cv2.resize(cv2.imread(str(picture)), (84, 56)).astype(np.float32)
    images = torch.tensor((image - 127) / 50).permute(2, 0, 1)[None]
    metas = [dict.fromkeys(('ori_shape', 'img_shape', 'pad_shape'), (56, 84))]
    with torch.no_grad():
        classes = model.encode_decode(images, metas)[0].argmax(0).numpy().astype(np.uint8)
    expected = cv2.resize(classes, (120, 90), interpolation=cv2.INTER_NEAREST)
    assert found.shape == (90, 120)
    assert (found == expected).mean() > 0.99


def test_labels_that_may_occur_together(written, picture, call_tool):
    text = CLASSIFIER.replace('LinearClsHead', 'MultiLabelLinearClsHead')
    model, config, checkpoint = written(text, ('ant', 'bee', 'cat'))
    call_tool(EXPORT, config, checkpoint, '--out', 'm.onnx', '--whole')
    image = cv2.resize(cv2.imread(str(picture)), (56, 56))
    inputs = model.data_preprocessor(dict(inputs=torch.tensor(image).permute(2, 0, 1)[None]))
    with torch.no_grad():
        scores = model(inputs['inputs'], mode='predict')[0].pred_score
    printed = call_tool(RUN, 'm.onnx', picture)
    assert sorted(line.split()[1] for line in printed.splitlines()[1:]) == sorted(
        f'{score:.4f}' for score in scores.tolist()
    )


def test_a_class_with_a_threshold(written, picture, call_tool, tmp_path):
    text = SEGMENTOR.replace('num_classes=3', 'num_classes=2, out_channels=1, threshold=0.6')
    model, config, checkpoint = written(text, ())
    call_tool(EXPORT, config, checkpoint, '--out', 'm.onnx', '--whole')
    image = cv2.resize(cv2.imread(str(picture)), (84, 56)).astype(np.float32)
    images = torch.tensor((image - 127) / 50).permute(2, 0, 1)[None]
    metas = [dict.fromkeys(('ori_shape', 'img_shape', 'pad_shape'), (56, 84))]
    with torch.no_grad():
        logits = model.encode_decode(images, metas)[0]
    # At a threshold that some pixels pass.
    described = json.loads((tmp_path / 'm.json').read_text())
    assert described['threshold'] == 0.6
    threshold = logits.sigmoid().median().item()
    (tmp_path / 'm.json').write_text(json.dumps(dict(described, threshold=threshold)))
    call_tool(RUN, 'm.onnx', picture, '--out', 'maps')
    found = cv2.imread(str(tmp_path / 'maps' / 'picture.png'), cv2.IMREAD_UNCHANGED)
    model.decode_head.threshold = threshold
    (sample,) = model.postprocess_result(logits[None])
    classes = sample.pred_sem_seg.data[0].numpy().astype(np.uint8)
    expected = cv2.resize(classes, (120, 90), interpolation=cv2.INTER_NEAREST)
    assert 0.3 < found.mean() < 0.7
    assert (found == expected).mean() > 0.99


@pytest.mark.slow
def test_a_detector(written, picture, call_tool, tmp_path):
    """Backbone, neck and RPN are in the file; the boxes equal the model's."""
    shapes = ROOT / 'configs' / 'sparsevit_maskrcnn_shapes_dense.py'
    text = (
        f'_base_ = {str(shapes)!r}\n'
        'model = dict(init_cfg=None, backbone=dict(embed_dims=8, depths=(1, 1, 1, 1), '
        'num_heads=(1, 1, 1, 1), init_cfg=None), neck=dict(in_channels=[16, 32, 64]), '
        'test_cfg=dict(rcnn=dict(score_thr=0.0, max_per_img=5)))\n'
    )
    init_default_scope('mmdet')
    model, config, checkpoint = written(text, ())
    call_tool(EXPORT, config, checkpoint, '--out', 'm.onnx', '--whole', '--shape', 96, 128)
    described = json.loads((tmp_path / 'm.json').read_text())
    assert described['kind'] == 'detector'
    names = [output.name for output in onnx.load(tmp_path / 'm.onnx').graph.output]
    assert names == list(described['outputs'])
    assert names[: described['neck_levels']] == [
        f'feature{i}' for i in range(described['neck_levels'])
    ]
    printed = call_tool(
        *(RUN, 'm.onnx', picture, '--config', config, '--checkpoint', checkpoint, '--score', 0)
    )
    boxes = sorted(line.split()[1:] for line in printed.splitlines()[1:])
    from mmdet.structures import DetDataSample

    image = cv2.resize(cv2.imread(str(picture)), (128, 96))
    sample = DetDataSample()
    sample.set_metainfo(
        dict(ori_shape=(90, 120), img_shape=(96, 128), scale_factor=(128 / 120, 96 / 90))
    )
    data = dict(inputs=torch.tensor(image).permute(2, 0, 1), data_samples=sample)
    with torch.no_grad():
        found = model.test_step(pseudo_collate([data]))[0].pred_instances
    scores = sorted(found.scores.tolist())
    np.testing.assert_allclose([float(box[0]) for box in boxes], scores, atol=2e-3)


def test_refusals(written, refusal, tmp_path):
    config = written(CLASSIFIER, ())[1]
    assert 'There is no exported model' in refusal(RUN, 'none.onnx', 'picture.png')
    (tmp_path / 'm.onnx').write_bytes(b'half')
    assert "'m.json' does not describe the model" in refusal(RUN, 'm.onnx', 'picture.png')
    about = dict(kind='detector', preprocessing=dict(size=[56, 56], channels='RGB'))
    (tmp_path / 'm.json').write_text(json.dumps(about))
    assert 'give --config and --checkpoint' in refusal(RUN, 'm.onnx', 'picture.png')
    (tmp_path / 'm.json').write_text(json.dumps(dict(about, kind='classifier')))
    assert "'m.onnx' cannot be read" in refusal(RUN, 'm.onnx', 'picture.png')
    config.write_text("model = dict(type='SparseViT', embed_dims=8, num_heads=(1, 2, 4, 8))")
    message = refusal(EXPORT, config, '--out', 'm2.onnx', '--whole', '--shape', 56, 56)
    assert 'cannot be exported whole' in message
