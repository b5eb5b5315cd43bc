"""Videos in folders and tables, and the handling of missing or broken ones."""

import logging

import pytest
import torch
from torch.utils.data import DataLoader

pytest.importorskip('av', reason='PyAV is not installed: requirements/video.txt')

from mmengine.dataset import pseudo_collate
from mmengine.logging import MMLogger

from projects.video_recognition.video_recognition import ClipAccuracy, KineticsDataset
from sparse_mm.errors import BadInputError
from tests.projects.video_recognition.videos import write_video

PIPELINE = [dict(type='DecodeClips', clip_len=4), dict(type='PackClips')]


def dataset(root, **settings):
    return KineticsDataset(data_root=str(root), pipeline=PIPELINE, **settings)


def listed(found):
    classes = found.metainfo['classes']
    infos = [found.get_data_info(i) for i in range(len(found))]
    return [(info['video_path'].rpartition('/')[2], classes[info['gt_label']]) for info in infos]


@pytest.fixture
def said(monkeypatch):
    """The logger's output."""
    lines = []
    logger = MMLogger.get_current_instance()
    monkeypatch.setattr(logger, 'handle', lambda record: lines.append(record.getMessage()))
    monkeypatch.setattr(logger, 'level', logging.INFO)
    return lines


@pytest.fixture
def root(tmp_path):
    for name in ('val/air drumming/one.mp4', 'val/zumba/two.mp4', 'val/zumba/three.MP4'):
        write_video(tmp_path / name, frames=8)
    (tmp_path / 'val' / 'zumba' / 'notes.txt').write_text('no video')
    (tmp_path / 'labels.txt').write_text('zumba\nair drumming\n')
    return tmp_path


def test_folders(root, said):
    found = dataset(root, data_prefix=dict(video='val'))
    assert found.metainfo['classes'] == ('air drumming', 'zumba')
    assert sorted(listed(found)) == [
        ('one.mp4', 'air drumming'),
        ('three.MP4', 'zumba'),
        ('two.mp4', 'zumba'),
    ]
    assert any('3 videos found, 0 missing, 2 classes' in line for line in said)
    # Of one name and different kinds.
    (root / 'val' / 'zumba' / 'two.mp4').rename(root / 'val' / 'zumba' / 'three.avi')
    names = [name for name, _ in listed(dataset(root, data_prefix=dict(video='val')))]
    assert sorted(names) == ['one.mp4', 'three.MP4', 'three.avi']


def test_the_label_file_gives_the_order(root):
    found = dataset(root, data_prefix=dict(video='val'), label_file='labels.txt', num_classes=2)
    assert found.metainfo['classes'] == ('zumba', 'air drumming')
    labels = {found.get_data_info(i)['gt_label'] for i in range(3)}
    assert labels == {0, 1}
    assert found[0]['inputs'].shape == (3, 4, 48, 64)


def test_kinetics_own_table(root):
    (root / 'val' / 'air_drumming').mkdir()
    write_video(root / 'val' / 'air_drumming' / '-wt7_000010_000020.mp4', frames=8)
    write_video(root / 'val' / 'plain.mp4', frames=8)
    (root / 'val.csv').write_text(
        'label,youtube_id,time_start,time_end,split,is_cc\n'
        'air drumming,-wt7,10,20,val,0\n'
        'zumba,plain,0,10,val,0\n'
        '"zumba",gone,3,13,val,0\n'
    )
    found = dataset(
        root, ann_file='val.csv', data_prefix=dict(video='val'), label_file='labels.txt'
    )
    assert listed(found) == [('-wt7_000010_000020.mp4', 'air drumming'), ('plain.mp4', 'zumba')]
    assert found.missing == ['zumba']
    assert '2 videos found, 1 missing, 2 classes' in found.describe()


@pytest.mark.parametrize('separator', [',', ' '])
def test_plain_tables(root, separator):
    rows = ('air drumming/one.mp4', 1), ('zumba/two.mp4', 0), ('zumba/gone.mp4', 0)
    (root / 'list.txt').write_text('\n'.join(f'{path}{separator}{n}' for path, n in rows))
    found = dataset(
        root, ann_file='list.txt', data_prefix=dict(video='val'), label_file='labels.txt'
    )
    assert listed(found) == [('one.mp4', 'air drumming'), ('two.mp4', 'zumba')]
    assert len(found.missing) == 1


