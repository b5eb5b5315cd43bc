"""The demo's page: its results in one HTML file that needs no other files."""

import base64
import html
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from demo_front import STYLE as FRONT_STYLE
from demo_front import draw_front, read_history
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, init_default_scope
from torch import nn

from sparse_mm.checkpoints import read_checkpoint
from sparse_mm.engine.computed_windows import WindowRecorder
from sparse_mm.engine.inspection import build_model, find_backbone
from sparse_mm.named_weights import weights_of

SCENES = 4
CERTAIN = 0.5  # detections below this score are not drawn
COLOURS = [(66, 133, 244), (219, 68, 55), (15, 157, 88), (244, 180, 0), (171, 71, 188)]
STYLE = (
    """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem;
       color: #222; background: #fff; }
h1, h2 { font-weight: 600; } pre { background: #f4f4f4; padding: 1rem; overflow-x: auto; }
.row { display: flex; flex-wrap: wrap; gap: 1rem; } figure { margin: 0; }
.row figure { flex: 1 1 14rem; } .pair figure { flex: 1 1 24rem; }
img { max-width: 100%; height: auto; display: block; } figcaption { color: #555; }
"""
    + FRONT_STYLE
)


def load_model(cfg: Config, checkpoint: Path) -> nn.Module:
    """A detector with a checkpoint's weights and pruning ratios."""
    model = build_model(cfg)
    weights = weights_of(read_checkpoint(str(checkpoint)), str(checkpoint))
    model.load_state_dict(weights, strict=False)
    return model.eval()


def draw_detections(image: np.ndarray, instances: Any) -> np.ndarray:
    """Draws boxes and masks on an image ``(H, W, 3)``, BGR."""
    drawn = image.copy()
    sure = instances[instances.scores > CERTAIN]
    masks = sure.masks.cpu().numpy() if 'masks' in sure else [None] * len(sure)
    for box, label, score, mask in zip(
        sure.bboxes.tolist(), sure.labels.tolist(), sure.scores.tolist(), masks, strict=True
    ):
        colour = COLOURS[label % len(COLOURS)][::-1]
        if mask is not None:
            drawn[mask] = (0.5 * drawn[mask] + 0.5 * np.array(colour)).astype(np.uint8)
        x1, y1, x2, y2 = (round(value) for value in box)
        cv2.rectangle(drawn, (x1, y1), (x2, y2), colour, 2)
        place = (x1 + 2, max(y1 - 3, 10))
        cv2.putText(drawn, f'{score:.2f}', place, cv2.FONT_HERSHEY_SIMPLEX, 0.4, colour, 1)
    return drawn


