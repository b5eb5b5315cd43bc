"""Selects the frames of a video for a clip."""

from dataclasses import dataclass

import numpy as np

from sparse_mm.errors import BadInputError


@dataclass(frozen=True)
class Sampling:
    """How clips are taken from a video.

    *Dense* clips are windows of frames at a fixed distance; *uniform* ones take a frame from each
    of as many equal parts of the whole video as they have frames.

    Args:
        clip_len: Frames of a clip.
        frame_interval: Between neighbours of a dense clip: a whole number of frames, or seconds
            with ``unit='second'``.
        unit: ``'frame'`` or ``'second'``. Seconds are met by the frames' own times, whatever the
            rate, and whether it is constant.
        num_clips: Clips of a video. Several are spread evenly over it, from its first frame to its
            last.
        mode: ``'dense'`` or ``'uniform'``.
        short: What a dense window does that is longer than the video: ``'loop'`` begins again,
            ``'repeat_last'`` stays at the last frame. Looping clips of a video begin at different
            places of it.

    Raises:
        BadInputError: A setting is unknown or out of range.
    """

    clip_len: int
    frame_interval: float = 1
    unit: str = 'frame'
    num_clips: int = 1
    mode: str = 'dense'
    short: str = 'loop'

    def __post_init__(self) -> None:
        """Checks the settings."""
        for name, known in (
            ('unit', ('frame', 'second')),
            ('mode', ('dense', 'uniform')),
            ('short', ('loop', 'repeat_last')),
        ):
            if getattr(self, name) not in known:
                raise BadInputError(
                    f'{name} must be one of {", ".join(known)}, not {getattr(self, name)!r}.'
                )
        for name in ('clip_len', 'num_clips'):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1:
                raise BadInputError(
                    f'{name} must be a whole number of at least 1, not {getattr(self, name)!r}.'
                )
        whole = self.unit == 'second' or self.frame_interval == int(self.frame_interval)
        if not self.frame_interval > 0 or not whole:
            kind = 'a whole number of frames' if self.unit == 'frame' else 'seconds'
            raise BadInputError(
                f'frame_interval must be {kind} above 0, not {self.frame_interval!r}.'
            )

    def choose(self, times: np.ndarray, random: bool) -> np.ndarray:
        """Chooses frames.

        Args:
            times: When the video's frames are shown, in seconds, rising.
            random: Whether clips lie anywhere (training), by numpy's global generator; otherwise at
                their places for testing, a single one in the middle.

        Returns:
            Places in ``times``, ``(num_clips, clip_len)``.
        """
        if self.mode == 'uniform':
            return self._uniform(len(times), random)
        if self.unit == 'frame':
            axis = np.arange(len(times), dtype=np.float64)
            period = float(len(times))
        else:
            axis = times - times[0]
            gap = axis[-1] / (len(axis) - 1) if len(axis) > 1 else self.frame_interval
            period = axis[-1] + gap
        positions = self._windows(axis[-1], period, random)  # (num_clips, clip_len)
        # The nearest frame: halfway between two, the later one.
        return np.searchsorted((axis[1:] + axis[:-1]) / 2, positions, side='right')

    def _windows(self, end: float, period: float, random: bool) -> np.ndarray:
        """Positions of dense windows on an axis from 0 to ``end``."""
        steps = np.arange(self.clip_len) * self.frame_interval
        room = end - steps[-1]
        if room < -1e-9:
            starts = np.zeros(self.num_clips)
            if self.short == 'repeat_last':
                return np.minimum(starts[:, None] + steps, end)
            if random:
                starts = np.random.uniform(0, period, self.num_clips)
            elif self.num_clips > 1:
                starts = np.arange(self.num_clips) * period / self.num_clips
            if self.unit == 'frame':
                starts = np.floor(starts)
            return (starts[:, None] + steps) % period
        room = max(room, 0.0)
        if random and self.unit == 'frame':
            starts = np.floor(np.random.uniform(0, room + 1, self.num_clips))
        elif random:
            starts = np.random.uniform(0, room, self.num_clips)
        elif self.num_clips == 1:
            starts = np.array([room / 2])
        else:
            starts = np.linspace(0, room, self.num_clips)
        if self.unit == 'frame':
            starts = np.floor(starts)
        return starts[:, None] + steps

    def _uniform(self, count: int, random: bool) -> np.ndarray:
        shape = self.num_clips, self.clip_len
        if random:
            inside = np.random.uniform(0, 1, shape)
        else:
            inside = np.repeat((np.arange(shape[0])[:, None] + 0.5) / shape[0], shape[1], axis=1)
        places = (np.arange(self.clip_len) + inside) * count / self.clip_len
        return np.minimum(places.astype(np.int64), count - 1)
