"""Describes frames of driving scenes as mmdet3d's info files do, version 1.1."""

from typing import Any

import numpy as np

from projects.bevdet.driving.frames import Frame
from projects.bevdet.driving.nuscenes_tables import (
    ATTRIBUTES,
    LIDAR,
    NuScenesTables,
    file_name,
    microseconds,
)
from projects.bevdet.driving.scenes import CLASSES, LIDAR2EGO, Cuboid, Scene

METAINFO = dict(
    categories={name: i for i, name in enumerate(CLASSES)},
    dataset='nuscenes',
    version='v1.0-trainval',
    info_version='1.1',
)


def frame_info(
    tables: NuScenesTables, index: int, name: str, number: int, scene: Scene, frame: Frame
) -> dict[str, Any]:
    """Describes a frame.

    Boxes are of the lidar frame (x right, y ahead, z up) with x, y, z of their middle, length,
    width, height and yaw, and of the camera frame (x right, y down, z ahead) with x, y, z of their
    middle, length, height, width and yaw; velocities are of the same frame, across the plane.

    Args:
        tables: Where the frame was added; it knows the tokens.
        index: Of the frame in its info file.
        name: The scene's.
        number: The scene's.
        scene: The scene.
        frame: The frame.

    Source: ``tools/dataset_converters/update_infos_to_v2.py`` of mmdet3d 1.4.0.
    """
    time = frame.time
    ego2global = scene.ego2global(time)
    lidar2global = ego2global @ LIDAR2EGO
    stamp = microseconds(number, time) / 1e6
    images, cam_instances = {}, {}
    for channel, camera in scene.cameras.items():
        lidar2cam = np.linalg.inv(camera.cam2ego) @ LIDAR2EGO
        images[channel] = dict(
            img_path=file_name(name, number, time, channel).name,
            cam2img=camera.cam2img.tolist(),
            cam2ego=camera.cam2ego.tolist(),
            sample_data_token=tables.token(name, time, channel),
            timestamp=stamp,
            lidar2cam=lidar2cam.tolist(),
        )
        cam_instances[channel] = _camera_instances(scene, frame, channel)
    global2lidar = np.linalg.inv(lidar2global)
    instances = [
        dict(
            bbox_label=cuboid.label,
            bbox_3d=_lidar_box(global2lidar @ _middle(cuboid, time), cuboid),
            bbox_3d_isvalid=bool(frame.num_points[i] > 0),
            bbox_label_3d=cuboid.label,
            num_lidar_pts=int(frame.num_points[i]),
            num_radar_pts=0,
            velocity=(global2lidar[:3, :3] @ cuboid.velocity)[:2].tolist(),
        )
        for i, cuboid in enumerate(scene.cuboids)
    ]
    return dict(
        sample_idx=index,
        token=tables.token(name, time),
        timestamp=stamp,
        ego2global=ego2global.tolist(),
        images=images,
        lidar_points=dict(
            num_pts_feats=5,
            lidar_path=file_name(name, number, time, LIDAR).name,
            lidar2ego=LIDAR2EGO.tolist(),
        ),
        instances=instances,
        cam_instances=cam_instances,
    )


def _camera_instances(scene: Scene, frame: Frame, channel: str) -> list[dict[str, Any]]:
    camera = scene.cameras[channel]
    global2cam = np.linalg.inv(scene.ego2global(frame.time) @ camera.cam2ego)
    instances = []
    for index, bounds in frame.boxes[channel].items():
        cuboid = scene.cuboids[index]
        pose = global2cam @ _middle(cuboid, frame.time)
        x, y, depth = camera.cam2img @ pose[:3, 3]
        if depth <= 0:  # its middle is behind the camera: no centre to learn
            continue
        width, length, height = cuboid.size.tolist()
        yaw = -np.arctan2(-pose[0, 1], pose[0, 0])
        attribute = cuboid.attribute
        instances.append(
            dict(
                bbox_label=cuboid.label,
                bbox_label_3d=cuboid.label,
                bbox=bounds.tolist(),
                bbox_3d_isvalid=True,
                bbox_3d=[*pose[:3, 3].tolist(), length, height, width, float(yaw)],
                velocity=(global2cam[:3, :3] @ cuboid.velocity)[::2].tolist(),
                center_2d=[float(x / depth), float(y / depth)],
                depth=float(depth),
                # mmdet3d counts "none" as the last attribute.
                attr_label=ATTRIBUTES.index(attribute) if attribute else len(ATTRIBUTES),
            )
        )
    return instances


def _middle(cuboid: Cuboid, time: float) -> np.ndarray:
    pose = cuboid.pose(time)
    pose[2, 3] = cuboid.size[2] / 2
    return pose


def _lidar_box(pose: np.ndarray, cuboid: Cuboid) -> list[float]:
    width, length, height = cuboid.size.tolist()
    yaw = float(np.arctan2(pose[1, 0], pose[0, 0]))
    return [*pose[:3, 3].tolist(), length, width, height, yaw]
