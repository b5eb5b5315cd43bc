import pytest
import torch
from mmcv.ops import sigmoid_focal_loss, softmax_focal_loss
from mmcv.ops.multi_scale_deform_attn import (
    MultiScaleDeformableAttnFunction,
    multi_scale_deformable_attn_pytorch,
)
from mmcv.ops.points_in_boxes import points_in_boxes_cpu
from torch.nn import functional as F

from sparse_mm import mmcv_ops


def rows(dtype):
    generator = torch.Generator().manual_seed(0)
    logits = (torch.randn(40, 5, generator=generator) * 4).to(dtype)
    target = torch.randint(0, 6, (40,), generator=generator)  # 5 is the background
    return logits.requires_grad_(), target, torch.rand(5, generator=generator).to(dtype)


# Half precision rounds values up to 60 by 2^-11 of them; single precision, sums of a few.
TOLERANCE = {torch.float32: 1e-5, torch.float16: 0.05}


@pytest.mark.parametrize('dtype', [torch.float32, torch.float16])
@pytest.mark.parametrize('gamma, alpha', [(2.0, 0.25), (1.5, 0.6), (0.0, 0.5)])
@pytest.mark.parametrize('weighted', [False, True])
def test_sigmoid_focal_loss_by_its_definition(stand_in, dtype, gamma, alpha, weighted):
    logits, target, weight = rows(dtype)
    if weighted:
        target = target.clamp(max=4)
    exact = logits.detach().double().requires_grad_()
    own = F.one_hot(target, 6)[:, :5].double()
    p = exact.sigmoid()
    chance = p * own + (1 - p) * (1 - own)
    factor = alpha * own + (1 - alpha) * (1 - own)
    entropy = F.binary_cross_entropy_with_logits(exact, own, reduction='none')
    expected = factor * (1 - chance) ** gamma * entropy
    if weighted:
        expected = expected * weight.double()[target][:, None]
    loss = sigmoid_focal_loss(logits, target, gamma, alpha, weight if weighted else None, 'none')
    tolerance = dict(rtol=1e-3 if dtype == torch.float16 else 1e-5, atol=TOLERANCE[dtype])
    torch.testing.assert_close(loss.detach().double(), expected.detach(), **tolerance)
    loss.sum().backward()
    expected.sum().backward()
    torch.testing.assert_close(logits.grad.double(), exact.grad, **tolerance)


@pytest.mark.parametrize('weighted', [False, True])
@pytest.mark.parametrize('gamma', [2.0, 1.0, 0.5])
def test_softmax_focal_loss_by_its_definition(stand_in, weighted, gamma):
    logits, target, weight = rows(torch.float32)
    target = target - 1  # -1 is ignored
    exact = logits.detach().double().requires_grad_()
    p = exact.softmax(dim=1).gather(1, target.clamp(min=0)[:, None])[:, 0]
    expected = -0.25 * (1 - p) ** gamma * p.log()
    if weighted:
        expected = expected * weight.double()[target.clamp(min=0)]
    expected = expected * (target >= 0)
    loss = softmax_focal_loss(logits, target, gamma, 0.25, weight if weighted else None, 'sum')
    torch.testing.assert_close(loss.detach().double(), expected.sum().detach(), rtol=1e-5, atol=0)
    loss.backward()
    expected.sum().backward()
    torch.testing.assert_close(logits.grad.double(), exact.grad, rtol=1e-4, atol=1e-5)


def test_focal_loss_of_certain_logits_is_finite(stand_in):
    logits = torch.tensor([[200.0, -200.0]], requires_grad=True)
    for target in (0, 1):
        loss = sigmoid_focal_loss(logits, torch.tensor([target]))
        loss.backward()
        assert loss.isfinite() and logits.grad.isfinite().all()


def test_deformable_attention_and_its_gradients(stand_in):
    generator = torch.Generator().manual_seed(0)
    shapes = torch.tensor([[6, 5], [3, 2]])
    draw = dict(generator=generator, dtype=torch.float64)
    leaves = [
        torch.randn(2, 36, 4, 3, **draw).requires_grad_(),
        torch.rand(2, 7, 4, 2, 3, 2, **draw).requires_grad_(),
        torch.rand(2, 7, 4, 2, 3, **draw).requires_grad_(),
    ]
    starts = torch.tensor([0, 30])
    out = MultiScaleDeformableAttnFunction.apply(leaves[0], shapes, starts, *leaves[1:], 64)
    expected = multi_scale_deformable_attn_pytorch(leaves[0], shapes, *leaves[1:])
    torch.testing.assert_close(out, expected)
    weight = torch.randn(out.shape, **draw)
    found = torch.autograd.grad((out * weight).sum(), leaves)
    wanted = torch.autograd.grad((expected * weight).sum(), leaves)
    torch.testing.assert_close(found, wanted)


def test_points_in_boxes_as_compiled(compare):
    generator = torch.Generator().manual_seed(0)
    boxes = torch.rand(2, 6, 7, generator=generator) * torch.tensor([9.0, 9, 2, 5, 5, 3, 6])
    points = torch.rand(2, 500, 3, generator=generator) * torch.tensor([9.0, 9, 4])
    theirs, ours = compare(lambda: points_in_boxes_cpu(points, boxes))
    assert 0.02 < theirs.float().mean() < 0.9
    assert torch.equal(theirs, ours)


def test_points_in_boxes_all_and_first():
    """A box of 4 x 2 x 2 turned by a right angle, and one around it."""
    boxes = torch.tensor([[[0.0, 0, 0, 4, 2, 2, torch.pi / 2], [0, 0, 0, 9, 9, 9, 0]]])
    points = torch.tensor([[[0.0, 1.9, 1], [1.9, 0, 1], [0, 0, 2], [0, 0, -0.1], [0, 0, 2.1]]])
    inside = torch.zeros(1, 5, 2, dtype=torch.int)
    mmcv_ops.points_in_boxes_all_forward(boxes, points, inside)
    assert inside[0].tolist() == [[1, 1], [0, 1], [1, 1], [0, 0], [0, 1]]
    first = torch.zeros(1, 5, dtype=torch.int)
    mmcv_ops.points_in_boxes_part_forward(boxes, points, first)
    assert first[0].tolist() == [0, 1, 0, -1, 1]
    mmcv_ops.points_in_boxes_part_forward(boxes[:, :0], points, first)
    assert first[0].tolist() == [-1] * 5
