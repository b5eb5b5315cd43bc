"""Video files, by PyAV: opened, checked, and read frame by frame, one at a time.

A file that cannot be decoded to its end raises an error with the file's name.
"""

from collections.abc import Iterator
from fractions import Fraction
from types import ModuleType
from typing import Any

import cv2
import numpy as np

from sparse_mm.errors import BadInputError


class BrokenVideoError(BadInputError):
    """A video is not there, has no pictures, or is damaged."""


def import_av() -> ModuleType:
    """Imports PyAV.

    Raises:
        BadInputError: It is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise BadInputError(
            'Videos are decoded by PyAV, which is not installed; '
            'pip install -r requirements/video.txt.'
        ) from error
    return av


class VideoFile:
    """A video file that is read from its beginning to its end.

    Args:
        path: The file.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._av = import_av()

    def _open(self) -> Any:
        """Opens the file; what it gives must be kept, else PyAV closes it."""
        container = self._av.open(self.path)
        if not container.streams.video:
            only = ', only sound' if container.streams.audio else ''
            raise BrokenVideoError(f'The video {self.path!r} has no pictures{only}; leave it out.')
        self.stream = container.streams.video[0]
        self.stream.codec_context.thread_count = 1
        ratio = self.stream.sample_aspect_ratio or self.stream.codec_context.sample_aspect_ratio
        self.pixel_aspect = float(ratio) if ratio else 1.0
        return container

    def _demuxed(self, container: Any) -> Iterator[Any]:
        """The packets of the pictures; an error where the file ends too early."""
        end = 0.0
        for packet in container.demux():
            stamp = packet.pts if packet.pts is not None else packet.dts
            if stamp is not None and packet.time_base is not None:
                end = max(end, float((stamp + (packet.duration or 0)) * packet.time_base))
            if packet.stream.index != self.stream.index or not packet.size:
                continue
            if packet.is_corrupt:
                raise self._damaged('a part of it is missing')
            yield packet
        # Matroska's reader does not say that a file ends too early.
        lasts = (container.duration or 0) / self._av.time_base
        if 'matroska' in container.format.name and end < lasts - 0.15 - 0.01 * lasts:
            raise self._damaged(f'it ends after {end:.1f} of {lasts:.1f} seconds')

    def _cannot_be_read(self, error: Exception) -> BrokenVideoError:
        return BrokenVideoError(
            f'The video {self.path!r} cannot be read ({getattr(error, "strerror", "") or error}); '
            'copy it again, or leave it out.'
        )

    def _no_frames(self) -> BrokenVideoError:
        return BrokenVideoError(f'The video {self.path!r} has no frames: it is cut short or empty.')

    @property
    def rate(self) -> Fraction:
        """Frames per second, on average, as the file says."""
        return Fraction(self.stream.average_rate or self.stream.guessed_rate or 25)

    def _picture(self, frame: Any) -> np.ndarray:
        picture = frame.to_ndarray(format='rgb24')
        if abs(self.pixel_aspect - 1) > 1e-3:
            size = max(1, round(picture.shape[1] * self.pixel_aspect)), picture.shape[0]
            picture = cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR)
        turns = round(frame.rotation / 90) % 4
        return np.ascontiguousarray(np.rot90(picture, turns)) if turns else picture

    def _damaged(self, how: str) -> BrokenVideoError:
        return BrokenVideoError(
            f'The video {self.path!r} is damaged ({how}); copy it again, or leave it out.'
        )


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
