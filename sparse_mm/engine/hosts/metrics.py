"""Metrics: which of them round, which need the whole set, and what people judge models by."""

from collections.abc import Mapping
from typing import Any

from sparse_mm.engine.hosts.packages import host_of
from sparse_mm.engine.hosts.types import is_kind, load, name_of

# Whose host class rounds, so that candidates that differ would tie.
PRECISE_METRICS = {
    'CocoMetric': 'sparse_mm.evaluation.coco_metric.FullPrecisionCocoMetric',
    'LVISMetric': 'sparse_mm.evaluation.lvis_metric.FullPrecisionLVISMetric',
    'VOCMetric': 'sparse_mm.evaluation.voc_metric.FullPrecisionVOCMetric',
    'OpenImagesMetric': 'sparse_mm.evaluation.openimages_metric.FullPrecisionOpenImagesMetric',
    'SemSegMetric': 'sparse_mm.evaluation.semseg_metric.FullPrecisionSemSegMetric',
    'IoUMetric': 'sparse_mm.evaluation.iou_metric.FullPrecisionIoUMetric',
    # Of boxes in cameras the host's joins those of a frame on CUDA alone; of others it is the same.
    'NuScenesMetric': 'sparse_mm.evaluation.nuscenes_metric.MonoNuScenesMetric',
}
# By which frames are found again in mmdet3d's info files; the first is the host's.
NUSCENES_METRICS = 'NuScenesMetric', 'MonoNuScenesMetric', 'FullPrecisionNuScenesMetric'
# By which images are found again in annotation files of COCO's form.
IMAGE_ID_METRICS = 'CocoMetric', 'CocoPanopticMetric', 'LVISMetric'
# Which judge masks alone, of mmdet's.
MASK_METRICS = 'CocoPanopticMetric', 'CityScapesMetric'
# Which look up every sample of the set, predicted or not.
WHOLE_SET_METRICS = (
    *NUSCENES_METRICS,
    *('KittiMetric', 'WaymoMetric', 'LyftMetric', 'CrowdHumanMetric'),
)
# Which are used as their package has them: to how many decimals they round, and whether they count
# the images of their whole annotation file.
ROUNDED_METRICS = {
    'OVCocoMetric': (3, True),
    'DODCocoMetric': (3, True),
    'CrowdHumanMetric': (4, False),
    'ReIDMetrics': (3, False),
}
# Whose value is the mean over the images; a class of one's own says so by ``is_mean = True``.
MEANS = ('Accuracy',)
# Which are quickly computed again from the images' results, without a part of them.
QUICK_METRICS = 'IoUMetric', 'SemSegMetric', 'SingleLabelMetric'
# Which write predictions into a file, and score nothing.
WRITERS = 'DumpResults', 'DumpDetResults', 'DumpProposals', 'DumpODVGResults'


def precise_metric(metric: type) -> type | None:
    """Our metric in place of one that rounds; None for those that do not, or are not known."""
    path = PRECISE_METRICS.get(metric.__name__)
    return None if path is None else load(path)


def what_is_lost(metric: type) -> str:
    """What a metric's values lack for comparing settings, as a sentence; nothing where none is."""
    kind = next((name for name in ROUNDED_METRICS if is_kind(metric, name)), None)
    if kind is None:
        return ''
    decimals, counts_all = ROUNDED_METRICS[kind]
    whole = (
        ' It counts the images of its whole annotation file, too: scores on a part of them '
        '(num_images) are all too low.'
        if counts_all
        else ''
    )
    return (
        f'{metric.__name__} is used as its package has it, and rounds to {decimals} decimals: '
        f'settings that differ by less have one score.{whole}'
    )


def needs_whole_set(metric: type) -> bool:
    """Whether a metric cannot be computed on a part of the validation set."""
    return is_kind(metric, *WHOLE_SET_METRICS)


def is_mean(metric: Any) -> bool:
    """Whether a metric's values are means of the images' own."""
    return bool(getattr(metric, 'is_mean', False)) or is_kind(type(metric), *MEANS)


def is_quick(metric: Any) -> bool:
    """Whether a metric may be computed hundreds of times for one score."""
    return is_kind(type(metric), *QUICK_METRICS)


