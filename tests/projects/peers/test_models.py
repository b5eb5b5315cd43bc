"""The peers' outputs, compared with torchvision's models with the same weights."""

import pytest
import torch
from torch import nn
from torchvision.models import resnet50
from torchvision.models.vision_transformer import VisionTransformer

from projects.peers import (
    NLI3D,
    FewTokens,
    Perceiver,
    PerceiverIO,
    SlowFast,
    TimeSformer,
    ViViT,
)
from projects.peers.latent_attention import fourier_positions
from sparse_mm.errors import BadInputError


def randomise(model):
    """New random weights and statistics, also where a model starts from zeros."""
    for name, value in [*model.named_parameters(), *model.named_buffers()]:
        if value.is_floating_point() and 'positions' not in name:
            nn.init.normal_(value.data, std=value[0].numel() ** -0.5 if value.dim() > 1 else 0.1)
            if name.endswith(('running_var', 'bn.weight', 'bn1.weight', 'bn2.weight')):
                value.data.abs_().add_(0.5)
    return model.eval()


@torch.no_grad()
def inflate(conv, source):
    """Puts an image's kernel into the middle frame of a clip's."""
    weight = conv.conv.weight
    weight.zero_()
    weight[:, : source.shape[1], weight.shape[2] // 2] = source


def inherit(block, theirs):
    """Gives a bottleneck the weights of torchvision's."""
    pairs = (block.reduce, 1), (block.convolve, 2), (block.expand, 3)
    for conv, i in pairs:
        inflate(conv, getattr(theirs, f'conv{i}').weight)
        conv.bn.load_state_dict(getattr(theirs, f'bn{i}').state_dict())
    if theirs.downsample is not None:
        inflate(block.shortcut, theirs.downsample[0].weight)
        block.shortcut.bn.load_state_dict(theirs.downsample[1].state_dict())


def inherit_stages(stages, theirs):
    layers = theirs.layer1, theirs.layer2, theirs.layer3, theirs.layer4
    for stage, layer in zip(stages, layers, strict=True):
        blocks = [block for block in stage if hasattr(block, 'reduce')]
        for block, source in zip(blocks, layer, strict=True):
            inherit(block, source)


def still(image, frames):
    return image.unsqueeze(2).expand(-1, -1, frames, -1, -1)


@pytest.fixture(scope='module')
def resnet():
    torch.manual_seed(0)
    return randomise(resnet50(num_classes=7))


@torch.no_grad()
def test_an_inflated_resnet_sees_in_a_still_clip_what_it_sees_in_the_image(resnet):
    model = NLI3D(depth=50, num_classes=7).eval()
    inflate(model.stem[0], resnet.conv1.weight)
    model.stem[0].bn.load_state_dict(resnet.bn1.state_dict())
    inherit_stages(model.stages, resnet)
    model.head.load_state_dict(resnet.fc.state_dict())
    image = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(model(still(image, 16)), resnet(image), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_the_slow_pathway_is_a_resnet(resnet):
    model = SlowFast(depth=50, num_classes=7).eval()
    inflate(model.slow[0][0], resnet.conv1.weight)
    model.slow[0][0].bn.load_state_dict(resnet.bn1.state_dict())
    inherit_stages(model.slow[1:], resnet)
    # The fast pathway's outputs are not used.
    model.head.weight.zero_()
    model.head.weight[:, :2048] = resnet.fc.weight
    model.head.bias.copy_(resnet.fc.bias)
    image = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(model(still(image, 8)), resnet(image), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_the_fast_pathway_passes_motion_to_the_slow_one():
    model = randomise(SlowFast(depth=50, num_classes=3))
    clip = torch.randn(1, 3, 8, 32, 32)
    other = clip.clone()
    other[:, :, 1] += 1  # a frame that the slow pathway does not get
    slow = []
    model.slow[-1].register_forward_hook(lambda _, inputs, output: slow.append(output))
    model(clip), model(other)
    assert (slow[0] - slow[1]).abs().max() > 1e-4


VIT = dict(image_size=32, patch_size=16, num_layers=2, num_heads=2, hidden_dim=24, mlp_dim=96)


def transformer():
    """torchvision's Vision Transformer, small."""
    model = randomise(VisionTransformer(**VIT, num_classes=5))
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = 1e-6
    return model


def inherit_block(norm1, attention, norm2, ffn, theirs):
    norm1.load_state_dict(theirs.ln_1.state_dict())
    norm2.load_state_dict(theirs.ln_2.state_dict())
    attention.qkv.weight.data.copy_(theirs.self_attention.in_proj_weight)
    attention.qkv.bias.data.copy_(theirs.self_attention.in_proj_bias)
    attention.proj.load_state_dict(theirs.self_attention.out_proj.state_dict())
    for ours, source in ((ffn[0], theirs.mlp[0]), (ffn[2], theirs.mlp[3])):
        ours.load_state_dict(source.state_dict())


@torch.no_grad()
def test_vivits_spatial_encoder_is_a_vision_transformer():
    theirs = transformer()
    model = ViViT(2, 32, (2, 16, 16), dim=24, depths=(2, 1), num_heads=2, num_classes=5).eval()
    model.patch_embed.weight.copy_(theirs.conv_proj.weight.unsqueeze(2).expand(-1, -1, 2, -1, -1))
    model.patch_embed.weight.div_(2)  # the mean of two frames
    model.patch_embed.bias.copy_(theirs.conv_proj.bias)
    model.space.cls_token.copy_(theirs.class_token[0])
    model.space.position.copy_(theirs.encoder.pos_embedding[0])
    model.space.norm.load_state_dict(theirs.encoder.ln.state_dict())
    for block, source in zip(model.space.blocks, theirs.encoder.layers, strict=True):
        inherit_block(block.norm1, block.attn, block.norm2, block.ffn, source)
    image = torch.randn(2, 3, 32, 32)
    seen = []
    model.space.register_forward_hook(lambda _, inputs, output: seen.append(output))
    model(still(image, 2))
    theirs.heads = nn.Identity()
    torch.testing.assert_close(seen[0], theirs(image), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_timesformer_without_attention_over_time_is_a_vision_transformer():
    theirs = transformer()
    model = randomise(TimeSformer(3, 32, 16, dim=24, depth=2, num_heads=2, num_classes=5))
    model.time_position.zero_()
    model.patch_embed.load_state_dict(theirs.conv_proj.state_dict())
    model.cls_token.copy_(theirs.class_token[0])
    model.space_position.copy_(theirs.encoder.pos_embedding[0])
    model.norm.load_state_dict(theirs.encoder.ln.state_dict())
    model.head.load_state_dict(theirs.heads.head.state_dict())
    for block, source in zip(model.blocks, theirs.encoder.layers, strict=True):
        block.time_project.weight.zero_()
        block.time_project.bias.zero_()
        inherit_block(block.space_norm, block.space, block.ffn_norm, block.ffn, source)
    image = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(model(still(image, 3)), theirs(image), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_video_transformers_depend_on_the_order_of_frames_only_by_positions():
    clip = torch.randn(1, 3, 4, 32, 32) + 3 * torch.randn(1, 3, 4, 1, 1)  # each of its colour
    small = dict(frames=4, image_size=32, dim=24, num_heads=2, num_classes=5)
    for model, position in (
        (randomise(TimeSformer(depth=2, **small)), 'time_position'),
        (randomise(ViViT(depths=(1, 1), tubelet=(1, 16, 16), **small)), 'time.position'),
    ):
        there, back = model(clip), model(clip.flip(2))
        assert (there - back).abs().max() > 1e-4
        model.get_parameter(position).data.zero_()
        torch.testing.assert_close(model(clip), model(clip.flip(2)), rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_perceivers_depend_on_pixels_only_by_positions():
    image = torch.randn(2, 3, 8, 8)
    model = randomise(Perceiver(8, num_latents=4, dim=16, cross_attends=3, block_depth=1, bands=4))
    there, back = model(image), model(image.flip(3))
    assert (there - back).abs().max() > 1e-4
    model.positions.zero_()
    torch.testing.assert_close(model(image), model(image.flip(3)), rtol=1e-4, atol=1e-5)
    assert len(model.looks) == 2  # the third shares the weights of the second


def test_perceiver_io_learns_in_every_part():
    model = PerceiverIO(16, num_latents=4, dim=16, blocks=2, block_depth=1, num_classes=3)
    logits = model(torch.randn(2, 3, 16, 16))
    assert logits.shape == (2, 3)
    logits.square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_models_of_few_tokens_learn_in_every_part():
    model = FewTokens('patches', num_classes=3)  # the others are counted
    model.init_weights()
    model(torch.randn(1, 3, 224, 224)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_fourier_positions():
    positions = fourier_positions(4, 6, bands=3)
    assert positions.shape == (24, 2 + 4 * 3)
    assert positions[0, :2].tolist() == [-1, -1]
    assert positions[5, :2].tolist() == [-1, 1]  # the first row's last column
    # The coarsest wave of the columns has a half period from the middle to the edge: sin(pi x).
    torch.testing.assert_close(
        positions[:6, 2 + 3], (torch.linspace(-1, 1, 6) * torch.pi).sin(), rtol=0, atol=1e-6
    )


@pytest.mark.parametrize(
    ('build', 'shape', 'sentence'),
    [
        (lambda: Perceiver(8, 4, 16, bands=2), (1, 3, 8, 9), 'built for inputs of 3 × 8 × 8'),
        (lambda: PerceiverIO(10), None, 'image_size=10 must be a multiple of the patch 4'),
        (lambda: ViViT(frames=3), None, 'frames=3 must be a multiple of the patch 2'),
        (lambda: TimeSformer(image_size=20), None, 'multiple of the patch 16'),
        (lambda: SlowFast(50), (1, 3, 6, 32, 32), 'multiple of 4 frames, not 6'),
        (lambda: NLI3D(18), None, 'depth must be one of 50, 101, not 18'),
        (lambda: FewTokens('pixels'), None, 'tokenizer must be one of patches'),
    ],
    ids=['size', 'map', 'frames', 'patches', 'pathways', 'depth', 'tokenizer'],
)
def test_refusals(build, shape, sentence):
    with pytest.raises(BadInputError, match=sentence):
        build()(torch.zeros(shape))
