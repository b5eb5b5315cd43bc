"""Drawing the driving data set: on first use, once, complete, and never over other files."""

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import cv2
import pytest

from projects.bevdet.driving.nuscenes_tables import NuScenesTables
from sparse_mm.errors import BadInputError
from tests.projects.bevdet.driving.drawn import TINY, dataset, files, infos

pytest.importorskip('mmdet3d', reason='needs mmdet3d')

from projects.bevdet.driving import dataset as driving


def test_the_same_seed_draws_the_same_files(tmp_path):
    for name in ('one', 'again'):
        driving.write_driving(tmp_path / name, **TINY)
    driving.write_driving(tmp_path / 'other', **{**TINY, 'seed': 1})
    one, again, other = (files(tmp_path / name) for name in ('one', 'again', 'other'))
    assert one == again
    assert one.keys() == other.keys()
    assert not any(one[p] == other[p] for p in one if p.suffix in ('.jpg', '.bin', '.pkl'))
    train, val = (infos(tmp_path / 'one', split)[0] for split in ('train', 'val'))
    assert train['instances'] != val['instances']


def test_a_scene_depends_only_on_its_number(tmp_path):
    driving.write_driving(tmp_path / 'one', **TINY)
    driving.write_driving(tmp_path / 'two', **{**TINY, 'num_train_scenes': 2})
    one, two = infos(tmp_path / 'one', 'val')[1], infos(tmp_path / 'two', 'val')[1]
    assert one['instances'] == two['instances']
    assert one['token'] == two['token']


def test_drawn_on_first_use_then_kept(tmp_path, capfd):
    found = dataset(tmp_path / 'new' / 'scenes', 'val', **TINY)
    assert len(found) == 2
    assert '4/4' in capfd.readouterr().err
    before = files(tmp_path)
    assert len(dataset(tmp_path / 'new' / 'scenes', 'train', **TINY)) == 2
    assert files(tmp_path) == before
    assert 'Drawing' not in capfd.readouterr().err


def test_drawn_again_after_a_kill(tmp_path, monkeypatch):
    def kill(self):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(NuScenesTables, 'write', kill)
        with pytest.raises(KeyboardInterrupt):
            driving.write_driving(tmp_path / 'scenes', **TINY)
    assert not (tmp_path / 'scenes').exists()
    assert list(tmp_path.rglob('*.jpg'))
    (tmp_path / '.scenes.unfinished' / 'leftover').touch()
    driving.write_driving(tmp_path / 'scenes', **TINY)
    assert not (tmp_path / 'scenes' / 'leftover').exists()
    assert not (tmp_path / '.scenes.unfinished').exists()
    assert (tmp_path / 'scenes' / 'nuscenes_infos_val.pkl').is_file()


def test_drawn_once_by_many(tmp_path, monkeypatch):
    calls, draw = [], driving._draw
    monkeypatch.setattr(driving, '_draw', lambda *a: (calls.append(a), draw(*a)))
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: driving.write_driving(tmp_path / 'a', **TINY), range(3)))
    assert len(calls) == 1


def test_other_scenes_are_not_written_over(tmp_path):
    driving.write_driving(tmp_path / 'a', **TINY)
    before = files(tmp_path)
    with pytest.raises(BadInputError, match=r'holds other scenes .* delete the folder or set'):
        driving.write_driving(tmp_path / 'a', **{**TINY, 'seed': 4})
    assert files(tmp_path) == before


def test_other_folders_are_not_touched(tmp_path):
    (tmp_path / 'nuscenes' / 'samples').mkdir(parents=True)
    (tmp_path / 'nuscenes' / 'nuscenes_infos_train.pkl').write_bytes(b'mine')
    before = sorted(tmp_path.rglob('*'))
    with pytest.raises(BadInputError, match='holds something else than drawn driving scenes'):
        driving.write_driving(tmp_path / 'nuscenes', **TINY)
    assert sorted(tmp_path.rglob('*')) == before
    (tmp_path / 'nuscenes' / 'settings.json').write_text('{"of": "another program"}')
    with pytest.raises(BadInputError, match='holds something else than drawn driving scenes'):
        driving.write_driving(tmp_path / 'nuscenes', **TINY)
    (tmp_path / 'file').write_text('mine')
    with pytest.raises(BadInputError, match='holds something else'):
        driving.write_driving(tmp_path / 'file', **TINY)
    with pytest.raises(BadInputError, match=r'cannot be drawn into .* set data_root'):
        driving.write_driving(tmp_path / 'file' / 'below', **TINY)
    # An empty folder, or a link to one, may be used.
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'link').symlink_to(tmp_path / 'empty')
    driving.write_driving(tmp_path / 'link', **TINY)
    assert (tmp_path / 'empty' / 'settings.json').is_file()
    assert (tmp_path / 'link').is_symlink()


@pytest.mark.parametrize(
    ('wrong', 'message'),
    [
        (dict(num_train_scenes=701), 'num_train_scenes is 701; it must be 1 to 700'),
        (dict(num_val_scenes=0), 'num_val_scenes is 0; it must be 1 to 150'),
        (dict(frames=1), 'frames is 1; it must be at least 2'),
        (dict(seed=-1), 'seed is -1; it must be 0 or more'),
        (dict(image_size=(0, 90)), 'image_size'),
        (dict(image_size=400), 'image_size'),
    ],
)
def test_wrong_settings_are_refused(tmp_path, wrong, message):
    with pytest.raises(BadInputError, match=message):
        driving.write_driving(tmp_path / 'a', **{**TINY, **wrong})
    assert not list(tmp_path.iterdir())


def test_wrong_annotation_file_is_refused(root):
    with pytest.raises(BadInputError, match=r'nuscenes_infos_train.pkl and .* ann_file is'):
        dataset(root, 'test')


def test_mmdet3d_is_imported_only_on_use(tmp_path):
    code = (
        'import sys, sparse_mm\n'
        'from mmengine.registry import DATASETS\n'
        "assert DATASETS.get('DrivingDataset') and 'mmdet3d' not in sys.modules\n"
        "sys.modules['mmdet3d'] = None\n"
        'try:\n'
        "    DATASETS.build(dict(type='DrivingDataset', data_root='a', ann_file='b'))\n"
        'except ImportError as error:\n'
        "    print('needs', error.name)\n"
    )
    out = subprocess.run(
        [sys.executable, '-c', code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert 'needs mmdet3d' in out.stdout


def test_drawn_sets_can_be_moved(root, tmp_path):
    shutil.copytree(root, tmp_path / 'moved')
    info = dataset(tmp_path / 'moved', 'val').get_data_info(0)
    path = info['images']['CAM_BACK']['img_path']
    assert path.startswith(str(tmp_path / 'moved' / 'samples' / 'CAM_BACK'))
    assert cv2.imread(path).shape == (90, 160, 3)
