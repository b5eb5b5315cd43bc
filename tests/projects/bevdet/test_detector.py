"""The head's targets decode to the boxes, and every config builds at full size."""

import itertools
import json

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import InstanceData

from tests.conftest import ROOT

pytest.importorskip('mmdet3d', reason='needs mmdet3d')
from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes

CONFIGS = ROOT / 'projects/bevdet/configs'


def build(name, **settings):
    cfg = Config.fromfile(str(CONFIGS / name))
    init_default_scope('mmdet3d')
    cfg.model.backbone.pop('init_cfg', None)
    cfg.merge_from_dict(settings)
    return MODELS.build(cfg.model), cfg


@pytest.mark.parametrize('name', ['bevdet_swint_256x704.py', 'bevdet_driving.py'])
def test_targets_decode_to_the_boxes(name):
    model, _ = build(name)
    head = model.bbox_head
    rng = np.random.RandomState(0)
    places = list(itertools.product(range(-24, 25, 6), range(-24, 25, 6)))  # metres apart
    boxes = np.array([[x, y, -1, 4, 2, 1.6, 0, 0, 0] for x, y in places], np.float32)
    boxes += rng.uniform(-1, 1, boxes.shape) * [1, 1, 0.5, 1, 0.5, 0.5, 3, 4, 4]
    labels = torch.from_numpy(rng.randint(0, 10, len(boxes)))
    truth = InstanceData(
        bboxes_3d=LiDARInstance3DBoxes(torch.from_numpy(boxes).float(), 9), labels_3d=labels
    )
    heatmaps, targets, indices, masks = head.get_targets([truth])

    # The output of a perfect network.
    cells = heatmaps[0].shape[-2:]
    outs = []
    for heatmap, target, index, mask in zip(heatmaps, targets, indices, masks, strict=True):
        dense = torch.zeros(1, 10, cells[0] * cells[1])
        kept = mask[0].bool()
        dense[0, :, index[0][kept]] = target[0][kept].T
        parts = dense.view(1, 10, *cells).split([2, 1, 3, 2, 2], dim=1)
        logits = torch.logit((heatmap == 1).float().clamp(1e-4, 1 - 1e-4))
        out = dict(zip(['reg', 'height', 'dim', 'rot', 'vel'], parts, strict=True), heatmap=logits)
        outs.append([out])
    found = head.predict_by_feat(outs, [dict(box_type_3d=LiDARInstance3DBoxes)])[0]
    assert len(found.bboxes_3d) == len(boxes)
    distance = torch.cdist(found.bboxes_3d.gravity_center, truth.bboxes_3d.gravity_center)
    match = distance.argmin(1)
    assert sorted(match.tolist()) == list(range(len(boxes)))
    expected = truth.bboxes_3d.tensor[match]
    difference = (found.bboxes_3d.tensor - expected).abs()
    difference[:, 6] = torch.sin(difference[:, 6] / 2).abs()
    assert difference.max() < 1e-3
    assert torch.equal(found.labels_3d.long(), labels[match])


ROWS = {  # GMACs of six cameras in the paper's table
    'bevdet_swint_256x704.py': 140.8,
    'bevdet_swint_224x616.py': 78.5,
    'bevdet_swint_192x528.py': 67.1,
    'bevdet_swint-w06_256x704.py': 56.0,
    'bevdet_swint-w04_256x704.py': 20.4,
    'bevdet_sparsevit_114g.py': 113.9,
    'bevdet_sparsevit_78g.py': 78.4,
    'bevdet_sparsevit_59g.py': 58.6,
}


@pytest.mark.parametrize('name', ROWS)
def test_every_row_has_the_macs_of_the_table(name, call_tool):
    out = call_tool('analysis_tools/get_flops.py', CONFIGS / name, *['--backbone', '--json'],
                    '--batch', 6)  # fmt: skip
    macs = json.loads(out.strip().splitlines()[-1])['macs']
    assert macs / 1e9 == pytest.approx(ROWS[name], rel=0.02 if 'w04' in name else 0.003)


def test_frames_of_a_batch_do_not_mix():
    model, _ = build('bevdet_driving.py')
    model.eval()
    images = torch.rand(2, 6, 3, 56, 112)
    projections = [np.stack([np.diag([50.0, 50.0, 1, 1]) for _ in range(6)]) for _ in range(2)]
    samples = [Det3DDataSample(metainfo=dict(lidar2img=list(p))) for p in projections]
    both = model.extract_feat(dict(imgs=images), samples)[0]
    for i in range(2):
        alone = model.extract_feat(dict(imgs=images[i : i + 1]), samples[i : i + 1])[0]
        torch.testing.assert_close(both[i : i + 1], alone, rtol=1e-4, atol=1e-5)
