"""A generated data set in the format of nuScenes, for training and evaluation offline."""

import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

from filelock import FileLock
from mmdet3d.datasets import NuScenesDataset
from mmengine.registry import DATASETS
from nuscenes.utils import splits

from projects.bevdet.driving.frames import draw_frames
from projects.bevdet.driving.nuscenes_infos import METAINFO, frame_info
from projects.bevdet.driving.nuscenes_tables import NuScenesTables
from projects.bevdet.driving.scenes import CAMERAS, Scene
from sparse_mm.errors import BadInputError
from sparse_mm.progress import progress_bar

# Raised when the scenes change, so that those drawn by older code are not taken for today's.
VERSION = 1
SETTINGS = 'settings.json'
GENERATOR = 'sparse_mm driving scenes'


def write_driving(
    root: Path,
    num_train_scenes: int,
    num_val_scenes: int,
    frames: int,
    image_size: tuple[int, int],
    seed: int,
) -> None:
    """Draws the data set, with a progress bar; leaves what is there already.

    Everything is drawn beside ``root`` and moved there in one step, so its presence says that it is
    complete. Processes that want the same wait for the first.

    Args:
        root: Folder to make: ``samples/``, ``maps/``, the tables in ``v1.0-trainval/``,
            ``nuscenes_infos_train.pkl`` and ``nuscenes_infos_val.pkl``.
        num_train_scenes: Scenes of the training set, at most 700 as in nuScenes.
        num_val_scenes: Scenes of the validation set, at most 150.
        frames: Keyframes of a scene, at half seconds; at least 2, between which velocities are
            measured.
        image_size: Width and height of the images in pixels.
        seed: Seed of the data set.

    Raises:
        BadInputError: The numbers are out of range, or ``root`` holds something else or cannot be
            written.
    """
    names = {'train': splits.train, 'val': splits.val}
    wanted = {'train': num_train_scenes, 'val': num_val_scenes}
    for split, number in wanted.items():
        if not 1 <= number <= len(names[split]):
            raise BadInputError(
                f'num_{split}_scenes is {number}; it must be 1 to {len(names[split])}, as many as '
                f"nuScenes' {split} split has names for."
            )
    if frames < 2:
        raise BadInputError(f'frames is {frames}; it must be at least 2 to measure velocities.')
    if seed < 0:
        raise BadInputError(f'seed is {seed}; it must be 0 or more.')
    sides = tuple(image_size) if isinstance(image_size, (tuple, list)) else ()
    if len(sides) != 2 or not all(isinstance(side, int) and side > 0 for side in sides):
        raise BadInputError(
            f'image_size is {image_size!r}; it must be the width and the height in pixels.'
        )
    settings = dict(generator=GENERATOR, version=VERSION, frames=frames)
    settings.update(num_train_scenes=num_train_scenes, num_val_scenes=num_val_scenes)
    settings.update(image_size=list(image_size), seed=seed)
    root = root.resolve()
    if _is_drawn(root, settings):
        return
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(root.with_name(f'.{root.name}.lock')):
            if _is_drawn(root, settings):  # by the process that had the lock before
                return
            unfinished = root.with_name(f'.{root.name}.unfinished')
            shutil.rmtree(unfinished, ignore_errors=True)  # of a process that was killed
            scenes = [(split, i, names[split][i]) for split in wanted for i in range(wanted[split])]
            _draw(unfinished, scenes, settings)
            (unfinished / SETTINGS).write_text(json.dumps(settings))
            unfinished.rename(root)
    except OSError as error:
        raise BadInputError(
            f'The driving scenes cannot be drawn into {str(root)!r} ({error.strerror or error}); '
            'set data_root to a folder that can be made.'
        ) from error


