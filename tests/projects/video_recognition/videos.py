"""Small videos for the tests, written by PyAV."""

from fractions import Fraction
from pathlib import Path

import numpy as np


def level(frame: int, count: int = 48) -> int:
    """How bright a frame is, so that its number can be read off it."""
    return 16 + frame * (220 // count)


def write_video(
    path: Path,
    frames: int = 48,
    size: tuple[int, int] = (48, 64),
    rate: Fraction | int = 24,
    codec: str = 'mpeg4',
    times: list[int] | None = None,
    aspect: Fraction | None = None,
    rotation: int = 0,
    options: dict[str, str] | None = None,
) -> Path:
    """Writes grey frames that brighten; a white bar marks their upper left half."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), 'w', options=options or {}) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width = size
        stream.pix_fmt = 'yuv420p'
        stream.bit_rate = 8_000_000
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        if rotation:
            stream.set_display_rotation(rotation)
        for number in range(frames):
            picture = np.full((*size, 3), level(number, frames), np.uint8)
            picture[: size[0] // 4, : size[1] // 2] = 255
            frame = av.VideoFrame.from_ndarray(picture, format='rgb24')
            if times is not None:
                frame.pts, frame.time_base = times[number], Fraction(1, 1000)
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def write_sound(path: Path) -> Path:
    """Writes a file with sound alone."""
    import av

    with av.open(str(path), 'w') as container:
        stream = container.add_stream('aac', rate=16000, layout='mono')
        for start in range(0, 16000, 1024):
            frame = av.AudioFrame.from_ndarray(
                np.zeros((1, 1024), np.float32), format='fltp', layout='mono'
            )
            frame.sample_rate, frame.pts = 16000, start
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def numbers(clips: np.ndarray, count: int = 48) -> list:
    """The numbers of frames ``(…, H, W, 3)``, read off their lower right corner."""
    corner = clips[..., -6:-2, -6:-2, :].astype(float).mean((-1, -2, -3))
    return np.round((corner - 16) / (220 // count)).astype(int).tolist()
