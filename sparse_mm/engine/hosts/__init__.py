"""Knowledge about the host packages and MMEngine's names, all in one place. A type in a config is a
name (``'Resize'``), a name after its scope or module (``'mmdet.Resize'``), or a class; what holds
of a class holds of those derived from it. What the hosts' Swins are called stands where the
backbones read it, and is handed on here.
"""

from sparse_mm.engine.hosts.datasets import (
    INFO_KEYS,
    OLD_INFO_KEYS,
    DatasetNeeds,
    LabelMaps,
    create_infos_command,
    dataset_needs,
    is_remote,
    label_maps_command,
    update_infos_command,
)
from sparse_mm.engine.hosts.devices import AMP_OPTIM_WRAPPER, AMP_SETTINGS, uses_amp, uses_sync_bn
from sparse_mm.engine.hosts.metrics import (
    IMAGE_ID_METRICS,
    MASK_METRICS,
    NUSCENES_METRICS,
    WRITERS,
    data_prefixes,
    is_mean,
    is_quick,
    may_give,
    metric_of,
    names_given,
    needs_whole_set,
    needs_whole_set_by_name,
    precise_metric,
    what_is_lost,
)
from sparse_mm.engine.hosts.packages import TEXT_PARTS, Host, host_of, scope_of
from sparse_mm.engine.hosts.pipelines import (
    loads_annotations,
    loads_images,
    size_after,
    size_of_4_to_3_after,
)
from sparse_mm.engine.hosts.types import is_kind, load, name_of, names_of, types_in
from sparse_mm.models.backbones.swin_names import DEFAULT_ARCH, MMPRETRAIN_ONLY, SPARSE_TWINS

__all__ = [
    'AMP_OPTIM_WRAPPER',
    'AMP_SETTINGS',
    'DEFAULT_ARCH',
    'IMAGE_ID_METRICS',
    'INFO_KEYS',
    'MASK_METRICS',
    'MMPRETRAIN_ONLY',
    'NUSCENES_METRICS',
    'OLD_INFO_KEYS',
    'SPARSE_TWINS',
    'TEXT_PARTS',
    'WRITERS',
    'DatasetNeeds',
    'Host',
    'LabelMaps',
    'create_infos_command',
    'data_prefixes',
    'dataset_needs',
    'host_of',
    'is_kind',
    'is_mean',
    'is_quick',
    'is_remote',
    'label_maps_command',
    'load',
    'loads_annotations',
    'loads_images',
    'may_give',
    'metric_of',
    'name_of',
    'names_given',
    'names_of',
    'needs_whole_set',
    'needs_whole_set_by_name',
    'precise_metric',
    'scope_of',
    'size_after',
    'size_of_4_to_3_after',
    'types_in',
    'update_infos_command',
    'uses_amp',
    'uses_sync_bn',
    'what_is_lost',
]
