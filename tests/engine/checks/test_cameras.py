"""Frames of cameras that training could not use are named before it starts."""

from types import SimpleNamespace

import numpy as np
import pytest

from sparse_mm.engine.checks.cameras import check_cameras
from sparse_mm.errors import BadInputError

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
    check_cameras(Frames(images=[FRONT_AND_BACK] * 3), 'train')
    check_cameras(
        Frames(images=[dict(CAM_FRONT=CAMERA), dict(CAM_BACK=CAMERA)], load_type='mv'), 'a'
    )


@pytest.mark.parametrize('broken', [dict(CAM_FRONT=CAMERA), {}, None])
def test_a_frame_without_a_camera(broken):
    with pytest.raises(BadInputError, match=r'train set lacks CAM_BACK.*, which other'):
        check_cameras(Frames(images=[FRONT_AND_BACK, broken, FRONT_AND_BACK]), 'train')


@pytest.mark.parametrize('key', ['cam2img', 'lidar2cam'])
def test_a_matrix_that_cannot_be_inverted(key):
    flat = {**CAMERA, key: np.zeros_like(CAMERA[key])}
    frames = [None, FRONT_AND_BACK, dict(CAM_FRONT=CAMERA, CAM_BACK=flat)]
    with pytest.raises(BadInputError, match=f'{key} of CAM_BACK .* is singular'):
        check_cameras(Frames(images=frames), 'val')
