"""All frames of a video file, one at a time: a long film needs no more memory than a short one."""

from collections.abc import Iterator

import numpy as np

from projects.video_recognition.video_recognition.decoding import VideoFile


class VideoStream(VideoFile):
    """Every frame of a video file. The file is decoded once when this is made, to check it.

    Args:
        path: The file.
        step: Every how many frames to take one. Defaults to 1.

    Raises:
        BrokenVideoError: It is not there, has no pictures, or is damaged anywhere.
    """

    def __init__(self, path: str, step: int = 1) -> None:
        super().__init__(path)
        self.step = step
        self._frames = sum(1 for _ in self._decoded())
        if not self._frames:
            raise self._no_frames()

    def __len__(self) -> int:
        return -(-self._frames // self.step)

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yields frames, RGB ``(H, W, 3)`` uint8, upright and with square pixels."""
        for number, frame in enumerate(self._decoded()):
            if number % self.step == 0:
                yield self._picture(frame)

    def _decoded(self) -> Iterator:
        number = 0
        try:
            container = self._open()
        except (OSError, self._av.error.FFmpegError) as error:
            raise self._cannot_be_read(error) from error
        with container:
            try:
                for packet in self._demuxed(container):
                    for frame in packet.decode():
                        if frame.is_corrupt:
                            raise self._damaged(f'frame {number} is')
                        yield frame
                        number += 1
                yield from self.stream.decode(None)
            except self._av.error.FFmpegError as error:
                raise self._damaged(error.strerror or str(error)) from error
