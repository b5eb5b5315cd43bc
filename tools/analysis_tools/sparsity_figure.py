"""The figure of one image: layers that computed each window, and the predictions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from mmengine.config import Config
from mmengine.dataset import pseudo_collate

from sparse_mm.engine.computed_windows import WindowRecorder, join_crops, paint_layers
from sparse_mm.engine.hosts import host_of
from sparse_mm.engine.image_sizes import sliding_window
from sparse_mm.engine.inspection import find_backbone
from sparse_mm.engine.pictures import (
    SeenPicture,
    panel_size,
    shown_picture,
    squeezed,
    through_test_pipeline,
)
from tools.analysis_tools.drawn_predictions import draw_predictions
from tools.analysis_tools.half_size import at_half_size, gmacs
from tools.analysis_tools.window_usage import BackboneAlone


@torch.no_grad()
def run_model(
    model: Any, cfg: Config, shown: SeenPicture, names: dict[str, Any], score_thr: float
) -> tuple[np.ndarray, int, np.ndarray, str]:
    """Runs the model on a picture.

    Args:
        model: The model.
        cfg: Its config.
        shown: The picture, as the model sees it.
        names: Its classes, see :func:`class_names`.
        score_thr: Least score of a drawn box.

    Returns:
        How many layers computed each pixel of the original, ``(H, W)``; of how many; the
        original with the predictions drawn in, ``(H, W, 3)``; and its title.
    """
    recorder = WindowRecorder(model)
    size = int(shown.inputs.shape[-2]), int(shown.inputs.shape[-1])
    finds = shown.packed is not None and host_of(cfg).visualizer is not None
    window, stride, beside, title = None, None, shown.original, 'image'
    try:
        if finds and not isinstance(model, BackboneAlone):
            sample = model.test_step(pseudo_collate([shown.packed]))[0].cpu()
            beside, title = shown.original.copy(), 'predictions'
            beside = draw_predictions(cfg, names, beside, sample, score_thr)
            window = sliding_window(cfg)
            if window is not None:
                stride = tuple(cfg.model.test_cfg['stride'])
        else:
            find_backbone(model)(shown.inputs)
    finally:
        recorder.remove()
    counts = join_crops(recorder.passes, size, window, stride)[0]
    return shown.on_original(counts), recorder.layers, beside, title


def dense_at_half_size(
    model: Any, cfg: Config, shown: SeenPicture, names: dict[str, Any], score_thr: float
) -> tuple[tuple[np.ndarray, str], str]:
    """What the dense model finds at half of the size, as :func:`run_model` gives it.

    Returns:
        The picture with its title, and what pruning costs at full size, for that one's title.
    """
    backbone = find_backbone(model)
    small = at_half_size(shown, model.data_preprocessor)
    ratios = backbone.pruning_ratios
    pruned = f', {gmacs(backbone, shown.inputs):.2f} GMACs'
    backbone.set_pruning_ratios(0)
    try:
        _, _, beside, _ = run_model(model, cfg, small, names, score_thr)
        title = f'dense at half of the size, {gmacs(backbone, small.inputs):.2f} GMACs'
    finally:
        backbone.set_pruning_ratios(ratios)
    if beside is shown.original:  # the backbone alone ran: what it saw is all there is to show
        beside = shown_picture(small.inputs[0], cfg)
    return (beside, title), pruned


def draw(
    image: np.ndarray,
    counts: np.ndarray,
    layers: int,
    beside: Sequence[tuple[np.ndarray, str]],
    share: float,
) -> Figure:
    """Draws the pictures side by side.

    Args:
        image: ``(H, W, 3)`` uint8, RGB.
        counts: How many layers computed each pixel, ``(H, W)``; -1 for what the model does not see.
        layers: How many there are.
        beside: Pictures to draw beside it, of any size, each with its title.
        share: Of all layers, over what the model sees.
    """
    panels = 1 + len(beside)
    width, height = panel_size(counts.shape, 6.0)
    figure = Figure(figsize=((width + 0.5) * panels, height + 0.6), dpi=120, layout='constrained')
    FigureCanvasAgg(figure)
    left, *others = figure.subplots(1, panels)
    left.imshow(paint_layers(image, counts, layers))
    left.set_title(f'layers that computed each window ({share:.0%} of all)', fontsize=10)
    for axes, (picture, title) in zip(others, beside, strict=True):
        axes.imshow(picture)
        axes.set_title(title, fontsize=10)
    for axes in (left, *others):
        axes.set(xticks=[], yticks=[])
    colours = ScalarMappable(Normalize(0, layers), 'viridis')
    figure.colorbar(colours, ax=left, label=f'of {layers} layers', fraction=0.03, pad=0.01)
    return figure


@dataclass(frozen=True)
class Drawer:
    """Draws the figure of one picture after another.

    Attributes:
        model: The model.
        cfg: Its config.
        names: Its classes, see :func:`class_names`.
        score_thr: Least score of a drawn box.
        shape: ``(H, W)`` to squeeze pictures to; None for the test pipeline.
        half_size: Whether the dense model at half of the size stands beside it.
    """

    model: Any
    cfg: Config
    names: dict[str, Any]
    score_thr: float
    shape: tuple[int, int] | None
    half_size: bool

    @property
    def layers(self) -> int:
        """How many layers the backbone has."""
        return sum(find_backbone(self.model).depths)

    def figure(self, path: str) -> tuple[Figure, float]:
        """The figure of a picture, and the share of the layers that computed a pixel."""
        shown = (
            squeezed(path, self.cfg, self.shape)
            if self.shape
            else through_test_pipeline(path, self.cfg, self.model.data_preprocessor)
        )
        about = self.cfg, shown, self.names, self.score_thr
        counts, layers, beside, title = run_model(self.model, *about)
        share = float(counts[counts >= 0].mean()) / layers
        panels = [(beside, title)]
        if self.half_size:
            small, cost = dense_at_half_size(self.model, *about)
            panels = [(beside, title + cost), small]
        return draw(shown.original, counts, layers, panels, share), share
