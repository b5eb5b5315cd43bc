"""Frames of several cameras, checked before a model learns from them.

A camera that is missing from one frame, or a calibration that cannot be inverted, would stop a run
after hours, or fill its gradients with NaN.
"""

from typing import Any

import numpy as np

from sparse_mm.named_weights import first_few


def check_cameras(dataset: Any, split: str) -> list[str]:
    """Checks the cameras of every frame of a data set that reads their images.

    Args:
        dataset: mmdet3d's data set, loaded; of any other kind, nothing is checked.
        split: Name for the message.

    Returns:
        Which frames lack a camera that others have, and which matrices are singular.
    """
    if not getattr(dataset, 'modality', {}).get('use_camera'):
        return []
    problems = []
    seen: list[tuple[str, frozenset[str]]] = []
    singular: list[str] = []
    for i in range(len(dataset)):  # whole frames, one at a time: all of them would not fit memory
        frame = dataset.get_data_info(i)
        images = frame.get('images')
        images = images if isinstance(images, dict) else {}
        seen.append((_name(frame), frozenset(images)))
        for camera, image in images.items():
            for key in ('cam2img', 'lidar2cam'):
                matrix = np.asarray(image.get(key, np.eye(3)), dtype=np.float64)
                # Rotations have a determinant of 1 and intrinsics of their squared focal length.
                if not np.isfinite(matrix).all() or abs(np.linalg.det(matrix)) < 1e-6:
                    singular.append(f'{key} of {camera} in {_name(frame)}')
    if singular:
        verb = 'is' if len(singular) == 1 else 'are'
        problems.append(
            f'The {split} set has a calibration that cannot be inverted: {first_few(singular)} '
            f'{verb} singular; correct it in the info file.'
        )
    if getattr(dataset, 'load_type', '') != 'frame_based':
        return problems  # each sample has one camera of its own
    cameras = frozenset().union(*(names for _, names in seen))
    lacking = [
        f'{", ".join(sorted(cameras - names))} in {name}'
        for name, names in seen
        if names != cameras
    ]
    if lacking:
        problems.append(
            f'The {split} set lacks {first_few(lacking)}, which other frames have; make the info '
            'file again from complete data.'
        )
    return problems


def _name(frame: dict) -> str:
    return f'frame {frame.get("sample_idx")} (token {frame.get("token")!r})'
