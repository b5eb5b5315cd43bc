"""Frames of a video file, by PyAV: one pass over it, one thread, only wanted frames converted.

A file that cannot be decoded to its end raises an error with the file's name.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from mmengine.registry import TRANSFORMS

from projects.video_recognition.video_recognition.sampling import Sampling
from sparse_mm.engine.videos import BrokenVideoError, VideoFile
from sparse_mm.errors import BadInputError

Choose = Callable[[np.ndarray], np.ndarray]


class Video(VideoFile):
    """A video file, read whole in its compressed form; nothing is decoded yet.

    How many frames it has is counted, and when they are shown is read from each of them: headers
    are not believed.

    Args:
        path: The file.

    Attributes:
        times: When its frames are shown, in seconds, rising: ``(N,)``.

    Raises:
        BrokenVideoError: It is not there, has no pictures, or is damaged.
    """

    def __init__(self, path: str) -> None:
        super().__init__(path)
        try:
            self._read()
        except (OSError, self._av.error.FFmpegError) as error:
            raise self._cannot_be_read(error) from error
        if not len(self.times):
            raise self._no_frames()

    def _read(self) -> None:
        self._container = self._open()
        self.packets = list(self._demuxed(self._container))
        shown = [packet for packet in self.packets if not packet.is_discard]
        self.times = self._times([packet.pts for packet in shown])

    def _times(self, stamps: list[int | None]) -> np.ndarray:
        """Seconds from time stamps; where some are lacking, by the average rate."""
        if any(stamp is None for stamp in stamps):
            return np.arange(len(stamps)) / float(self.rate)
        return np.sort(np.array(stamps, np.float64)) * float(self.stream.time_base)

    def frames(self, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Decodes up to the last wanted frame.

        Args:
            wanted: Places in ``times``, any number, in any order.

        Returns:
            The frames, RGB ``(len(wanted), H, W, 3)`` uint8, upright and with square pixels; and
            None. Where the file has fewer frames than packets, as interlaced ones do: anything, and
            the times of the frames there are.

        Raises:
            BrokenVideoError: A frame on the way is damaged.
        """
        needed, kept = set(wanted.tolist()), {}
        stamps: list[int | None] = []
        last = max(needed)
        try:
            for frame in self._decode():
                if frame.is_corrupt:
                    raise self._damaged(f'frame {len(stamps)} is')
                if len(stamps) in needed:
                    kept[len(stamps)] = self._picture(frame)
                stamps.append(frame.pts)
                if len(stamps) > last and self._as_expected(stamps):
                    return np.stack([kept[place] for place in wanted.tolist()]), None
        except self._av.error.FFmpegError as error:
            raise self._damaged(error.strerror or str(error)) from error
        if not stamps:
            raise self._damaged('none of its frames can be decoded')
        return np.empty(0), self._times(stamps)

    def _decode(self) -> Any:
        context = self.stream.codec_context
        context.flush_buffers()
        for packet in self.packets:
            yield from packet.decode()
        yield from self.stream.decode(None)

    def _as_expected(self, stamps: list[int | None]) -> bool:
        """Whether the frames so far were shown when the packets said."""
        if any(stamp is None for stamp in stamps):
            return True
        shown = np.array(stamps, np.float64) * float(self.stream.time_base)
        return bool(np.allclose(shown, self.times[: len(shown)], atol=1e-3))


def read_frames(path: str, choose: Choose) -> np.ndarray:
    """Reads chosen frames of a video.

    Args:
        path: The file.
        choose: Chooses places among the times of all frames, an array of any shape.

    Returns:
        The frames in the shape of what was chosen, ``(…, H, W, 3)`` uint8, RGB.

    Raises:
        BrokenVideoError: The file is not there, has no pictures, or is damaged.
    """
    video = Video(path)
    places = choose(video.times)
    frames, times = video.frames(places.ravel())
    if times is not None:
        video = Video(path)
        video.times = times
        places = choose(times)
        frames, times = video.frames(places.ravel())
        if times is not None:
            raise BrokenVideoError(f'The video {path!r} has other frames each time it is read.')
    return frames.reshape(*places.shape, *frames.shape[1:])


@TRANSFORMS.register_module()
class DecodeClips:
    """Reads clips of ``video_path`` into ``clips``: ``(num_clips, clip_len, H, W, 3)`` uint8, RGB.

    Args:
        random: Whether clips lie anywhere, as for training. Defaults to False.
        **sampling: See :class:`~projects.video_recognition.video_recognition.sampling.Sampling`.
    """

    def __init__(self, random: bool = False, **sampling: Any) -> None:
        self.random = random
        try:
            self.sampling = Sampling(**sampling)
        except TypeError as error:
            raise BadInputError(f'DecodeClips: {error}.') from error

    @property
    def clip_len(self) -> int:
        """Frames of a clip."""
        return self.sampling.clip_len

    def __call__(self, results: dict) -> dict:
        """Reads.

        Raises:
            BrokenVideoError: The file is not there, has no pictures, or is damaged.
        """
        results['clips'] = read_frames(
            results['video_path'], lambda times: self.sampling.choose(times, self.random)
        )
        return results
