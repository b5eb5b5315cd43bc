"""Writes driving scenes as nuScenes' thirteen tables, which the devkit loads."""

import hashlib
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pyquaternion import Quaternion

from projects.bevdet.driving.frames import Frame
from projects.bevdet.driving.scenes import CAMERAS, CLASSES, LIDAR2EGO, Scene

TABLES = (
    'category',
    'attribute',
    'visibility',
    'instance',
    'sensor',
    'calibrated_sensor',
    'ego_pose',
    'log',
    'scene',
    'sample',
    'sample_data',
    'sample_annotation',
    'map',
)
CATEGORIES = dict(
    zip(
        CLASSES,
        (
            'vehicle.car',
            'vehicle.truck',
            'vehicle.trailer',
            'vehicle.bus.rigid',
            'vehicle.construction',
            'vehicle.bicycle',
            'vehicle.motorcycle',
            'human.pedestrian.adult',
            'movable_object.trafficcone',
            'movable_object.barrier',
        ),
        strict=True,
    )
)
# In the order in which mmdet3d numbers them.
ATTRIBUTES = (
    'cycle.with_rider',
    'cycle.without_rider',
    'pedestrian.moving',
    'pedestrian.standing',
    'pedestrian.sitting_lying_down',
    'vehicle.moving',
    'vehicle.parked',
    'vehicle.stopped',
)
VISIBILITY = {'1': 'v0-40', '2': 'v40-60', '3': 'v60-80', '4': 'v80-100'}
LIDAR = 'LIDAR_TOP'
START = 1_500_000_000_000_000  # microseconds
SCENE_SECONDS = 100_000  # between the starts of two scenes, far longer than any


def token(*parts: object) -> str:
    """Makes nuScenes' 32 hexadecimal digits of whatever identifies a record."""
    return hashlib.md5('/'.join(map(str, parts)).encode()).hexdigest()


def microseconds(scene_number: int, time: float) -> int:
    """Gives the timestamp of a moment of a scene."""
    return START + scene_number * SCENE_SECONDS * 10**6 + round(time * 1e6)


