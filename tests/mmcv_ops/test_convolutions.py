import pytest
import torch
from mmcv.ops import DeformConv2d, MaskedConv2d, ModulatedDeformConv2d, carafe, carafe_naive
from mmcv.ops.psa_mask import PSAMask
from torch.nn import functional as F


def random(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


SETTINGS = [
    dict(kernel_size=3, padding=1),
    dict(kernel_size=3, padding=2, dilation=2, stride=2, groups=2, deform_groups=2),
    dict(kernel_size=(1, 3), padding=(0, 1), deform_groups=4),
]


def convolve(kind, settings, dtype, zero_offset=False):
    torch.manual_seed(0)
    layer = kind(4, 6, **settings, **({'bias': True} if kind is ModulatedDeformConv2d else {}))
    layer = layer.to(dtype)
    height, width = layer.kernel_size
    x = random(2, 4, 9, 11, dtype=dtype).requires_grad_()
    like = F.conv2d(x, torch.zeros(1, 4, height, width, dtype=dtype), stride=layer.stride,
                    padding=layer.padding, dilation=layer.dilation)  # fmt: skip
    points = layer.deform_groups * height * width
    offset = random(2, 2 * points, *like.shape[2:], seed=1, dtype=dtype) * (not zero_offset)
    inputs = [x, offset.requires_grad_()]
    if kind is ModulatedDeformConv2d:
        mask = random(2, points, *like.shape[2:], seed=2, dtype=dtype).sigmoid()
        inputs.append(torch.ones_like(mask) if zero_offset else mask.detach().requires_grad_())
    return layer, inputs


@pytest.mark.parametrize('kind', [DeformConv2d, ModulatedDeformConv2d])
@pytest.mark.parametrize('settings', SETTINGS)
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_deformable_convolutions_as_compiled(compare, kind, settings, dtype):
    def run():
        layer, inputs = convolve(kind, settings, dtype)
        out = layer(*inputs)
        (out * random(*out.shape, seed=3, dtype=dtype)).sum().backward()
        return [out.detach(), *[x.grad for x in inputs], *[p.grad for p in layer.parameters()]]

    theirs, ours = compare(run)
    for a, b in zip(theirs, ours, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('kind', [DeformConv2d, ModulatedDeformConv2d])
@pytest.mark.parametrize('settings', SETTINGS)
def test_without_offsets_they_are_convolutions(stand_in, kind, settings):
    layer, inputs = convolve(kind, settings, torch.float32, zero_offset=True)
    bias = getattr(layer, 'bias', None)
    expected = F.conv2d(
        inputs[0],
        layer.weight,
        bias if torch.is_tensor(bias) else None,
        layer.stride,
        layer.padding,
        layer.dilation,
        layer.groups,
    )
    torch.testing.assert_close(layer(*inputs), expected)


@pytest.mark.parametrize('kind', [DeformConv2d, ModulatedDeformConv2d])
@pytest.mark.parametrize('bad', [float('nan'), float('inf'), -float('inf')])
def test_offsets_that_are_no_numbers_lead_outside(stand_in, kind, bad):
    """torchvision's operator reads at any address with NaN, and the process dies by a signal."""

    def run(value):
        layer, inputs = convolve(kind, SETTINGS[0], torch.float32)
        with torch.no_grad():
            inputs[1][:, :, 2:4] = value
        out = layer(*inputs)
        out.sum().backward()
        return out.detach(), inputs[0].grad, inputs[1].grad[:, :, 5:], layer.weight.grad

    for found, expected in zip(run(bad), run(-1000.0), strict=True):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize('frozen', ['input and offset', 'weight', 'nothing'])
def test_gradient_of_only_the_weight_and_second_gradient(stand_in, frozen):
    """The gradient of the weight, with and without the other gradients."""
    layer, (x, offset) = convolve(DeformConv2d, SETTINGS[0], torch.float64)
    if frozen == 'input and offset':
        x, offset = x.detach(), offset.detach()
    layer.weight.requires_grad_(frozen != 'weight')
    out = layer(x, offset).square().sum()
    wanted = [t for t in (x, offset, layer.weight) if t.requires_grad]
    first = torch.autograd.grad(out, wanted, retain_graph=True)
    second = torch.autograd.grad(out, wanted)
    for a, b, leaf in zip(first, second, wanted, strict=True):
        torch.testing.assert_close(a, b)
        direction = random(*leaf.shape, seed=5, dtype=torch.float64)
        values = []
        for step in (1e-6, -1e-6):
            with torch.no_grad():
                leaf.add_(step * direction)
                values.append(float(layer(x, offset).square().sum()))
                leaf.sub_(step * direction)
        slope = (values[0] - values[1]) / 2e-6
        assert float((a * direction).sum()) == pytest.approx(slope, rel=1e-5, abs=1e-6)


def test_masked_convolution(stand_in):
    layer = MaskedConv2d(3, 5, 3, padding=1)
    x = random(1, 3, 7, 8)
    mask = random(1, 7, 8, seed=1) > 0
    mask[0, -1, -1] = mask[0, 0, 0] = True
    with torch.no_grad():
        expected = F.conv2d(x, layer.weight, layer.bias, padding=1) * mask
        torch.testing.assert_close(layer(x, mask), expected, rtol=1e-5, atol=1e-5)
        assert not layer(x, mask & False).any()


def slow_carafe(features, masks, kernel, groups, scale):
    batch, channels, height, width = features.shape
    out = []
    padded = F.pad(features, [kernel // 2] * 4)
    for y in range(height * scale):
        for x in range(width * scale):
            cell = padded[:, :, y // scale : y // scale + kernel, x // scale : x // scale + kernel]
            cell = cell.reshape(batch, groups, channels // groups, kernel * kernel)
            weight = masks[:, :, y, x].view(batch, groups, 1, kernel * kernel)
            out.append((cell * weight).sum(dim=-1).view(batch, channels))
    return torch.stack(out, dim=-1).view(batch, channels, height * scale, width * scale)


@pytest.mark.parametrize('scale', [1, 2])
@pytest.mark.parametrize('groups', [1, 2])
def test_carafe_by_its_definition(stand_in, scale, groups):
    leaves = [
        random(2, 4, 4, 5, dtype=torch.float64).requires_grad_(),
        random(2, 9 * groups, 4 * scale, 5 * scale, seed=1, dtype=torch.float64).requires_grad_(),
    ]
    weight = random(2, 4, 4 * scale, 5 * scale, seed=2, dtype=torch.float64)
    expected = slow_carafe(*leaves, 3, groups, scale)
    gradients = torch.autograd.grad((expected * weight).sum(), leaves)
    out = carafe(*leaves, 3, groups, scale)
    torch.testing.assert_close(out, expected)
    torch.testing.assert_close(carafe_naive(*leaves, 3, groups, scale), expected)
    found = torch.autograd.grad((out * weight).sum(), leaves)
    torch.testing.assert_close(found, gradients)


@pytest.mark.parametrize('kind', ['collect', 'distribute'])
@pytest.mark.parametrize('size', [(3, 3), (7, 9), (13, 5)])
def test_point_wise_masks_as_compiled(compare, kind, size):
    def run():
        x = random(2, size[0] * size[1], 6, 5).requires_grad_()
        out = PSAMask(kind, size)(x)
        (out * random(*out.shape, seed=1)).sum().backward()
        return out.detach(), x.grad

    theirs, ours = compare(run)
    assert torch.equal(theirs[0], ours[0]) and torch.equal(theirs[1], ours[1])
