"""The sparse student: inherited weights, its loss, and the contents of its checkpoints."""

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from torch import nn
from torchvision.models.vision_transformer import VisionTransformer

from projects.bootstrapping import TeacherViT, ZeroShotHead
from projects.bootstrapping.vision_transformer import inherit
from sparse_mm.engine.config_file import read_config
from sparse_mm.errors import BadInputError
from sparse_mm.models import BootstrappedSparseFormer
from tests.conftest import ROOT

CONFIGS = ROOT / 'projects' / 'bootstrapping' / 'configs'
TEACHER = dict(image_size=32, patch_size=8, dim=64, depth=3)
STUDENT = dict(
    arch=dict(num_tokens=4, dims=(64, 64), depth=2, activation='gelu'), channels=8, num_points=4
)


def save_teacher(path, classes=5):
    teacher = TeacherViT(**TEACHER)
    teacher.init_weights()
    nn.init.normal_(teacher.cls_token)
    weights = {f'backbone.{name}': value for name, value in teacher.state_dict().items()}
    weights.update(
        {'head.fc.weight': torch.randn(classes, 64), 'head.fc.bias': torch.randn(classes)}
    )
    torch.save(dict(state_dict=weights), path)
    return teacher


def build(checkpoint, **head):
    init_default_scope('mmpretrain')
    head = dict(dict(type='LinearClsHead', num_classes=5, in_channels=64), **head)
    model = MODELS.build(
        dict(
            type='Bootstrapping',
            backbone=dict(type='BootstrappedSparseFormer', **STUDENT),
            teacher=dict(
                type='TeacherViT',
                **TEACHER,
                init_cfg=dict(type='Pretrained', checkpoint=str(checkpoint)),
            ),
            head=head,
            data_preprocessor=dict(num_classes=5),
        )
    )
    model.init_weights()
    return model


@torch.no_grad()
def test_the_teacher_is_torchvisions_vision_transformer(tmp_path):
    """By the names of timm's checkpoints, which have other names for the FFN."""
    theirs = VisionTransformer(32, 8, num_layers=3, num_heads=1, hidden_dim=64, mlp_dim=256).eval()
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, std=0.1)
    timm = {
        'cls_token': theirs.class_token,
        'pos_embed': theirs.encoder.pos_embedding,
        'patch_embed.proj.weight': theirs.conv_proj.weight,
        'patch_embed.proj.bias': theirs.conv_proj.bias,
        'norm.weight': theirs.encoder.ln.weight,
        'norm.bias': theirs.encoder.ln.bias,
    }
    for i, layer in enumerate(theirs.encoder.layers):
        pairs = {
            'norm1': layer.ln_1,
            'norm2': layer.ln_2,
            'attn.proj': layer.self_attention.out_proj,
            'mlp.fc1': layer.mlp[0],
            'mlp.fc2': layer.mlp[3],
        }
        for name, module in pairs.items():
            for kind, value in module.named_parameters():
                timm[f'blocks.{i}.{name}.{kind}'] = value
        timm[f'blocks.{i}.attn.qkv.weight'] = layer.self_attention.in_proj_weight
        timm[f'blocks.{i}.attn.qkv.bias'] = layer.self_attention.in_proj_bias
    torch.save({name: value.detach() for name, value in timm.items()}, tmp_path / 'timm.pth')
    init = dict(type='Pretrained', checkpoint=str(tmp_path / 'timm.pth'))
    teacher = TeacherViT(**TEACHER, init_cfg=init)
    teacher.init_weights()
    theirs.heads = nn.Identity()
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(teacher.eval()(images)[0], theirs(images), rtol=1e-4, atol=1e-5)


def test_the_student_inherits_the_last_two_thirds(tmp_path):
    teacher = save_teacher(tmp_path / 'teacher.pth')
    model = build(tmp_path / 'teacher.pth')
    student = model.backbone
    for block, source in zip(student.blocks, teacher.blocks[1:], strict=True):
        for name, value in block.state_dict().items():
            assert torch.equal(value, source.state_dict()[name])
    assert torch.equal(student.norm.weight, teacher.norm.weight)
    saved = torch.load(tmp_path / 'teacher.pth', weights_only=True)['state_dict']
    assert torch.equal(model.head.fc.weight, saved['head.fc.weight'])
    trained = {name for name, value in model.named_parameters() if value.requires_grad}
    assert any(name.startswith('backbone.blocks.0.') for name in trained)
    assert any(name.startswith('backbone.focusing.') for name in trained)
    for frozen in ('backbone.blocks.1.', 'backbone.norm.', 'head.', 'teacher.'):
        assert not any(name.startswith(frozen) for name in trained), frozen


def test_it_learns_only_from_the_teacher(tmp_path):
    save_teacher(tmp_path / 'teacher.pth')
    model = build(tmp_path / 'teacher.pth').train()
    assert not model.teacher.training
    before = {name: value.clone() for name, value in model.named_parameters()}
    images = torch.randn(8, 3, 32, 32)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    losses = []
    for _ in range(8):
        loss = model(images, None, mode='loss')['loss']
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    assert losses[-1] < 0.8 * losses[0]
    for name, value in model.named_parameters():
        assert torch.equal(value, before[name]) != value.requires_grad, name
    # The loss is zero if the student gives the teacher's features, up to their norm.
    model.backbone.forward = lambda images: (3 * model.teacher(images)[0],)
    assert float(model(images, None, mode='loss')['loss']) < 1e-6


