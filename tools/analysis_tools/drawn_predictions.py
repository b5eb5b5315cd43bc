"""A model's predictions for an image, drawn by its host's visualizer."""

from typing import Any

import numpy as np
from matplotlib import colormaps
from mmengine.config import Config
from mmengine.registry import DATASETS

from sparse_mm.checkpoints import read_checkpoint
from sparse_mm.engine.hosts import host_of, load
from sparse_mm.engine.inspection import leaf_datasets


def class_names(cfg: Config, checkpoint: str) -> dict[str, Any]:
    """Names and colours of the classes: those that the checkpoint was trained on, or the config's.

    Returns:
        As a data set's ``metainfo``; empty where nobody says.
    """
    meta = read_checkpoint(checkpoint).get('meta') or {}
    names = {str(key).lower(): value for key, value in (meta.get('dataset_meta') or {}).items()}
    if names.get('classes') or not cfg.get('test_dataloader'):
        return names
    dataset = next(leaf_datasets(cfg.test_dataloader.dataset))
    kind = dataset['type'] if isinstance(dataset['type'], type) else DATASETS.get(dataset['type'])
    return {**getattr(kind, 'METAINFO', {}), **(dataset.get('metainfo') or {})}


def draw_predictions(
    cfg: Config, names: dict[str, Any], image: np.ndarray, sample: Any, score_thr: float
) -> np.ndarray:
    """Draws what a model found, by its host's visualizer: ``(H, W, 3)`` uint8, RGB."""
    visualizer = load(host_of(cfg).visualizer or '')(name='visualize_sparsity')
    visualizer.dataset_meta = dict(names)
    if 'pred_label' in sample:  # classes of whole pictures
        return np.asarray(visualizer.visualize_cls(image, sample, draw_gt=False))
    options = {}
    if 'pred_sem_seg' in sample:
        found = int(sample.pred_sem_seg.data.max()) + 1
        classes = list(names.get('classes') or [])
        classes += [str(number) for number in range(len(classes), found)]
        palette = [list(colour) for colour in names.get('palette') or []]
        colours = colormaps['hsv'](np.linspace(0, 1, len(classes), endpoint=False))[:, :3]
        palette += (255 * colours[len(palette) :]).astype(int).tolist()
        visualizer.dataset_meta = dict(classes=classes, palette=palette)
    if 'pred_instances' in sample:
        options = dict(pred_score_thr=score_thr)
    visualizer.add_datasample('found', image, sample, draw_gt=False, **options)
    return np.asarray(visualizer.get_image())
