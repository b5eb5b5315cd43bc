"""An old score is reused only if everything that it depends on has the same content."""

import numpy as np
import pytest
import torch
from mmengine.config import Config

from sparse_mm.engine.search.identity import differing, digest_of_data, identity_of
from tests.engine.search.toy import ToyClassifier, ToyLogLikelihood, ToyPictures, toy_config


class Files:
    """A data set of files, like those of the host packages."""

    def __init__(self, folder):
        self.folder = folder
        self.metainfo = dict(classes=('a', 'b'))

    def get_data_info(self, index):
        return dict(
            img_path=str(self.folder / f'{index}.png'),
            instances=[dict(bbox=[0, 1, 2, 3], bbox_label=index)],
            boxes=np.full((1, 4), index, np.float32),
            sample_idx=index,
        )


@pytest.fixture
def files(tmp_path):
    for index in range(4):
        (tmp_path / f'{index}.png').write_bytes(bytes([index]) * 100)
    return Files(tmp_path)


def test_data_are_their_contents_not_their_names_sizes_or_times(files, tmp_path):
    before = digest_of_data(files, [0, 1])
    (tmp_path / '3.png').write_bytes(b'other')  # not scored
    assert digest_of_data(files, [1, 0, 1]) == before
    (tmp_path / '1.png').write_bytes(bytes([1]) * 99 + b'x')
    assert digest_of_data(files, [0, 1]) != before
    (tmp_path / '1.png').write_bytes(bytes([1]) * 100)
    assert digest_of_data(files, [0, 1]) == before
    assert digest_of_data(files, [0, 2]) != before


def test_annotations_are_part_of_the_data(files):
    before = digest_of_data(files, [0, 1])
    info = files.get_data_info

    def moved(index):
        return {**info(index), 'instances': [dict(bbox=[0, 1, 2, 4], bbox_label=index)]}

    files.get_data_info = moved
    assert digest_of_data(files, [0, 1]) != before


class Boxes:
    """Like mmdet3d's boxes, an object around a tensor."""

    def __init__(self, *corners):
        self.tensor = torch.tensor(corners)


def test_boxes_are_their_numbers_wherever_they_lie_in_memory(files):
    """Otherwise other processes and resumed ones would not have the same images (mmdet3d)."""

    def digest(*corners):
        plain = Files(files.folder).get_data_info
        files.get_data_info = lambda index: {**plain(index), 'gt_boxes': Boxes(*corners)}
        return digest_of_data(files, [0, 1])

    before = digest(1.0, 2.0)
    assert digest(1.0, 2.0) == before
    assert digest(1.0, 3.0) != before


def test_a_moved_data_set_is_the_same(files, tmp_path):
    before = digest_of_data(files, range(4))
    (tmp_path / 'moved').mkdir()
    for index in range(4):
        (tmp_path / 'moved' / f'{index}.png').write_bytes(bytes([index]) * 100)
    assert digest_of_data(Files(tmp_path / 'moved'), range(4)) == before


@pytest.fixture
def parts():
    torch.manual_seed(0)
    return dict(
        model=ToyClassifier(),
        cfg=Config(toy_config()),
        dataset=ToyPictures(6, 1),
        indices=[0, 1, 2],
        metrics=[ToyLogLikelihood()],
    )


def changed(parts, **changes):
    return differing(identity_of(**parts), identity_of(**{**parts, **changes}))


def test_each_part_is_named(parts):
    assert changed(parts) == []
    assert changed(parts, dataset=ToyPictures(6, 2)) == ['data']
    assert changed(parts, indices=[0, 1]) == ['data']

    def with_setting(key, value):
        cfg = Config(toy_config())
        cfg.merge_from_dict({key: value})
        return changed(parts, cfg=cfg)

    assert with_setting('val_dataloader.batch_size', 1) == ['pipeline']
    assert with_setting('val_dataloader.dataset.pipeline', [dict(type='Resize')]) == ['pipeline']
    assert with_setting('val_evaluator.other', True) == ['evaluator']
    assert with_setting('val_cfg.fp16', True) == ['validation']
    assert with_setting('model.test_cfg', dict(score_thr=0.1)) == ['model']
    for harmless in ('val_dataloader.num_workers', 'train_cfg.max_epochs'):
        assert with_setting(harmless, 3) == []


def test_weights_and_buffers_but_not_the_ratios(parts):
    identity = identity_of(**parts)
    parts['model'].inner['body'].set_pruning_ratios(0.5)
    assert differing(identity, identity_of(**parts)) == []
    parts['model'].norm.running_mean += 1e-6
    assert differing(identity, identity_of(**parts)) == ['weights']


def test_an_annotation_file_of_a_metric_is_read(parts, tmp_path):
    path = tmp_path / 'val.json'
    path.write_text('{}')
    cfg = Config(toy_config())
    cfg.val_evaluator.update(ann_file=str(path))
    before = identity_of(**{**parts, 'cfg': cfg})
    path.write_text('[]')
    assert differing(before, identity_of(**{**parts, 'cfg': cfg})) == ['annotations']
