"""Runs an exported whole model on images: ``run_exported.py model.onnx IMAGE ...``.

Classifiers and segmentors need this file, numpy, OpenCV and ONNX Runtime or OpenVINO. The boxes of
a detector are decoded by the rest of its model in PyTorch, from --config and --checkpoint. Clips
are read by the test pipeline of --config; the scores of a video's views are averaged.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np

Run = Callable[[np.ndarray], list[np.ndarray]]


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    path = os.path.expanduser
    parser.add_argument(
        'model', type=path, help='file that export.py --whole wrote, its JSON beside it'
    )
    parser.add_argument('images', nargs='+', type=path, help='image files, or videos')
    parser.add_argument(
        '--engine',
        choices=['onnxruntime', 'openvino'],
        default='onnxruntime',
        help='engine that runs the file',
    )
    parser.add_argument('--config', type=path, help='config, for detectors and models of clips')
    parser.add_argument('--checkpoint', type=path, help='checkpoint, for detectors')
    parser.add_argument(
        '--score', type=float, default=0.3, help='lowest score of boxes to print (default: 0.3)'
    )
    parser.add_argument(
        '--out', type=path, help="folder for segmentors' maps, as PNG of class numbers"
    )
    return parser.parse_args()


def fail(message: str) -> None:
    """Ends with one sentence."""
    sys.exit(f'error: {message}')


def read_description(model: Path) -> dict[str, Any]:
    """Reads the JSON beside an exported model."""
    path = model.with_suffix('.json')
    if not model.is_file():
        fail(f'There is no exported model {str(model)!r}; write one with export.py --whole.')
    try:
        description = json.loads(path.read_text())
        return dict(description, preprocessing=dict(description['preprocessing']))
    except (OSError, ValueError, KeyError, TypeError):
        fail(f'{str(path)!r} does not describe the model; export it again with export.py --whole.')
        raise


def load(model: Path, engine: str) -> Run:
    """Makes a function that runs a file."""
    if find_spec(engine) is None:
        fail(f'--engine {engine} needs {engine}; pip install {engine}.')
    try:
        if engine == 'onnxruntime':
            import onnxruntime

            session = onnxruntime.InferenceSession(str(model), providers=['CPUExecutionProvider'])
            name = session.get_inputs()[0].name
            return lambda images: session.run(None, {name: images})
        import openvino

        compiled = openvino.Core().compile_model(str(model), 'CPU')
        return lambda images: list(compiled([images]).values())
    except Exception as error:  # each engine has kinds of its own for a file that is cut off
        fail(f'{str(model)!r} cannot be read ({str(error).splitlines()[0]}); export it again.')
        raise


def read_image(path: str, preprocessing: dict[str, Any]) -> tuple[np.ndarray, tuple[int, int]]:
    """Reads an image and makes it fit: ``(1, 3, H, W)``; gives its own ``(H, W)``, too."""
    image = cv2.imread(path)
    if image is None:
        fail(f'The image {path!r} cannot be read.')
    shape = image.shape[:2]
    height, width = preprocessing['size']
    image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.float32)
    if preprocessing['channels'] == 'RGB':
        image = image[..., ::-1]
    image = (image - np.float32(preprocessing['mean'])) / np.float32(preprocessing['std'])
    return np.ascontiguousarray(image.transpose(2, 0, 1))[None], shape


def read_clips(path: str, config: str, description: dict[str, Any]) -> np.ndarray:
    """Reads the views of a video as the config's test does: ``(V, 3, T, H, W)``."""
    from sparse_mm.engine.clips import read_views
    from sparse_mm.engine.config_file import read_config
    from sparse_mm.errors import BadInputError

    preprocessing = description['preprocessing']
    try:
        views = read_views(path, read_config(config)).numpy()
    except BadInputError as error:
        fail(str(error))
    expected = (preprocessing['frames'], *preprocessing['size'])
    if views.shape[2:] != expected:
        fail(
            f'The test of {config!r} gives clips of {"x".join(map(str, views.shape[2:]))}, and the '
            f'exported model takes {"x".join(map(str, expected))}; export it again, or name the '
            'config that it was exported with.'
        )
    mean, std = (
        np.asarray(preprocessing[name], np.float32)[:, None, None, None] for name in ('mean', 'std')
    )
    return (views.astype(np.float32) - mean) / std


