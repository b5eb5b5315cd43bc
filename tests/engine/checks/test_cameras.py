"""Camera frames that training could not use are reported before it starts."""

import re
from types import SimpleNamespace

import numpy as np
import pytest

from sparse_mm.engine.checks.cameras import check_cameras

CAMERA = dict(cam2img=np.diag([800.0, 800.0, 1.0]), lidar2cam=np.eye(4))
FRONT_AND_BACK = dict(CAM_FRONT=CAMERA, CAM_BACK=CAMERA)


class Frames(SimpleNamespace):
    def __init__(self, images, load_type='frame_based'):
        super().__init__(images=images, load_type=load_type, modality=dict(use_camera=True))

    def __len__(self):
        return len(self.images)

    def get_data_info(self, index):
        return dict(sample_idx=index, images=self.images[index])


def test_whole_frames_pass():
    assert check_cameras(Frames(images=[FRONT_AND_BACK] * 3), 'train') == []
    single = Frames(images=[dict(CAM_FRONT=CAMERA), dict(CAM_BACK=CAMERA)], load_type='mv')
    assert check_cameras(single, 'a') == []


@pytest.mark.parametrize('broken', [dict(CAM_FRONT=CAMERA), {}, None])
def test_a_frame_without_a_camera(broken):
    frames = Frames(images=[FRONT_AND_BACK, broken, FRONT_AND_BACK])
    (problem,) = check_cameras(frames, 'train')
    assert re.search(r'train set lacks CAM_BACK.* in frame 1 .*, which other', problem)


@pytest.mark.parametrize('key', ['cam2img', 'lidar2cam'])
def test_a_matrix_that_cannot_be_inverted(key):
    flat = {**CAMERA, key: np.zeros_like(CAMERA[key])}
    frames = [None, FRONT_AND_BACK, dict(CAM_FRONT=CAMERA, CAM_BACK=flat)]
    singular, lacking = check_cameras(Frames(images=frames), 'val')
    assert re.search(f'{key} of CAM_BACK in frame 2 .* is singular', singular)
    assert 'CAM_BACK, CAM_FRONT in frame 0' in lacking
