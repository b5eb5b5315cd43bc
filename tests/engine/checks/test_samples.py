"""Files that a loaded data set lists must exist."""

import json
import re
from pathlib import Path

import pytest
import torch
from mmengine.registry import DefaultScope

from sparse_mm.engine.checks import check_categories, check_labels, check_samples
from sparse_mm.engine.checks.samples import check_class_count
from sparse_mm.engine.hooks import CheckDataHook
from sparse_mm.errors import BadInputError


class Pictures(torch.utils.data.Dataset):
    def __init__(self, paths):
        self.paths = paths

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        return index

    def get_data_info(self, index):
        return dict(img_path=self.paths[index])


def test_missing_pictures_are_found_by_a_sample(tmp_path):
    paths = [str(tmp_path / f'{i}.jpg') for i in range(2500)]
    (problem,) = check_samples(Pictures(paths), 'train', 100)
    assert '100 of 100 files' in problem
    assert f'the first is {paths[0]!r}' in problem
    for path in paths[::25]:
        (tmp_path / path).write_text('')
    assert check_samples(Pictures(paths), 'train', 100) == []


def test_joined_sets_that_are_read_from_elsewhere():
    def joined(backend):
        local, other = Pictures(['a.jpg']), Pictures(['b.jpg'])
        other.backend_args = dict(backend=backend)
        both = torch.utils.data.ConcatDataset([local, other])
        both.get_data_info = lambda index: dict(img_path='a.jpg')
        repeated = Pictures(['a.jpg'])
        repeated.dataset = both
        return repeated

    assert check_samples(joined('petrel'), 'train', 10) == []
    assert len(check_samples(joined('local'), 'train', 10)) == 1


def test_an_empty_data_set_is_a_problem():
    (problem,) = check_samples(Pictures([]), 'val', 100)
    assert 'The val set has no image with annotations' in problem


def test_the_hook_reports_both_sets_at_once():
    class Runner:
        val_loop = True
        model = torch.nn.Identity()
        train_dataloader = torch.utils.data.DataLoader(Pictures(['nowhere.jpg']))
        val_dataloader = torch.utils.data.DataLoader(Pictures([]))

    with pytest.raises(BadInputError) as error:
        CheckDataHook().before_train(Runner)
    assert 'The train set is incomplete' in str(error.value)
    assert 'The val set has no image' in str(error.value)


class Frames(Pictures):
    """A 3D training set, of the cameras by themselves or together."""

    test_mode, filter_empty_gt, data_root = False, True, 'data/nuscenes'

    def __init__(self, load_type, *counts):
        super().__init__([])
        self.load_type, self.counts = load_type, counts

    def __len__(self):
        return len(self.counts)

    def get_data_info(self, index):
        return dict(instances=[{}] * 3, ann_info=dict(gt_labels_3d=[0] * self.counts[index]))


@pytest.mark.parametrize(
    ('load_type', 'said'),
    [('mv_image_based', 'cam_instances.*create_data.py'), ('frame_based', 'metainfo.classes')],
)
def test_a_3d_set_without_any_box_to_learn_from(load_type, said):
    (problem,) = check_samples(Frames(load_type, 0, 0, 0), 'train', 10)
    assert re.search(said, problem)
    assert check_samples(Frames(load_type, 0, 0, 2), 'train', 10) == []
    empty = Frames(load_type, 0)
    empty.test_mode = True
    assert check_samples(empty, 'val', 10) == []


def test_categories_that_a_file_does_not_list_shift_the_others(tmp_path):
    class Coco:
        def __init__(self, **ids):
            listed = [dict(id=key, name=name) for name, key in ids.items()]
            self.ann_file = str(tmp_path / f'{len(list(tmp_path.iterdir()))}.json')
            Path(self.ann_file).write_text(json.dumps(dict(categories=listed)))
            self.cat2label = {key: label for label, key in enumerate(ids.values())}

    three = Coco(person=1, car=2, bus=7)
    (problem,) = check_labels(three, Coco(person=1, bus=7))
    assert "3 of the classes in its annotation file and the val set 2, so that 'bus' is" in problem
    assert "'bus' is label 2 in one and 1 in the other" in problem
    assert check_labels(three, Coco(person=1, car=2)) == []
    assert check_labels(three, Pictures([])) == []
    # The same categories in one order, numbered in another way.
    assert check_labels(three, Coco(person=0, car=1, bus=2)) == []
    assert len(check_labels(three, Coco(person=0, bus=1))) == 1


def test_a_file_that_lists_fewer_classes_than_the_model_may_find():
    data = Pictures(['a.jpg'])
    data.cat_ids, data.metainfo = [1, 2, 3], dict(classes=('a', 'b', 'c', 'd'))
    (problem,) = check_categories(data, 'val', 4)
    assert "val set's annotation file lists 3 of the 4 classes, and the model has 4" in problem
    # A head for those alone, and classes that none of the sets names, work.
    assert check_categories(data, 'val', 3) == []
    data.metainfo = dict(classes=('a', 'b', 'c'))
    assert check_categories(data, 'val', 80) == []
    assert check_categories(Pictures([]), 'val', 80) == []


class Detector(torch.nn.Module):
    def __init__(self, **parts):
        super().__init__()
        self.roi_head = torch.nn.ModuleDict(parts)


@pytest.fixture
def in_mmdet():
    """Another test's run may have left its own host's scope behind."""
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


@pytest.mark.parametrize('number', [3, 7])
def test_heads_with_another_number_of_classes(number, in_mmdet):
    models = pytest.importorskip('mmdet.models', reason='needs mmdet')
    dataset = Pictures(['a'])
    dataset.metainfo = dict(classes=['a', 'b', 'c', 'd'])
    boxes = models.Shared2FCBBoxHead(fc_out_channels=2, in_channels=1, num_classes=number)
    masks = models.FCNMaskHead(num_convs=0, in_channels=1, conv_out_channels=1, num_classes=4)
    both = Detector(bbox_head=torch.nn.ModuleList([boxes]), mask_head=masks)
    (problem,) = check_class_count(dataset, 'train', 7, both)
    said = f'The train set has 4 classes, and the model roi_head.bbox_head.0.num_classes={number};'
    assert problem.startswith(said)
    dataset.metainfo = dict(dataset.metainfo, thing_classes=['a', 'b', 'c'])  # panoptic
    heads = Detector(bbox_head=boxes)
    assert len(check_class_count(dataset, 'train', 7, heads)) == (number != 3)
    del dataset.metainfo['thing_classes']
    both.language_model = None  # it is told its classes by a text
    assert check_class_count(dataset, 'train', 7, both) == []
    others = Detector(rpn_head=boxes, mask_head=masks)
    assert check_class_count(dataset, 'train', 7, others) == []
    agnostic = models.FCNMaskHead(
        num_convs=0, in_channels=1, conv_out_channels=1, num_classes=1, class_agnostic=True
    )
    assert check_class_count(dataset, 'train', 7, Detector(mask_head=agnostic)) == []
