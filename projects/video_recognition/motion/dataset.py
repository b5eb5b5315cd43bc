"""Clips of motions, drawn on the fly, so that no download is needed."""

from typing import Any

from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS

from projects.video_recognition.motion.drawing import CLASSES, draw_clip
from sparse_mm.errors import BadInputError


@DATASETS.register_module()
class MotionClips(BaseDataset):
    """Clips of ten motions in turn, which cannot be distinguished by a single frame.

    Args:
        num_clips: Number of clips.
        frames: Of a clip. Defaults to 16.
        size: Side of a frame in pixels. Defaults to 64.
        seed: Seed of the set; give training and validation different ones. Defaults to 0.
        **kwargs: As for ``BaseDataset``. The pipeline starts with ``clips``,
            ``(1, frames, size, size, 3)`` RGB, and ``gt_label``.

    Raises:
        BadInputError: A number is below 1.
    """

    METAINFO = dict(classes=CLASSES)  # noqa: RUF012, as in the hosts' data sets

    def __init__(
        self, num_clips: int, frames: int = 16, size: int = 64, seed: int = 0, **kwargs: Any
    ) -> None:
        if min(num_clips, frames, size) < 1 or seed < 0:
            raise BadInputError(
                f'num_clips, frames and size must be at least 1, and seed at least 0, not '
                f'{num_clips}, {frames}, {size}, {seed}.'
            )
        self.num_clips, self.frames, self.size, self.seed = num_clips, frames, size, seed
        super().__init__(**kwargs)

    def load_data_list(self) -> list[dict]:
        """Lists the clips."""
        return [
            dict(key=(self.seed, number), gt_label=number % len(CLASSES))
            for number in range(self.num_clips)
        ]

    def get_data_info(self, idx: int) -> dict:
        """Draws a clip."""
        info = super().get_data_info(idx)
        clip = draw_clip(tuple(info['key']), info['gt_label'], self.frames, self.size)
        return {**info, 'clips': clip[None], 'video_path': f'clip {info["key"][1]}'}
