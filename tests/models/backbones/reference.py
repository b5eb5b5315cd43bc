"""The weights and images, computed by a formula, of the authors' reference outputs."""

import json
import runpy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor


def formula_state(shapes: dict[str, list[int]], seed: int) -> dict[str, Tensor]:
    state = {}
    for i, name in enumerate(sorted(shapes)):
        noise = np.random.RandomState(seed * 1000 + i).standard_normal(size=shapes[name])
        noise = torch.from_numpy(np.asarray(noise, np.float32))
        if len(shapes[name]) == 1 and name.endswith('weight'):
            state[name] = 1 + 0.1 * noise
        elif 'roi_adjust' in name:
            state[name] = 0.004 * noise
        else:
            state[name] = 0.05 * noise
    return state


def load_reference(path: Path) -> tuple[dict, dict[str, Tensor], Tensor, dict[str, Tensor]]:
    """Returns the settings, the weights, the image and the outputs of a reference file."""
    arrays = np.load(path)
    meta = json.loads(str(arrays['meta']))
    state = formula_state(meta['shapes'], meta['seed'])
    image = np.random.RandomState(meta['seed']).standard_normal(size=meta['shape'])
    outputs = {}
    for name in arrays.files:
        if name.startswith('keep:'):
            state[name.removeprefix('keep:')] = torch.from_numpy(arrays[name])
        elif name != 'meta':
            outputs[name] = torch.from_numpy(arrays[name])
    return meta, state, torch.from_numpy(image.astype(np.float32)), outputs


def load_tame(
    shared: Callable[[str], Path], name: str
) -> tuple[dict[str, Tensor], Tensor, dict[str, Tensor]]:
    """Gives the weights, the image and the float64 outputs of a reference under which rounding
    stays rounding."""
    recipe = runpy.run_path(str(shared('reference/tame.py')))
    arrays = np.load(shared(f'reference/{name}.npz'))
    meta = json.loads(str(arrays['meta']))
    state = recipe['tame_state'](meta['shapes'], meta['seed'])
    image = torch.from_numpy(recipe['tame_image'](meta['shape'], meta['seed']))
    outputs = {key: torch.from_numpy(arrays[key]) for key in arrays.files if key != 'meta'}
    return {key: torch.from_numpy(value) for key, value in state.items()}, image, outputs


def relative_error(found: Tensor, expected: Tensor) -> float:
    return ((found - expected).norm() / expected.norm()).item()