def mean_scores(run: Run, views: np.ndarray, batch: int | None) -> np.ndarray:
    """Means the scores of a video's views: ``(V, 3, T, H, W)`` -> ``(classes,)``.

    Args:
        run: Computes the exported graph.
        views: Of the video.
        batch: How many the graph takes at once; None for any number. A part that is filled up with
            the last view counts that view once.
    """
    size = batch or 1
    scores = []
    for start in range(0, len(views), size):
        part = views[start : start + size]
        filled = part[np.minimum(np.arange(size), len(part) - 1)]
        scores.append(run(np.ascontiguousarray(filled))[0][: len(part)])
    mean: np.ndarray = np.concatenate(scores).mean(axis=0)
    return mean


def detections(
    args: argparse.Namespace, description: dict[str, Any], outputs: list[np.ndarray], own: Any
) -> list[str]:
    """Decodes a detector's outputs; gives a line for each box."""
    import torch
    from mmdet.structures import DetDataSample

    from sparse_mm.deploy.whole_model import finish_detection

    height, width = description['preprocessing']['size']
    sample = DetDataSample()
    factor = (width / own[1], height / own[0])
    shape = (height, width)
    sample.set_metainfo(dict(ori_shape=own, img_shape=shape, pad_shape=shape, scale_factor=factor))
    tensors = [torch.from_numpy(output) for output in outputs]
    with torch.no_grad():
        model = detector(args.config, args.checkpoint)
        found = finish_detection(model, tensors, description['neck_levels'], [sample])[0]
    lines = []
    instances = found.pred_instances
    for label, score, box in zip(
        instances.labels.tolist(), instances.scores.tolist(), instances.bboxes.tolist(), strict=True
    ):
        if score >= args.score:
            corners = ' '.join(f'{value:.1f}' for value in box)
            lines.append(f'{class_name(description, label)} {score:.3f} {corners}')
    return lines or ['nothing']


@lru_cache(maxsize=1)
def detector(config: str, checkpoint: str) -> Any:
    """Builds a detector with its weights, once for all images."""
    from sparse_mm.checkpoints import read_checkpoint
    from sparse_mm.engine.checks import check_checkpoint, report
    from sparse_mm.engine.config_file import read_config
    from sparse_mm.engine.inspection import (
        build_model,
    )
    from sparse_mm.errors import BadInputError
    from sparse_mm.named_weights import weights_of

    try:
        model = build_model(read_config(config))
        report(check_checkpoint(checkpoint, model, whole=True))
    except BadInputError as error:
        fail(str(error))
    model.load_state_dict(weights_of(read_checkpoint(checkpoint), checkpoint), strict=False)
    return model


def class_name(description: dict[str, Any], label: int) -> str:
    """A class's name, or its number where the checkpoint named none."""
    classes = description.get('classes') or []
    return str(classes[label]) if label < len(classes) else str(label)


def classes_of(logits: np.ndarray, threshold: float | None) -> np.ndarray:
    """``(C, H, W)`` logits -> ``(H, W)`` uint8 classes.

    Args:
        logits: Of each class; with a threshold of class 1 alone.
        threshold: The sigmoid above which a pixel is of class 1, not 0.
    """
    if threshold is None:
        return logits.argmax(axis=0).astype(np.uint8)
    return (1 / (1 + np.exp(-logits[0])) > threshold).astype(np.uint8)


def main() -> None:
    """Runs the model image by image and prints what it found."""
    args = parse_args()
    model = Path(args.model)
    description = read_description(model)
    kind = description['kind']
    if kind == 'detector' and not (args.config and args.checkpoint):
        fail("A detector's boxes are decoded by its model: give --config and --checkpoint.")
    in_clips = 'frames' in description['preprocessing']
    if in_clips and not args.config:
        fail('Clips are read by the test pipeline of their config: give --config.')
    run = load(model, args.engine)
    for path in args.images:
        shape = (0, 0)
        if in_clips:
            views = read_clips(path, args.config, description)
            outputs = [mean_scores(run, views, description['outputs']['scores'][0])[None]]
        else:
            image, shape = read_image(path, description['preprocessing'])
            outputs = run(image)
        print(path)
        if kind == 'classifier':
            for label in np.argsort(-outputs[0][0])[:5]:
                print(f'  {class_name(description, label)} {outputs[0][0][label]:.4f}')
        elif kind == 'segmentor':
            classes = classes_of(outputs[0][0], description.get('threshold'))
            classes = cv2.resize(classes, shape[::-1], interpolation=cv2.INTER_NEAREST)
            for label, count in zip(*np.unique(classes, return_counts=True), strict=True):
                print(f'  {class_name(description, label)} {count / classes.size:.1%} of the image')
            if args.out:
                Path(args.out).mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(Path(args.out) / f'{Path(path).stem}.png'), classes)
        else:
            for line in detections(args, description, outputs, shape):
                print(f'  {line}')


if __name__ == '__main__':
    main()
