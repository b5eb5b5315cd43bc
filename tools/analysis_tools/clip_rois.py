"""The RoIs and sampling points of a VideoSparseFormer over time, drawn into frames in a row."""

from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from mmengine.config import Config
from torch import Tensor

from sparse_mm.engine.clips import read_views

MOST_FRAMES = 8  # in a row


def load_clip(
    name: str, cfg: Config, model: Any, shape: tuple[int, int] | None = None
) -> tuple[np.ndarray, Tensor]:
    """Prepares a clip as the config's test does; of several views, the first.

    Args:
        name: A video file; or the number of a sample of the test set, from 0.
        cfg: The config.
        model: Its model, which has the preprocessor.
        shape: Height and width to squeeze the frames to; by default the test pipeline's.

    Returns:
        What the model sees, ``(T, H, W, 3)`` uint8, RGB, and its input, ``(1, 3, T, H, W)``.

    Raises:
        BadInputError: There is no such file or sample, or it is no video.
    """
    inputs = read_views(name, cfg, shape)[0]  # (3, T, H, W)
    x = model.data_preprocessor(dict(inputs=inputs[None]), False)['inputs']
    return inputs.permute(1, 2, 3, 0).numpy(), x


def draw_clip(
    frames: np.ndarray,
    iterations: list[tuple[Tensor, Tensor]],
    stages: list[int],
    tokens: list[int],
) -> Figure:
    """Draws a row of frames for each iteration; a token keeps its colour.

    A token's box stands in the frames of its time, a point in the frame that it is nearest to. Of
    long clips some frames are shown, evenly spread.

    Args:
        frames: ``(T, H, W, 3)``.
        iterations: RoIs ``(N, 6)`` and points ``(N, P, 3)`` of each.
        stages: Which iterations, from 1.
        tokens: Which tokens, from 0.
    """
    count, height, width = frames.shape[:3]
    shown = np.unique(np.linspace(0, count - 1, MOST_FRAMES).round().astype(int))
    size = 2.0 * len(shown), len(stages) * (2.0 * height / width + 0.25)
    figure = Figure(figsize=size, dpi=120)
    FigureCanvasAgg(figure)
    colours = colormaps['hsv'](np.linspace(0, 1, len(tokens), endpoint=False))
    times = (shown + 0.5) / count
    for row, stage in enumerate(stages):
        rois, points = (part.numpy() for part in iterations[stage - 1])
        nearest = np.abs(points[..., 2:] - times).argmin(-1)  # (N, P)
        for column, frame in enumerate(shown):
            axes = figure.add_subplot(len(stages), len(shown), row * len(shown) + column + 1)
            axes.imshow(frames[frame], extent=(0, width, height, 0))
            axes.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[])
            which = f'iteration {stage} of {len(iterations)}, ' if column == 0 else ''
            axes.set_title(f'{which}frame {frame}', fontsize=7)
            for token, colour in zip(tokens, colours, strict=True):
                x1, y1, t1, x2, y2, t2 = rois[token]
                # A RoI between two frames' middles is in the nearer one's time.
                if t1 <= times[column] <= t2 or abs((t1 + t2) / 2 - times[column]) <= 0.5 / count:
                    corner = x1 * width, y1 * height
                    box = Rectangle(
                        corner,
                        (x2 - x1) * width,
                        (y2 - y1) * height,
                        fill=False,
                        color=colour,
                        linewidth=0.8,
                    )
                    axes.add_patch(box)
                own = points[token][nearest[token] == column]
                axes.scatter(own[:, 0] * width, own[:, 1] * height, s=3, color=colour, linewidths=0)
    figure.tight_layout()
    return figure
