"""A drawn driving data set for the tests that only read it."""

import pytest
from mmengine.registry import DefaultScope, init_default_scope

from tests.projects.bevdet.driving.drawn import SETTINGS


@pytest.fixture(scope='session')
def root(tmp_path_factory):
    driving = pytest.importorskip('projects.bevdet.driving.dataset')
    folder = tmp_path_factory.mktemp('driving') / 'scenes'
    driving.write_driving(folder, **SETTINGS)
    return folder


@pytest.fixture(scope='session')
def nusc(root):
    from nuscenes import NuScenes

    return NuScenes(version='v1.0-trainval', dataroot=str(root), verbose=False)


@pytest.fixture
def mmdet3d_scope():
    before = DefaultScope.get_current_instance()
    init_default_scope('mmdet3d')
    yield
    if before is not None:
        DefaultScope.overwrite_default_scope(before.scope_name)
