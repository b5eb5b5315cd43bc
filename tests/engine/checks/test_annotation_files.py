import pickle
import re

import pytest
from mmengine.config import Config

from sparse_mm.engine.checks import check_data
from sparse_mm.engine.checks.annotation_files import check_info_file


def check(kind, root, **settings):
    dataset = dict(type=kind, data_root=str(root), **settings)
    return check_data(Config(dict(train_dataloader=dict(dataset=dataset))), ('train',))


@pytest.fixture
def cityscapes(tmp_path):
    """Two annotated images of a city, not converted."""
    for folder in ('leftImg8bit/train/ulm', 'gtFine/train/ulm'):
        (tmp_path / folder).mkdir(parents=True)
    for name in ('ulm_0', 'ulm_1'):
        (tmp_path / f'leftImg8bit/train/ulm/{name}_leftImg8bit.png').touch()
        (tmp_path / f'gtFine/train/ulm/{name}_gtFine_labelIds.png').touch()
        (tmp_path / f'gtFine/train/ulm/{name}_gtFine_polygons.json').touch()
    return tmp_path


PREFIX = dict(img_path='leftImg8bit/train', seg_map_path='gtFine/train')


class TestLabelMaps:
    def test_those_that_were_not_converted(self, cityscapes):
        (message,) = check('CityscapesDataset', cityscapes, data_prefix=PREFIX)
        assert '2 of 2 annotations' in message
        assert 'ulm_0_gtFine_labelTrainIds.png' in message
        assert f'CITYSCAPES_DATASET={cityscapes} csCreateTrainIdLabelImgs' in message

    def test_a_conversion_that_was_broken_off(self, cityscapes):
        folder = cityscapes / 'gtFine/train/ulm'
        (folder / 'ulm_0_gtFine_labelTrainIds.png').touch()
        (message,) = check('mmseg.CityscapesDataset', cityscapes, data_prefix=PREFIX)
        assert re.search(r'1 of 2 annotations.*ulm_1_gtFine_labelTrainIds', message)
        (folder / 'ulm_1_gtFine_labelTrainIds.png').touch()
        assert check('CityscapesDataset', cityscapes, data_prefix=PREFIX) == []

    def test_a_config_with_labels_of_its_own(self, cityscapes):
        suffix = dict(seg_map_suffix='_gtFine_labelIds.png')
        assert check('CityscapesDataset', cityscapes, data_prefix=PREFIX, **suffix) == []


class TestNuScenesInfos:
    def write(self, tmp_path, content, **options):
        path = tmp_path / 'infos.pkl'
        path.write_bytes(pickle.dumps(content, **options))
        return path

    @pytest.mark.parametrize('protocol', range(pickle.HIGHEST_PROTOCOL + 1))
    @pytest.mark.parametrize('kind', ['NuScenesDataset', 'NuScenesFrames'])
    def test_versions(self, tmp_path, kind, protocol):
        new = dict(metainfo=dict(info_version='1.1'), data_list=[dict(token='a')])
        self.write(tmp_path, new, protocol=protocol)
        assert check(kind, tmp_path, ann_file='infos.pkl') == []
        old = dict(infos=[dict(token='a')], metadata=dict(version='v1.0-mini'))
        for content in (old, dict(reversed(old.items())), [dict(token='a')]):
            self.write(tmp_path, content, protocol=protocol)
            (message,) = check(kind, tmp_path, ann_file='infos.pkl')
            assert 'made by mmdet3d before 1.0' in message
            assert 'update_infos_to_v2.py --dataset nuscenes' in message
            assert f'create_data.py nuscenes --root-path {tmp_path}' in message

    @pytest.mark.parametrize('protocol', range(pickle.HIGHEST_PROTOCOL + 1))
    def test_a_key_of_the_users_own_may_come_first(self, tmp_path, protocol):
        own = dict(made_by='me', sizes=list(range(1000)))
        new = dict(own, data_list=[], metainfo={})
        assert check_info_file(self.write(tmp_path, new, protocol=protocol), tmp_path) == []
        old = dict(own, infos=[], metadata={})
        (message,) = check_info_file(self.write(tmp_path, old, protocol=protocol), tmp_path)
        assert 'made by mmdet3d before 1.0' in message
        (message,) = check_info_file(self.write(tmp_path, own, protocol=protocol), tmp_path)
        assert 'not one of mmdet3d' in message

    def test_what_is_none(self, tmp_path):
        path = self.write(tmp_path, dict(metainfo={}, data_list=[1] * 100))
        whole = path.read_bytes()
        for content in (whole[:-20], b'', b'metainfo.', pickle.dumps({1: 2}), pickle.dumps('text')):
            path.write_bytes(content)
            assert 'is truncated or not one of mmdet3d' in check_info_file(path, tmp_path)[0]

    def test_nothing_in_it_is_run(self, tmp_path):
        class Payload:
            def __reduce__(self):
                return pytest.fail, ('the file was unpickled',)

        assert check_info_file(self.write(tmp_path, dict(metainfo=Payload())), tmp_path) == []

    def test_a_missing_file_names_the_tool(self, tmp_path):
        (message,) = check('NuScenesDataset', tmp_path, ann_file='nuscenes_infos_train.pkl')
        assert f"there is no '{tmp_path}/nuscenes_infos_train.pkl'" in message
        assert f'create_data.py nuscenes --root-path {tmp_path}' in message

    def test_a_missing_folder_names_its_setting(self):
        (message,) = check('NuScenesDataset', 'nowhere', ann_file='nuscenes_infos_train.pkl')
        assert 'NUSCENES_ROOT or --cfg-options data_root' in message
        assert 'root-path' not in message