def _is_drawn(root: Path, settings: dict[str, Any]) -> bool:
    """Says whether the scenes are there, and refuses a folder with anything else."""
    found = _settings_of(root)
    if found == settings:
        return True
    if found:
        raise BadInputError(
            f'{str(root)!r} holds other scenes ({found}) than the config needs ({settings}); '
            'delete the folder or set another data_root.'
        )
    if root.exists() and (not root.is_dir() or os.listdir(root)):
        raise BadInputError(
            f'{str(root)!r} holds something else than drawn driving scenes; set data_root to a '
            'folder that does not exist, they are drawn there.'
        )
    return False


def _settings_of(root: Path) -> dict[str, Any] | None:
    try:
        found = json.loads((root / SETTINGS).read_text())
    except (OSError, ValueError):
        return None
    ours = isinstance(found, dict) and found.get('generator') == GENERATOR
    return found if ours else None


def _draw(root: Path, scenes: list[tuple[str, int, str]], settings: dict[str, Any]) -> None:
    tables = NuScenesTables(root, settings['seed'])
    infos: dict[str, list[dict[str, Any]]] = {'train': [], 'val': []}
    total = len(scenes) * settings['frames']
    with progress_bar('Drawing driving scenes', total=total) as progress:
        for number, (split, i, name) in enumerate(scenes):
            key = VERSION, settings['seed'], int(split == 'val'), i
            scene = Scene(key, settings['frames'], tuple(settings['image_size']))
            tables.add_scene(name, number, scene)
            for frame in draw_frames(scene):
                tables.add_frame(name, number, scene, frame)
                index = len(infos[split])
                infos[split].append(frame_info(tables, index, name, number, scene, frame))
                progress.update()
    tables.write()
    for split, data_list in infos.items():
        content = pickle.dumps(dict(metainfo=METAINFO, data_list=data_list))
        (root / f'nuscenes_infos_{split}.pkl').write_bytes(content)


@DATASETS.register_module(force=True)  # takes the place of sparse_mm's forward to this file
class DrivingDataset(NuScenesDataset):
    """Cuboids of nuScenes' ten classes around a car with six cameras, drawn on first use.

    Frames, matrices and boxes are as in nuScenes. Whichever of training and validation comes first
    draws both, since they share the devkit's tables.

    Args:
        data_root: Folder for the scenes; made if it is not there.
        ann_file: ``nuscenes_infos_train.pkl`` or ``nuscenes_infos_val.pkl``, of ``data_root``.
        num_train_scenes: Scenes of the training set. Defaults to 120.
        num_val_scenes: Scenes of the validation set. Defaults to 20.
        frames: Keyframes of a scene. Defaults to 4.
        image_size: Width and height of the images in pixels. Defaults to (400, 225), a quarter of
            nuScenes'.
        seed: Seed of the data set. Defaults to 0.
        **kwargs: As for mmdet3d's ``NuScenesDataset``; ``modality`` defaults to cameras alone,
            ``data_prefix`` to where the files are.

    Raises:
        BadInputError: ``data_root`` holds something else, or ``ann_file`` is none of the two.
    """

    def __init__(
        self,
        data_root: str,
        ann_file: str,
        num_train_scenes: int = 120,
        num_val_scenes: int = 20,
        frames: int = 4,
        image_size: tuple[int, int] = (400, 225),
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        self.settings: dict[str, Any] = dict(
            num_train_scenes=num_train_scenes,
            num_val_scenes=num_val_scenes,
            frames=frames,
            image_size=tuple(image_size),
            seed=seed,
        )
        kwargs.setdefault('modality', dict(use_camera=True, use_lidar=False))
        prefixes = {channel: f'samples/{channel}' for channel in CAMERAS}
        kwargs.setdefault('data_prefix', dict(prefixes, pts='samples/LIDAR_TOP', sweeps=''))
        super().__init__(data_root=data_root, ann_file=ann_file, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Draws the scenes if they are not there, then reads them as any nuScenes."""
        write_driving(Path(self.data_root), **self.settings)
        if not Path(self.ann_file).is_file():
            raise BadInputError(
                f'The driving scenes have nuscenes_infos_train.pkl and nuscenes_infos_val.pkl; '
                f'ann_file is {self.ann_file!r}.'
            )
        return super().load_data_list()