REFUSALS = {
    'another number of classes': (
        dict(label_file='labels.txt', num_classes=400),
        None,
        r'labels.txt. has 2 classes, but num_classes is 400',
    ),
    'folders of another number': (dict(num_classes=3), None, 'has 2 classes, but num_classes is 3'),
    'no label file': (dict(label_file='none.txt'), None, r'label file .*none.txt. cannot be read'),
    'no table': (dict(ann_file='none.csv'), None, r'table .*none.csv. cannot be read'),
    'nothing of it is there': (
        dict(ann_file='a.csv', label_file='labels.txt'),
        'gone.mp4,zumba\nlost.mp4,zumba\n',
        r'None of the 2 videos that .*a.csv. names lies in',
    ),
    'a row without a file': (
        dict(ann_file='a.csv', label_file='labels.txt'),
        'zumba/two.mp4,zumba\n,zumba\n',
        r'Row 2 of .*a.csv. names no file or no label',
    ),
    'labels from 1': (
        dict(ann_file='a.csv', label_file='labels.txt'),
        'zumba/two.mp4,1\nair drumming/one.mp4,2\n',
        r'has the label 2, but labels go from 0 to 1; count them from 0',
    ),
    'an unknown class': (
        dict(ann_file='a.csv', label_file='labels.txt'),
        'zumba/two.mp4,zumbaa\n',
        r"class 'zumbaa' is not in the label file .*; did you mean 'zumba'\?",
    ),
    'numbers without names': (
        dict(ann_file='a.csv'),
        'zumba/two.mp4,1\n',
        'numbers for labels; set num_classes or label_file',
    ),
    'an empty table': (dict(ann_file='a.csv'), '', r'a.csv. is empty'),
    'an unknown way': (dict(on_broken='ignore'), None, "on_broken must be 'raise' or 'skip'"),
    'no folder': (dict(data_prefix=dict(video='train')), None, 'folder of videos .*train'),
}


@pytest.mark.parametrize('case', REFUSALS)
def test_refusals(root, case):
    settings, table, message = REFUSALS[case]
    if table is not None:
        (root / 'a.csv').write_text(table)
    with pytest.raises(BadInputError, match=message):
        dataset(root, **{'data_prefix': dict(video='val'), **settings})


def test_a_class_named_twice_is_refused(root):
    (root / 'labels.txt').write_text('zumba\nair drumming\nzumba\n')
    with pytest.raises(BadInputError, match='names zumba more than once'):
        dataset(root, data_prefix=dict(video='val'), label_file='labels.txt')


# Broken videos


@pytest.fixture
def broken(root):
    path = root / 'val' / 'zumba' / 'broken.mp4'
    whole = (root / 'val' / 'zumba' / 'two.mp4').read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    return root


@pytest.mark.parametrize('workers', [0, 2])
def test_training_draws_another_and_names_it_once(broken, said, workers, capfd):
    found = dataset(broken, data_prefix=dict(video='val'))
    place = next(i for i in range(4) if 'broken' in found.get_data_info(i)['video_path'])
    loader = DataLoader(found, sampler=[place] * 6, num_workers=workers, collate_fn=pseudo_collate)
    paths = [batch['data_samples'][0].video_path for batch in loader]
    assert len(paths) == 6
    assert not any('broken' in path for path in paths)
    assert int(found._named.sum()) == 1
    if not workers:
        assert sum('Skipped (1 so far)' in line and 'broken.mp4' in line for line in said) == 1


def test_testing_ends_with_its_name(broken):
    found = dataset(broken, data_prefix=dict(video='val'), test_mode=True)
    with pytest.raises(BadInputError, match=r"broken.mp4.*set on_broken='skip'"):
        [found[i] for i in range(len(found))]


def test_testing_may_count_it_instead(broken, said):
    found = dataset(broken, data_prefix=dict(video='val'), test_mode=True, on_broken='skip')
    metric = ClipAccuracy(topk=1)
    for i in range(len(found)):
        sample = found[i]['data_samples']
        right = torch.nn.functional.one_hot(sample.gt_label, 2)[0].float()
        metric.process(None, [sample.set_pred_score(right).to_dict()])
    results = metric.evaluate(len(found))
    assert results == {'accuracy/top1': 100.0, 'accuracy/views': 1, 'accuracy/broken': 1}
    assert any('one view of each video' in line for line in said)
    assert any('1 videos are broken and not scored' in line for line in said)


def test_only_broken_videos(tmp_path):
    for name in 'ab':
        (tmp_path / name).mkdir()
        (tmp_path / name / 'one.mp4').write_text('no video')
    found = dataset(tmp_path, test_mode=True, on_broken='skip')
    with pytest.raises(BadInputError, match='All 2 videos are broken'):
        found[0]


def test_the_label_map_of_kinetics(shared, tmp_path):
    labels = shared('data/kinetics400/label_map_k400.txt')
    table = tmp_path / 'list.csv'
    table.write_text('arm_wrestling.mp4,arm wrestling\n')
    found = dataset(labels.parent, ann_file=str(table), label_file=labels.name, num_classes=400)
    assert found.get_data_info(0)['gt_label'] == 6
