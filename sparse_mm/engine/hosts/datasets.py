"""Data sets: what they need to be read, and the commands that make it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparse_mm.engine.hosts.packages import host_tool
from sparse_mm.engine.hosts.types import name_of, names_of


@dataclass(frozen=True)
class LabelMaps:
    """Pictures of labels that must be made from a data set's own annotations.

    Attributes:
        suffix: What their names end in.
        sources: What the annotations' names end in.
    """

    suffix: str
    sources: tuple[str, ...]


@dataclass(frozen=True)
class DatasetNeeds:
    """What a data set needs to be read.

    Attributes:
        name: What people call it.
        layout: Where its files are expected.
        variable: The environment variable that names its folder, where a config's own is not there.
        instead: What to try without it.
        draws_itself: Whether it makes or fetches its files when they are not there.
        label_maps: What must have been made of its annotations.
        info_files: Whether its annotations are mmdet3d's info files.
        split_folder: Whether it reads the folder that is called as its ``split``, if no path is
            set.
        class_folders: Whether the folders that its images lie in are its classes.
        num_classes: How many classes it has where its config names none.
    """

    name: str = ''
    layout: str = ''
    variable: str = ''
    instead: str = ''
    draws_itself: bool = False
    label_maps: LabelMaps | None = None
    info_files: bool = False
    split_folder: bool = False
    class_folders: bool = False
    num_classes: int | None = None

    def hint(self, split: str) -> str:
        """What to do where files are missing, without a full stop."""
        if not self.layout:
            return f'set data_root of {split}_dataloader.dataset'
        hint = (
            f'{self.name} is expected as {self.layout}; name that folder with the environment '
            f'variable {self.variable} or --cfg-options data_root=FOLDER'
        )
        return f'{hint}. {self.instead}' if self.instead else hint


DATASETS = {
    'ShapesDataset': DatasetNeeds(draws_itself=True),
    'DrivingDataset': DatasetNeeds(draws_itself=True),
    'MotionClips': DatasetNeeds(draws_itself=True),
    # These download themselves.
    **{
        name: DatasetNeeds(draws_itself=True)
        for name in ('CIFAR10', 'CIFAR100', 'MNIST', 'FashionMNIST')
    },
    'CocoDataset': DatasetNeeds(
        'COCO',
        'annotations/instances_train2017.json, annotations/instances_val2017.json, train2017/ and '
        'val2017/ in one folder',
        'COCO_ROOT',
        instead='configs/sparsevit_maskrcnn_shapes.py needs no data set',
    ),
    'CityscapesDataset': DatasetNeeds(
        'Cityscapes',
        'leftImg8bit/ and gtFine/, each with train/ and val/, in one folder',
        'CITYSCAPES_ROOT',
        label_maps=LabelMaps(
            '_gtFine_labelTrainIds.png', ('_gtFine_polygons.json', '_gtFine_labelIds.png')
        ),
    ),
    'NuScenesDataset': DatasetNeeds(
        'nuScenes',
        'samples/, nuscenes_infos_train.pkl and nuscenes_infos_val.pkl (made by '
        "mmdet3d's tools/create_data.py) in one folder",
        'NUSCENES_ROOT',
        info_files=True,
    ),
    'ImageNet': DatasetNeeds(
        'ImageNet',
        'train/ and val/ with a folder for each class, in one folder',
        'IMAGENET_ROOT',
        split_folder=True,
        class_folders=True,
        num_classes=1000,
    ),
    'KineticsDataset': DatasetNeeds(
        'Kinetics-400',
        'train/ and val/ with a folder for each class, and label_map_k400.txt, in one folder',
        'KINETICS_ROOT',
        instead='projects/video_recognition/configs/video_sparseformer_motion.py needs no data set',
    ),
    'ImageNet21k': DatasetNeeds(
        'ImageNet-21K',
        'train/ with a folder for each class, in one folder',
        'IMAGENET21K_ROOT',
        split_folder=True,
        class_folders=True,
    ),
    'CustomDataset': DatasetNeeds(class_folders=True),  # mmpretrain's
}


def dataset_needs(kind: Any) -> DatasetNeeds:
    """What is known of a data set; of one that is not in the table, that it lies somewhere."""
    for name in names_of(kind):
        if name in DATASETS:
            return DATASETS[name]
    # Data sets that others derive from nuScenes' keep its name, and lie as it does.
    return DATASETS['NuScenesDataset'] if 'NuScenes' in name_of(kind) else DatasetNeeds()


LOCAL_BACKENDS = 'local', 'disk', 'LocalBackend', 'HardDiskBackend'


def is_remote(settings: Any) -> bool:
    """Whether a data set, or a transform, reads its files in another way than from local disks.

    Args:
        settings: Its config, or the object built from it.
    """
    for name in 'backend_args', 'file_client_args':
        if isinstance(settings, Mapping):
            backend = settings.get(name)
        else:
            backend = getattr(settings, name, None)
        if isinstance(backend, Mapping) and backend.get('backend', 'local') not in LOCAL_BACKENDS:
            return True
    return False


def label_maps_command(root: Path) -> str:
    """The command that makes Cityscapes' label maps with the ids that models are trained with."""
    return f'pip install cityscapesscripts && CITYSCAPES_DATASET={root} csCreateTrainIdLabelImgs'


# The first key of mmdet3d's info files, since 1.0 and before.
INFO_KEYS = ('metainfo', 'data_list')
OLD_INFO_KEYS = ('infos', 'metadata', 'a list')


def create_infos_command(root: Path) -> str:
    """The command that makes nuScenes' info files from the devkit's tables in ``root``."""
    command = host_tool('mmdet3d', 'create_data.py')
    command = f'{command} nuscenes --root-path {root} --out-dir {root} --extra-tag nuscenes'
    mini = (root / 'v1.0-mini').is_dir() and not (root / 'v1.0-trainval').is_dir()
    return f'{command} --version v1.0-mini' if mini else command


def update_infos_command(path: Path) -> str:
    """The command that converts an info file of before mmdet3d 1.0."""
    command = host_tool('mmdet3d', 'dataset_converters/update_infos_to_v2.py')
    return f'{command} --dataset nuscenes --pkl-path {path} --out-dir FOLDER'
