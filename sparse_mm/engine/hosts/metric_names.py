"""What the values of the hosts' metrics are called, as far as their settings tell it."""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from sparse_mm.engine.hosts.metrics import NUSCENES_METRICS, WRITERS, data_prefixes, metrics_in
from sparse_mm.engine.hosts.types import name_of

OURS = 'FullPrecision'  # classes of ours have the names of the hosts' that they stand for
AP = 'mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l'
AR = 'AR@100', 'AR@300', 'AR@1000', 'AR_s@1000', 'AR_m@1000', 'AR_l@1000'
LVIS_AP = 'AP', 'AP50', 'AP75', 'APs', 'APm', 'APl', 'APr', 'APc', 'APf'
LVIS_AR = 'AR@300', 'ARs@300', 'ARm@300', 'ARl@300'
IOU = dict(
    mIoU=('aAcc', 'mIoU', 'mAcc'),
    mDice=('aAcc', 'mDice', 'mAcc'),
    mFscore=('aAcc', 'mFscore', 'mPrecision', 'mRecall'),
)
CROWDS = dict(AP='mAP', MR='mMR', JI='JI')
PANOPTIC = tuple(f'{one}{part}' for part in ('', '_th', '_st') for one in ('PQ', 'SQ', 'RQ'))
NUSCENES = (
    *('NDS', 'mAP', 'mATE', 'mASE', 'mAOE', 'mAVE', 'mAAE'),
    *('*_AP_dist_*', '*_err'),
)
PREFIXES = dict(
    CocoMetric='coco',
    LVISMetric='lvis',
    CocoPanopticMetric='coco_panoptic',
    VOCMetric='pascal_voc',
    CityScapesMetric='cityscapes',
    OpenImagesMetric='openimages',
    CrowdHumanMetric='crowd_human',
    IoUMetric='',
    SemSegMetric='',
    Accuracy='accuracy',
    SingleLabelMetric='single-label',
    MultiLabelMetric='multi-label',
    AveragePrecision='multi-label',
    **dict.fromkeys(NUSCENES_METRICS, 'NuScenes metric'),
)


def names_of_values(evaluator: Any) -> list[str] | None:
    """The names of all values that an evaluator gives.

    Args:
        evaluator: Of a config.

    Returns:
        Names, in which ``*`` stands for anything; None where one of its metrics is not known.
    """
    names = []
    prefixes = data_prefixes(evaluator)
    for number, metric in enumerate(metrics_in(evaluator)):
        kind = name_of(metric.get('type', ''))
        if kind in WRITERS:
            continue
        given = _names_of(kind.removeprefix(OURS), metric)
        if given is None:
            return None
        own = metric.get('prefix')
        prefix = PREFIXES[kind.removeprefix(OURS)] if own is None else str(own)
        first = f'{prefixes[number]}/' if number < len(prefixes) else ''
        names += [first + (f'{prefix}/{name}' if prefix else name) for name in given]
    return names


def is_given(name: str, names: Iterable[str]) -> bool:
    """Whether a name is one of those that :func:`names_of_values` lists."""
    return any(fnmatchcase(name, known) for known in names)


def _names_of(kind: str, metric: Mapping[str, Any]) -> list[str] | None:
    """The names that a metric gives, without its prefix; None where they are not known."""
    if kind not in PREFIXES or metric.get('format_only'):
        return None
    if kind in NUSCENES_METRICS:
        return [f'pred_instances_*3d_NuScenes/{name}' for name in NUSCENES]
    if kind in ('CocoMetric', 'LVISMetric'):
        return _of_boxes(kind, metric)
    if kind in ('IoUMetric', 'SemSegMetric'):
        named = _listed(metric.get('iou_metrics', ['mIoU']))
        return [name for one in named for name in IOU.get(one, ('*',))]
    if kind == 'CrowdHumanMetric':
        return [CROWDS.get(one, '*') for one in _listed(metric.get('metric', list(CROWDS)))]
    if kind == 'Accuracy':
        tops = [f'top{k}' for k in _listed(metric.get('topk', 1))]
        return [*tops, *(f'{top}_*thr*' for top in tops)]
    if kind in ('SingleLabelMetric', 'MultiLabelMetric'):
        items = _listed(metric.get('items', ('precision', 'recall', 'f1-score')))
        return [*items, *(f'{item}_*' for item in items)]
    if kind == 'VOCMetric' and 'recall' in _listed(metric.get('metric', 'mAP')):
        return ['recall@*', 'AR@*']
    return {
        'CocoPanopticMetric': list(PANOPTIC),
        'CityScapesMetric': ['mAP', 'AP@50'],
        'AveragePrecision': ['mAP', 'AP_classwise'],
    }.get(kind, ['mAP', 'AP*'])


def _of_boxes(kind: str, metric: Mapping[str, Any]) -> list[str]:
    precisions, recalls = (AP, AR) if kind == 'CocoMetric' else (LVIS_AP, LVIS_AR)
    chosen = metric.get('metric_items')
    names = []
    for one in _listed(metric.get('metric', 'bbox')):
        if one == 'proposal_fast':
            names.append('AR@*')
        elif one == 'proposal':
            names += chosen or recalls
        else:
            names += [f'{one}_{item}' for item in chosen or precisions]
    return [*names, '*_precision'] if metric.get('classwise') else names


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]