def draw_windows(image: np.ndarray, computed: np.ndarray) -> np.ndarray:
    """Darkens what a block does not compute: image ``(H, W, 3)``, tokens ``(h, w)``."""
    size = image.shape[1], image.shape[0]
    light = cv2.resize(computed.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    return np.where(light[..., None] > 0, image, image // 4)


def encode(image: np.ndarray) -> str:
    """An image as the address that holds it."""
    data = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()
    return 'data:image/jpeg;base64,' + base64.b64encode(data).decode()


def encode_png(data: bytes) -> str:
    """A PNG file as the address that holds it."""
    return 'data:image/png;base64,' + base64.b64encode(data).decode()


def read_curves(work_dir: Path) -> dict[str, list[tuple[float, float]]]:
    """Losses and scores of all runs of a training, by step."""
    curves: dict[str, dict[float, float]] = {'loss': {}, 'coco/bbox_mAP': {}}
    for path in sorted(work_dir.glob('*/vis_data/scalars.json')):
        for line in path.read_text().splitlines():
            values = json.loads(line)
            for name, points in curves.items():
                if name in values:
                    points[values['step']] = values[name]
    return {name: sorted(points.items()) for name, points in curves.items()}


def plot_curves(curves: dict[str, list[tuple[float, float]]]) -> bytes:
    """Both curves as a PNG."""
    figure = Figure(figsize=(9, 3), layout='constrained')
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 2)
    titles = {'loss': ('training loss', 'step'), 'coco/bbox_mAP': ('box mAP', 'epoch')}
    for axis, (name, (title, unit)) in zip(axes, titles.items(), strict=True):
        points = curves[name]
        axis.plot([x for x, _ in points], [y for _, y in points], marker='o', markersize=3)
        axis.set(title=title, xlabel=unit)
        axis.grid(alpha=0.3)
    buffer = io.BytesIO()
    figure.savefig(buffer, format='png', dpi=110)
    return buffer.getvalue()


def figure(address: str, caption: str) -> str:
    """An image with its caption."""
    text = html.escape(caption)
    return f'<figure><img src="{address}" alt="{text}"><figcaption>{text}</figcaption></figure>'


@torch.no_grad()
def detect(
    model: nn.Module, samples: Sequence[dict], record: bool
) -> tuple[list[Any], list[list[tuple[int, np.ndarray]]]]:
    """Detections of each sample; and which tokens each block computed, if asked for."""
    found, computed = [], []
    for sample in samples:
        recorder = WindowRecorder(model) if record else None
        found.append(model.test_step(pseudo_collate([sample]))[0].pred_instances)
        if recorder is not None:
            recorder.remove()
            blocks = recorder.passes[0].blocks
            computed.append([(block.stage, block.tokens()[0]) for block in blocks])
    return found, computed


def render(
    title: str, lines: Sequence[str], pairs: str, windows: str, front: str, curves: str
) -> str:
    """Puts the page together."""
    summary = html.escape('\n'.join(lines))
    return f"""<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>{html.escape(title)}</title><style>{STYLE}</style></head>
<body>
<h1>{html.escape(title)}</h1>
<pre id="summary">{summary}</pre>
<h2>Detections: dense and sparse</h2>
<div id="detections" class="row pair">{pairs}</div>
<h2>Which windows each layer computed</h2>
<p>What is dark was not computed: its tokens pass the block unchanged. Layers come in pairs, on the
regular grid and on the one shifted by half a window.</p>
<div id="windows" class="row">{windows}</div>
<h2>The front</h2>
<div id="front">{front}</div>
<h2>Training</h2>
<div id="curves">{curves}</div>
</body>
</html>
"""


def write_page(
    path: Path, cfg: Config, dense: Path, sparse: Path, lines: Sequence[str], scenes: int = SCENES
) -> None:
    """Runs both checkpoints on scenes of the test set and writes the page.

    Args:
        path: The file to write.
        cfg: The config of the run.
        dense: Checkpoint to run dense: the one that the search started from.
        sparse: Checkpoint of the finetuned winner.
        lines: The summary.
        scenes: How many scenes to show.
    """
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    samples = [dataset[i] for i in range(min(scenes, len(dataset)))]
    images = [cv2.imread(sample['data_samples'].img_path) for sample in samples]
    model = load_model(cfg, sparse)
    after, computed = detect(model, samples, record=True)
    if dense.is_file():
        model = load_model(cfg, dense)
    find_backbone(model).set_pruning_ratios(0)
    before, _ = detect(model, samples, record=False)

    pairs = ''.join(
        figure(encode(draw_detections(image, instances)), caption)
        for image, *both in zip(images, before, after, strict=True)
        for instances, caption in zip(both, ('dense', 'sparse'), strict=True)
    )
    windows = ''.join(
        figure(
            encode(draw_windows(images[0], tokens)),
            f'stage {stage + 1}, layer {number}: {tokens.mean():.0%}',
        )
        for number, (stage, tokens) in enumerate(computed[0], start=1)
    )
    search = path.parent / 'sparsity_search'
    front = figure(
        encode_png((search / 'pareto.png').read_bytes()),
        'all candidates, the front, and the winner',
    )
    front += draw_front(read_history(search / 'history.csv'))
    curves = figure(encode_png(plot_curves(read_curves(path.parent))), 'loss and validation')
    title = 'SparseViT on generated scenes'
    path.write_text(render(title, lines, pairs, windows, front, curves))
