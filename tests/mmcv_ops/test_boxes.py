import numpy as np
import pytest
import torch
from mmcv.ops import batched_nms, bbox_overlaps, nms, nms_match, soft_nms


def scattered(count, seed=0, clusters=8, integer=False):
    generator = torch.Generator().manual_seed(seed)
    centre = torch.rand(clusters, 2, generator=generator)[
        torch.randint(0, clusters, (count,), generator=generator)
    ]
    centre = centre * 300 + torch.randn(count, 2, generator=generator) * 8
    size = torch.rand(count, 2, generator=generator) * 60 + 10
    boxes = torch.cat([centre - size / 2, centre + size / 2], dim=1)
    if integer:
        boxes = (boxes / 8).round() * 8
        boxes[:, 2:] += 8
    return boxes, torch.rand(count, generator=generator)


def iou(a, b, offset):
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]) + offset)
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]) + offset)
    area = [(c[2] - c[0] + offset) * (c[3] - c[1] + offset) for c in (a, b)]
    return width * height / (sum(area) - width * height) if width * height else 0.0


@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('seed', [0, 1])
def test_nms_is_the_greedy_one(stand_in, offset, seed):
    boxes, scores = scattered(60, seed)
    kept = []
    for index in scores.argsort(descending=True).tolist():
        if all(iou(boxes[index], boxes[other], offset) <= 0.5 for other in kept):
            kept.append(index)
    dets, found = nms(boxes, scores, 0.5, offset=offset)
    assert found.tolist() == kept
    assert torch.equal(dets, torch.cat([boxes, scores[:, None]], dim=1)[kept])


def test_an_iou_of_just_the_threshold_stays(stand_in):
    """3/5 in single precision is above 0.6 in double precision."""
    boxes = torch.tensor([[0.0, 0, 4, 1], [1, 0, 5, 1]])
    assert nms(boxes, torch.tensor([0.9, 0.8]), 0.6)[1].tolist() == [0, 1]


@pytest.mark.parametrize('settings', [{}, {'max_num': 3}, {'score_threshold': 0.5}])
@pytest.mark.parametrize('integer', [False, True])
@pytest.mark.parametrize('threshold', [0.3, 0.6])
def test_nms_as_compiled(compare, settings, integer, threshold):
    boxes, scores = scattered(300, integer=integer)
    theirs, ours = compare(lambda: nms(boxes, scores, threshold, **settings))
    assert torch.equal(theirs[0], ours[0]) and torch.equal(theirs[1], ours[1])


def test_batched_nms_as_compiled_and_without_boxes(compare):
    boxes, scores = scattered(200)
    classes = torch.arange(200) % 5
    for count in (200, 0):
        theirs, ours = compare(
            lambda count=count: (
                batched_nms(
                    boxes[:count],
                    scores[:count],
                    classes[:count],
                    dict(type='nms', iou_threshold=0.5),
                )
                if count
                else nms(boxes[:0], scores[:0], 0.5)
            )
        )
        assert torch.equal(theirs[0], ours[0]) and torch.equal(theirs[1], ours[1])


def slow_soft_nms(boxes, scores, method, threshold, sigma, min_score):
    boxes, scores = boxes.double(), scores.double().clone()
    left, result = list(range(len(boxes))), []
    while left:
        best = max(left, key=lambda index: scores[index])
        left.remove(best)
        result.append((best, float(scores[best])))
        for other in left:
            overlap = iou(boxes[best], boxes[other], 0)
            if method == 'gaussian':
                scores[other] *= np.exp(-(float(overlap) ** 2) / sigma)
            elif overlap >= threshold:
                scores[other] *= 1 - overlap if method == 'linear' else 0
        left = [index for index in left if scores[index] >= min_score]
    return result


@pytest.mark.parametrize('method', ['naive', 'linear', 'gaussian'])
@pytest.mark.parametrize('min_score', [1e-3, 0.3])
def test_soft_nms_by_its_definition(stand_in, method, min_score):
    boxes, scores = scattered(40, clusters=4)
    expected = slow_soft_nms(boxes, scores, method, 0.3, 0.5, min_score)
    dets, found = soft_nms(boxes, scores, 0.3, 0.5, min_score, method)
    assert found.tolist() == [index for index, _ in expected]
    torch.testing.assert_close(dets[:, 4], torch.tensor([score for _, score in expected]))
    assert torch.equal(dets[:, :4], boxes[found])


@pytest.mark.parametrize('method', ['naive', 'linear', 'gaussian'])
@pytest.mark.parametrize('count', [0, 1, 300, 1000])
def test_soft_nms_as_compiled(compare, method, count):
    """Also with more boxes than are compared at once."""
    boxes, scores = scattered(count, clusters=20)
    theirs, ours = compare(lambda: soft_nms(boxes, scores, 0.3, 0.5, 1e-3, method))
    assert torch.equal(theirs[1], ours[1])
    torch.testing.assert_close(theirs[0], ours[0])


def test_soft_nms_keeps_the_best_box_whatever_it_scores(stand_in):
    boxes, scores = scattered(30)
    assert soft_nms(boxes, scores * 1e-6, min_score=0.1)[1].tolist() == [int(scores.argmax())]


def test_soft_nms_with_equal_scores(stand_in):
    boxes = torch.tensor([[0.0, 0, 10, 10]] * 3 + [[50, 50, 60, 60]])
    dets, found = soft_nms(boxes, torch.full((4,), 0.5), method='gaussian')
    assert sorted(found.tolist()) == [0, 1, 2, 3]
    assert found[:2].tolist() == [0, 3]
    assert dets[0, 4] == dets[1, 4] == 0.5 and dets[2, 4] > dets[3, 4]


def test_nms_match_as_compiled(compare):
    for seed in range(3):
        boxes, scores = scattered(150, seed)
        dets = torch.cat([boxes, scores[:, None]], dim=1)
        theirs, ours = compare(lambda dets=dets: nms_match(dets, 0.4))
        assert [group.tolist() for group in theirs] == [group.tolist() for group in ours]


def test_nms_match_shares_the_boxes_out(stand_in):
    boxes, scores = scattered(80)
    groups = nms_match(torch.cat([boxes, scores[:, None]], dim=1), 0.4)
    assert sorted(index for group in groups for index in group.tolist()) == list(range(80))
    for group in groups:
        assert all(iou(boxes[group[0]], boxes[other], 0) >= 0.4 for other in group[1:])
        assert scores[group].tolist() == sorted(scores[group].tolist(), reverse=True)


@pytest.mark.parametrize('mode', ['iou', 'iof'])
@pytest.mark.parametrize('aligned', [False, True])
@pytest.mark.parametrize('offset', [0, 1])
def test_overlaps_as_compiled(compare, mode, aligned, offset):
    first, second = scattered(30)[0], scattered(30 if aligned else 20, seed=1)[0]
    theirs, ours = compare(lambda: bbox_overlaps(first, second, mode, aligned, offset))
    torch.testing.assert_close(theirs, ours)


def test_overlaps_of_empty_boxes_are_zero(stand_in):
    boxes = torch.tensor([[1.0, 1, 1, 1]])
    assert bbox_overlaps(boxes, boxes).tolist() == [[0.0]]
