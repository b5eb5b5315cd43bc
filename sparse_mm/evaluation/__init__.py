"""The hosts' metrics, at full precision or on any device; each is imported when it is used."""

from mmengine.registry import METRICS

from sparse_mm.deferred import register_deferred

register_deferred(
    METRICS,
    'sparse_mm.evaluation.nuscenes_metric',
    'FullPrecisionNuScenesMetric',
    'MonoNuScenesMetric',
)