def needs_whole_set_by_name(kind: Any) -> bool:
    """As :func:`needs_whole_set`, of a metric's ``type`` in a config."""
    return is_kind(kind, *WHOLE_SET_METRICS)


def may_give(metric: Any, name: str, meta: Mapping[str, Any]) -> bool:
    """Whether a metric that needs the whole set can give a value of this name.

    Args:
        metric: The metric, built.
        name: ``'NuScenes metric/pred_instances_3d_NuScenes/mAP'``.
        meta: Of the data set, with its ``classes``.
    """
    prefix = f'{metric.prefix}/' if metric.prefix else ''
    known = names_given(metric, meta)
    return name in known if known else name.startswith(prefix)


def names_given(metric: Any, meta: Mapping[str, Any]) -> list[str]:
    """The names of all values that a metric of a whole set gives; none where that is not known."""
    if is_kind(type(metric), 'CrowdHumanMetric'):
        given = dict(AP='mAP', MR='mMR', JI='JI')
        return [f'{metric.prefix}/{given[name]}' for name in metric.metrics]
    if not is_kind(type(metric), *NUSCENES_METRICS):
        return []
    config = getattr(metric, 'eval_detection_configs', None)
    distances = getattr(config, 'dist_ths', (0.5, 1.0, 2.0, 4.0))
    items = [f'AP_dist_{distance}' for distance in distances]
    items += [f'{error}_err' for error in ('trans', 'scale', 'orient', 'vel', 'attr')]
    names = ['NDS', 'mAP', 'mATE', 'mASE', 'mAOE', 'mAVE', 'mAAE']
    names += [f'{one}_{item}' for one in meta.get('classes') or () for item in items]
    return [f'{metric.prefix}/pred_instances_3d_NuScenes/{name}' for name in names]


# The main metric of each evaluator.
USUAL_METRICS = {
    'CocoPanopticMetric': 'coco_panoptic/PQ',
    'LVISMetric': 'lvis/bbox_AP',
    'VOCMetric': 'pascal_voc/mAP',
    'OpenImagesMetric': 'openimages/mAP',
    'CrowdHumanMetric': 'crowd_human/mAP',
    'IoUMetric': 'mIoU',
    'Accuracy': 'accuracy/top1',
    'MultiLabelMetric': 'multi-label/f1-score',
}


def metric_of(cfg: Mapping[str, Any]) -> str:
    """The metric that a config is judged by: its best checkpoint's, or its task's usual one.

    Args:
        cfg: A config with a ``val_evaluator``.
    """
    prefixes = data_prefixes(cfg.get('val_evaluator'))
    first = f'{prefixes[0]}/' if prefixes else ''
    save_best = ((cfg.get('default_hooks') or {}).get('checkpoint') or {}).get('save_best')
    if isinstance(save_best, str) and save_best != 'auto':
        return save_best
    for metric in metrics_in(cfg.get('val_evaluator')):
        if name_of(metric['type']) == 'CocoMetric':
            named = metric.get('metric', 'bbox')
            named = [named] if isinstance(named, str) else list(named)
            return f'{first}coco/{"bbox" if "bbox" in named else named[0]}_mAP'
        if name_of(metric['type']) in USUAL_METRICS:
            return first + USUAL_METRICS[name_of(metric['type'])]
    return first + host_of(cfg).metric


def data_prefixes(evaluator: Any) -> list[str]:
    """What names begin with, where an evaluator has a metric for each of several data sets.

    Args:
        evaluator: Of a config; mmdet's ``MultiDatasetsEvaluator`` is of that kind.
    """
    prefixes = evaluator.get('dataset_prefixes') if isinstance(evaluator, Mapping) else None
    return [str(prefix) for prefix in prefixes or ()]


def metrics_in(evaluator: Any) -> list[Mapping[str, Any]]:
    """The metrics of an evaluator's config that are not built yet, whether one or a list."""
    if isinstance(evaluator, Mapping):
        evaluator = evaluator.get('metrics', [evaluator])
    return [metric for metric in evaluator or () if isinstance(metric, Mapping)]