class NuScenesTables:
    """Collects scenes and writes the tables.

    Args:
        root: Folder of the data set; images and points are written below it as they come.
        seed: Of the data set; all tokens follow from it and the scenes' names.
    """

    def __init__(self, root: Path, seed: int) -> None:
        self.root, self.seed = root, seed
        self.tables: dict[str, list[dict[str, Any]]] = {name: [] for name in TABLES}
        self._links: dict[str, dict[str, Any]] = {}
        self._logs: list[str] = []
        for channel in (*CAMERAS, LIDAR):
            modality = 'lidar' if channel == LIDAR else 'camera'
            self._add('sensor', token('sensor', channel), channel=channel, modality=modality)
        for name in CATEGORIES.values():
            self._add('category', token('category', name), name=name, description='')
        for name in ATTRIBUTES:
            self._add('attribute', token('attribute', name), name=name, description='')
        for level, name in VISIBILITY.items():
            self._add('visibility', level, level=name, description='')

    def add_scene(self, name: str, number: int, scene: Scene) -> None:
        """Adds a scene, its log, its sensors and its objects.

        Args:
            name: As in the devkit's splits.
            number: Of the scene among all; no two may share it.
            scene: The scene.
        """
        self._links = {}
        log = self.token(name, 'log')
        self._add(
            'log',
            log,
            logfile=name,
            vehicle='drawn',
            date_captured='2017-07-14',
            location='drawn',
        )
        self._logs.append(log)
        samples = [self.token(name, time) for time in scene.times]
        self._add(
            'scene',
            self.token(name),
            name=name,
            description='Cuboids on a plane',
            log_token=log,
            nbr_samples=len(samples),
            first_sample_token=samples[0],
            last_sample_token=samples[-1],
        )
        mounted = {channel: camera.cam2ego for channel, camera in scene.cameras.items()}
        for channel, sensor2ego in {**mounted, LIDAR: LIDAR2EGO}.items():
            camera = scene.cameras.get(channel)
            self._add(
                'calibrated_sensor',
                self.token(name, 'calibration', channel),
                sensor_token=token('sensor', channel),
                **_pose(sensor2ego),
                camera_intrinsic=camera.cam2img.tolist() if camera else [],
            )
        for index, cuboid in enumerate(scene.cuboids):
            annotations = [self.token(name, time, index) for time in scene.times]
            category = CATEGORIES[CLASSES[cuboid.label]]
            self._add(
                'instance',
                self.token(name, 'instance', index),
                category_token=token('category', category),
                nbr_annotations=len(annotations),
                first_annotation_token=annotations[0],
                last_annotation_token=annotations[-1],
            )

    def add_frame(self, name: str, number: int, scene: Scene, frame: Frame) -> None:
        """Adds a keyframe of the scene added last and writes its images and points."""
        time = frame.time
        sample, pose = self.token(name, time), self.token(name, 'pose', time)
        stamp = microseconds(number, time)
        self._add('ego_pose', pose, timestamp=stamp, **_pose(scene.ego2global(time)))
        self._add_linked('sample', 'scene', sample, timestamp=stamp, scene_token=self.token(name))
        for channel in (*frame.images, LIDAR):
            image = frame.images.get(channel)
            path = self.root / file_name(name, number, time, channel)
            path.parent.mkdir(parents=True, exist_ok=True)
            if image is None:
                frame.points.tofile(path)
            else:
                # Unlike cv2.imwrite this raises where the disk is full.
                jpeg = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, 92])[1]
                path.write_bytes(jpeg.tobytes())
            self._add_linked(
                'sample_data',
                channel,
                self.token(name, time, channel),
                sample_token=sample,
                ego_pose_token=pose,
                calibrated_sensor_token=self.token(name, 'calibration', channel),
                timestamp=stamp,
                fileformat='pcd' if image is None else 'jpg',
                is_key_frame=True,
                height=0 if image is None else image.shape[0],
                width=0 if image is None else image.shape[1],
                filename=path.relative_to(self.root).as_posix(),
            )
        for index, cuboid in enumerate(scene.cuboids):
            pose_of = cuboid.pose(time)
            pose_of[2, 3] = cuboid.size[2] / 2  # nuScenes' boxes have their origin in the middle
            attribute = cuboid.attribute
            self._add_linked(
                'sample_annotation',
                f'cuboid {index}',
                self.token(name, time, index),
                sample_token=sample,
                instance_token=self.token(name, 'instance', index),
                attribute_tokens=[token('attribute', attribute)] if attribute else [],
                visibility_token=str(frame.visibility[index]),
                **_pose(pose_of),
                size=cuboid.size.tolist(),
                num_lidar_pts=int(frame.num_points[index]),
                num_radar_pts=0,
            )

    def write(self) -> None:
        """Writes the tables and the map, which they cannot be without."""
        mask = self.root / 'maps' / 'drawn.png'
        mask.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(mask), np.full((8, 8), 255, np.uint8))
        self._add(
            'map',
            token('map'),
            category='semantic_prior',
            filename='maps/drawn.png',
            log_tokens=self._logs,
        )
        folder = self.root / 'v1.0-trainval'
        folder.mkdir(parents=True, exist_ok=True)
        for name, records in self.tables.items():
            (folder / f'{name}.json').write_text(json.dumps(records))

    def token(self, *parts: object) -> str:
        """Makes the token of a record of this data set."""
        return token(self.seed, *parts)

    def _add(self, table: str, own: str, **fields: Any) -> dict[str, Any]:
        record = dict(token=own, **fields)
        self.tables[table].append(record)
        return record

    def _add_linked(self, table: str, chain: str, own: str, **fields: Any) -> None:
        """Adds a record that follows the last one of its chain."""
        before = self._links.get(chain)
        if before:
            before['next'] = own
        fields.update(prev=before['token'] if before else '', next='')
        self._links[chain] = self._add(table, own, **fields)


def file_name(name: str, number: int, time: float, channel: str) -> Path:
    """Gives the path of a sensor's file below the root, like nuScenes' own."""
    suffix = 'pcd.bin' if channel == LIDAR else 'jpg'
    stamp = microseconds(number, time)
    return Path('samples', channel, f'{name}__{channel}__{stamp}.{suffix}')


def _pose(matrix: np.ndarray) -> dict[str, list[float]]:
    rotation = Quaternion(matrix=matrix[:3, :3], rtol=1e-6, atol=1e-6)
    return dict(translation=matrix[:3, 3].tolist(), rotation=rotation.elements.tolist())
