"""Clips that tools read and write frame by frame, so that long ones need no more memory."""

import os
import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from sparse_mm.engine.pictures import read_picture
from sparse_mm.engine.videos import VideoStream, import_av
from sparse_mm.errors import BadInputError

# What is read as a clip. MMEngine's file backends are for pictures alone: a clip is a local file.
CLIPS = (
    *('.mp4', '.m4v', '.mov', '.mkv', '.webm', '.avi', '.mpg', '.mpeg', '.ts', '.wmv', '.flv'),
    *('.3gp', '.gif', '.apng'),
)
# What is written, each with its encoders, the best first, and their pixels' formats.
WRITTEN = {
    **dict.fromkeys(
        ('.mp4', '.mov', '.mkv', '.avi'), (('libx264', 'yuv420p'), ('mpeg4', 'yuv420p'))
    ),
    '.webm': (('libvpx-vp9', 'yuv420p'), ('libvpx', 'yuv420p')),
    '.gif': (('gif', 'rgb8'),),
    '.apng': (('apng', 'rgb24'),),
}


class FolderFrames:
    """Pictures of a folder as the frames of a clip, in the order of the numbers in their names.

    Args:
        files: The pictures.
        step: Every how many to take one. Defaults to 1.

    Raises:
        BadInputError: One of them is no picture, or of another size than the first.
    """

    def __init__(self, files: Sequence[Path], step: int = 1) -> None:
        self.files = sorted(files, key=_by_numbers)[::step]
        first = None
        for file in self.files:
            size = read_picture(str(file)).shape[:2]
            if first is not None and size != first:
                raise BadInputError(
                    f'Frames of a clip have one size: {str(file)!r} has {size[1]}x{size[0]} '
                    f'pixels, and {str(self.files[0])!r} {first[1]}x{first[0]}.'
                )
            first = size

    def __len__(self) -> int:
        return len(self.files)

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yields frames, RGB ``(H, W, 3)`` uint8."""
        for file in self.files:
            yield read_picture(str(file))


def _by_numbers(file: Path) -> list[tuple[int, int, str]]:
    """Orders frame_2.png before frame_10.png."""
    words = re.split(r'(\d+)', file.name)
    return [(0, int(word), '') if word.isdecimal() else (1, 0, word) for word in words if word]


def open_clip(
    source: str, pictures: Sequence[Path], step: int, rate: int
) -> tuple[FolderFrames | VideoStream, Fraction]:
    """Opens a clip, and reads all of it once to see that it can be.

    Args:
        source: A video file, or a folder.
        pictures: The folder's pictures.
        step: Every how many frames to take one.
        rate: Frames per second of a folder.

    Returns:
        Its frames, and how many of them a second has.

    Raises:
        BadInputError: It cannot be read to its end.
    """
    if os.path.isdir(source):
        return FolderFrames(pictures, step), Fraction(rate)
    frames = VideoStream(source, step)
    return frames, frames.rate / step


def encoder_for(target: Path) -> tuple[str, str]:
    """The encoder of a clip that is to be written, and its pixels' format.

    Raises:
        BadInputError: The name has no clip's suffix, or PyAV has no encoder for it.
    """
    if target.suffix.lower() not in WRITTEN:
        raise BadInputError(
            f'--out must name a clip ({", ".join(WRITTEN)}) where the input is one, not '
            f'{str(target)!r}.'
        )
    av = import_av()
    for codec, pixels in WRITTEN[target.suffix.lower()]:
        try:
            av.codec.Codec(codec, 'w')
        except ValueError:  # PyAV's own error for codecs is one
            continue
        return codec, pixels
    raise BadInputError(
        f'The installed PyAV cannot write {target.suffix} files; name another kind with --out.'
    )


class ClipWriter:
    """Writes a clip. Its file gets its name when the clip is complete.

    Args:
        target: The file.
        rate: Frames per second.
    """

    def __init__(self, target: Path, rate: Fraction) -> None:
        self.target = target
        # With the process's number: no other file has this name.
        self.part = target.with_name(f'{target.stem}.{os.getpid()}.part{target.suffix}')
        self.codec, self.pixels = encoder_for(target)
        self.rate = rate.limit_denominator(1001)
        self._stream: Any = None

    def __enter__(self) -> 'ClipWriter':
        self._av = import_av()
        self._container = self._av.open(str(self.part), 'w')
        return self

    def add(self, frame: np.ndarray) -> None:
        """Adds a frame, RGB ``(H, W, 3)`` uint8; all get the size of the first."""
        if self._stream is None:
            self._stream = self._container.add_stream(self.codec, rate=self.rate)
            # Encoders with colours at half size take even sides alone.
            self._stream.height, self._stream.width = (side - side % 2 for side in frame.shape[:2])
            self._stream.pix_fmt = self.pixels
            if self.codec == 'mpeg4':
                self._stream.bit_rate = 8_000_000
        size = self._stream.height, self._stream.width
        if abs(frame.shape[0] - size[0]) > 1 or abs(frame.shape[1] - size[1]) > 1:
            frame = cv2.resize(frame, size[::-1], interpolation=cv2.INTER_AREA)
        frame = np.ascontiguousarray(frame[: size[0], : size[1]])
        self._mux(self._av.VideoFrame.from_ndarray(frame, format='rgb24'))

    def _mux(self, frame: Any) -> None:
        for packet in self._stream.encode(frame):
            self._container.mux(packet)

    def __exit__(self, kind: Any, *_: Any) -> None:
        try:
            if kind is None:
                self._mux(None)
            self._container.close()
            if kind is None:
                os.replace(self.part, self.target)
        finally:
            self.part.unlink(missing_ok=True)
