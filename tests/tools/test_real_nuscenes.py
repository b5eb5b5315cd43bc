"""The monocular nuScenes configs on a real keyframe: full-sized models, a step, small images."""

import json
import pickle

import pytest
import torch

from tests.conftest import ROOT

pytest.importorskip('mmdet3d', reason='needs mmdet3d')

SMALL_IMAGES = """
train_pipeline = _base_.train_pipeline
train_pipeline[2].scale = (208, 117)
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = (208, 117)
demo = dict(ann_file='nuscenes_infos_demo.pkl')
train_dataloader = dict(dataset=dict(pipeline=train_pipeline, indices=1, **demo), **loader)
test_dataloader = dict(dataset=dict(pipeline=test_pipeline, **demo), **loader)
val_dataloader = None
val_evaluator = None
val_cfg = None
# The devkit's tables, which the metric itself needs, are not there.
test_evaluator = dict(
    ann_file=_base_.data_root + '/nuscenes_infos_demo.pkl', format_only=True,
    jsonfile_prefix='found')
model = dict(test_cfg=dict(nms_pre=50, max_per_img=10))
train_cfg = dict(max_epochs=1)
"""
SPARSE_VIT = """
model['backbone'] = dict(
    init_cfg=None, convert_weights=False, pruning_ratios=[0.6, 0, [0.2, 0.4, 0.5], 0])
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ('name', 'settings'), [('sparseformer_fcos3d', ''), ('sparsevit_fcos3d', SPARSE_VIT)]
)
def test_a_frame(train_reduced, run_tool, tmp_path, shared, name, settings):
    """All six cameras are predicted, joined, and (of one model) drawn, on any device."""
    root = shared('data/nuscenes')
    config, checkpoint, log = train_reduced(
        f'{name}_nuscenes.py', SMALL_IMAGES + settings, NUSCENES_ROOT=root
    )
    assert 'loss_depth' in log
    # One step from scratch leaves all scores below those of boxes that are kept and drawn (0.3).
    weights = torch.load(checkpoint, weights_only=True)
    weights['state_dict']['bbox_head.conv_cls.bias'] += 6
    torch.save(weights, checkpoint)
    draw = ('--show-dir', 'drawn') if settings else ()
    results = '--out', 'found.pkl', *draw
    # In a process of its own: MMEngine keeps one visualizer for all runs of a process, and those of
    # other packages, from other tests, cannot draw boxes in 3D.
    env = {'NUSCENES_ROOT': str(root)}
    run_tool('test.py', config, checkpoint, '--work-dir', 'run', *results, env=env)
    found = pickle.loads((tmp_path / 'found.pkl').read_bytes())
    assert len(found) == 6
    boxes = [sample['pred_instances_3d']['bboxes_3d'].tensor for sample in found]
    assert {box.shape[-1] for box in boxes} == {9}
    written = json.loads((tmp_path / 'found/pred_instances_3d/results_nusc.json').read_text())
    ((token, joined),) = written['results'].items()
    assert 0 < len(joined) <= sum(len(box) for box in boxes)
    assert {box['sample_token'] for box in joined} == {token}
    assert len(list(tmp_path.glob('run/*/drawn/*CAM_*.jpg'))) == (6 if draw else 0)


@pytest.mark.slow
def test_a_missing_info_file_is_found_before_training(refusal, shared):
    root = shared('data/nuscenes')
    config = ROOT / 'configs' / 'sparsevit_fcos3d_nuscenes.py'
    message = refusal('train.py', config, env={'NUSCENES_ROOT': str(root)})
    assert f"there is no '{root}/nuscenes_infos_train.pkl'" in message
    assert f'create_data.py nuscenes --root-path {root}' in message