def test_its_checkpoint_is_that_of_a_plain_classifier(tmp_path):
    save_teacher(tmp_path / 'teacher.pth')
    model = build(tmp_path / 'teacher.pth').eval()
    state = model.state_dict()
    assert not any(name.startswith('teacher.') for name in state)
    plain = MODELS.build(
        dict(
            type='mmpretrain.ImageClassifier',
            backbone=dict(type='BootstrappedSparseFormer', **STUDENT),
            head=dict(type='LinearClsHead', num_classes=5, in_channels=64),
        )
    ).eval()
    plain.load_state_dict(state)
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(plain(images), model(images))


def test_refusals(tmp_path):
    save_teacher(tmp_path / 'teacher.pth')
    with pytest.raises(BadInputError, match='to fit'):
        build(tmp_path / 'teacher.pth', num_classes=4)
    weights = torch.load(tmp_path / 'teacher.pth', weights_only=True)['state_dict']
    torch.save({n: w for n, w in weights.items() if 'head' not in n}, tmp_path / 'headless.pth')
    with pytest.raises(BadInputError, match='has no classifier'):
        build(tmp_path / 'headless.pth')
    student = BootstrappedSparseFormer(**STUDENT)
    with pytest.raises(BadInputError, match='needs a student of 4 and 64, not of 2 and 64'):
        inherit(student, TeacherViT(**{**TEACHER, 'depth': 6}))
    with pytest.raises(BadInputError, match='activations'):
        inherit(student, TeacherViT(**TEACHER, activation='quick_gelu'))
    with pytest.raises(BadInputError, match='positions for 16 patches, the images have 25'):
        TeacherViT(**TEACHER)(torch.zeros(1, 3, 40, 40))
    with pytest.raises(BadInputError, match='multiple of patch_size'):
        TeacherViT(30)
    with pytest.raises(BadInputError, match='the head size'):
        TeacherViT(dim=100)


def test_zero_shot(tmp_path):
    path = tmp_path / 'classes.pth'
    torch.save(dict(embeddings=torch.tensor([[2.0, 0], [0, 1]])), path)
    head = ZeroShotHead(3, 2, str(path))
    nn.init.zeros_(head.fc.weight)
    head.fc.weight.data[0, 0] = head.fc.weight.data[1, 1] = 1
    scores = head((torch.tensor([[5.0, 0, 1], [3, 4, 1]]),))
    torch.testing.assert_close(scores, torch.tensor([[1.0, 0], [0.6, 0.8]]))
    assert set(head.state_dict()) == {'fc.weight'}
    assert ZeroShotHead(3, 2)((torch.tensor([[5.0, 0, 1]]),)).shape == (1, 2)
    with pytest.raises(BadInputError, match='no class embeddings'):
        ZeroShotHead(3, 2, str(tmp_path / 'none.pth'))
    with pytest.raises(BadInputError, match=r'4 channels, but has \(2, 2\)'):
        ZeroShotHead(3, 4, str(path))
    with pytest.raises(BadInputError, match='not trained'):
        head.loss((torch.zeros(1, 3),), [])


@pytest.mark.parametrize('arch', ['augreg_base', 'augreg_large', 'clip_base', 'clip_large'])
def test_configs(arch, tmp_path, monkeypatch):
    width = 1024 if arch.endswith('large') else 768
    channels = 768 if arch.endswith('large') else 512
    classes = tmp_path / 'classes.pth'
    torch.save(dict(embeddings=torch.randn(1000, channels)), classes)
    monkeypatch.setenv('CLIP_CLASS_EMBEDDINGS', str(classes))
    tested = read_config(str(ROOT / 'configs' / f'bootstrapped_sparseformer_{arch}_imagenet.py'))
    trained = read_config(str(CONFIGS / f'bootstrap_{arch}.py'))
    init_default_scope('mmpretrain')
    size = tested.test_dataloader.dataset.pipeline[2].crop_size
    assert trained.train_dataloader.dataset.pipeline[1].scale == size
    assert size == (384 if arch == 'augreg_large' else 224)
    with torch.device('meta'):
        model = MODELS.build(Config(tested.model.to_dict()))
        training = MODELS.build(Config(trained.model.to_dict()))
        assert model.head.fc.in_features == width
        inherit(training.backbone, training.teacher)
        assert training.teacher(torch.zeros(1, 3, size, size))[0].shape == (1, width)
    assert set(training.state_dict()) == set(model.state_dict())


@pytest.mark.slow
def test_the_small_trial_in_short(call_tool, tmp_path):
    few = [
        *('train_dataloader.dataset.num_images=64', 'train_cfg.max_epochs=1'),
        *('val_dataloader.dataset.num_images=32', 'train_cfg.val_interval=1'),
        *('test_dataloader.dataset.num_images=32', 'model.backbone.dim=64'),
    ]
    few.append('model.head.in_channels=64')
    inits = dict(pretrain=[], teacher=['model.backbone.init_cfg.checkpoint=pretrain/epoch_1.pth'])
    for name, init in inits.items():
        config = CONFIGS / f'{name}_shapes.py'
        log = call_tool('train.py', config, '--work-dir', name, '--cfg-options', *few, *init)
        assert 'accuracy/top1' in log
    student = [
        *(option for option in few if option != 'model.backbone.dim=64'),
        *('model.backbone.arch.dims=(64,64)', 'model.teacher.dim=64'),
        'model.teacher.init_cfg.checkpoint=teacher/epoch_1.pth',
    ]
    config = CONFIGS / 'bootstrap_shapes.py'
    log = call_tool('train.py', config, '--work-dir', 'run', '--cfg-options', *student)
    assert 'accuracy/top1' in log
    plain = [option for option in student if 'teacher' not in option]
    tested = call_tool(
        'test.py', CONFIGS / 'student_shapes.py', 'run/epoch_1.pth', '--work-dir', 'test',
        '--cfg-options', *plain,
    )  # fmt: skip
    assert 'accuracy/top1' in tested
