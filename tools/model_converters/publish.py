"""Makes one file for inference of a training checkpoint: ``publish.py CHECKPOINT OUT``.

The file holds the weights, averaged ones (EMA) if there are any, the pruning ratios, and what is
needed to use them (classes, the config's text); no optimizer and no history. It is a PyTorch
checkpoint (``.pth``) or a ``.safetensors`` file, and can be loaded like any checkpoint.
"""

import argparse
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sparse_mm.checkpoints import read_checkpoint
from sparse_mm.engine.checks import check_work_dir, report
from sparse_mm.engine.command_line import run
from sparse_mm.errors import BadInputError
from sparse_mm.models.backbones.prunable import FORMER_KEY, KEY
from sparse_mm.named_weights import weights_of
from sparse_mm.weights_files import SUFFIX, write_safetensors

# What a training keeps in `meta` that its weights are used with, and what our converter says there.
KEPT_META = (
    *('dataset_meta', 'cfg', 'epoch', 'iter', 'mmengine_version'),
    *('type', 'arch', 'replicates', 'constants'),
)
DTYPES = {'float32': torch.float32, 'float16': torch.float16, 'bfloat16': torch.bfloat16}


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('checkpoint', help='checkpoint of a training')
    parser.add_argument('out', help='file to write: .pth or .safetensors')
    parser.add_argument(
        '--raw', action='store_true', help='take the weights themselves, not their average (EMA)'
    )
    parser.add_argument(
        '--dtype', choices=list(DTYPES), help='dtype of the weights (default: as saved)'
    )
    return parser.parse_args()


def choose_weights(
    checkpoint: Mapping[str, Any], path: str, raw: bool
) -> tuple[dict[str, Tensor], str]:
    """Takes the averaged weights where there are any and nothing else is asked for.

    MMEngine saves the averaged weights as ``state_dict`` and the model's own as
    ``ema_state_dict``; the authors' SparseFormer training saves the average as ``model_ema``.

    Returns:
        The weights, and which they are, for people.

    Raises:
        BadInputError: There are no weights.
    """
    own = checkpoint.get('ema_state_dict')
    if isinstance(own, Mapping):
        weights = weights_of(checkpoint, path)
        # Beside the model, `module.…`, the average has a counter of its own.
        inner = {name: value for name, value in own.items() if name.startswith('module.')}
        trained = weights_of(dict(state_dict=inner), path)
        # The ratios in use are the model's: averages of buffers can be of another day.
        ratios = {name: value for name, value in trained.items() if _is_ratios(name)}
        return (trained, 'as trained') if raw else ({**weights, **ratios}, 'averaged')
    averaged = checkpoint.get('model_ema')
    if isinstance(averaged, Mapping) and not raw:
        return weights_of(dict(state_dict=averaged), path), 'averaged'
    return weights_of(checkpoint, path), 'as trained'


def _is_ratios(name: str) -> bool:
    return name.rpartition('.')[2] in (KEY, FORMER_KEY)


def without_dense_ratios(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Leaves out ratios that prune nothing, so that the names are those of mmdet's Swin."""
    return {
        name: value
        for name, value in weights.items()
        if not _is_ratios(name) or bool(value[:, 0].any())
    }


def by_todays_name(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Gives the ratios the one name that they have today."""
    todays = {
        name.removesuffix(FORMER_KEY) + KEY: value
        for name, value in weights.items()
        if name.endswith(FORMER_KEY)
    }
    return {**todays, **{n: value for n, value in weights.items() if not n.endswith(FORMER_KEY)}}


def describe_ratios(weights: Mapping[str, Tensor]) -> str:
    """The pruning ratios among the weights, block by block, for people."""
    for name, value in weights.items():
        if _is_ratios(name):
            return ', '.join(f'{n / d:g}' for n, d in value.tolist())
    return 'none (dense)'


def plain(value: Any) -> Any:
    """Brings metadata to what JSON can hold: lists for tuples and arrays."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return value.tolist()
    return value.item() if isinstance(value, np.generic) else value


def write(path: Path, weights: dict[str, Tensor], meta: dict[str, Any]) -> None:
    """Writes the file in one step: a kill leaves all of it or nothing."""
    temporary = path.with_name(f'.{path.stem}.{os.getpid()}{path.suffix}')
    try:
        if path.suffix == SUFFIX:
            write_safetensors(str(temporary), weights, meta)
        else:
            own = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
            torch.save(dict(state_dict=own, meta=meta), temporary)
        os.replace(temporary, path)
    except OSError as error:
        raise BadInputError(
            f'{str(path)!r} cannot be written ({error.strerror}); choose another place.'
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def main() -> None:
    """Reads, chooses, checks, and only then writes."""
    args = parse_args()
    out = Path(args.out)
    if out.suffix not in ('.pth', SUFFIX):
        raise BadInputError(f'{args.out!r} must end in .pth or {SUFFIX}.')
    if out.exists():
        raise BadInputError(f'{args.out!r} exists; move it away or choose another name.')
    report(check_work_dir(str(out.parent), 'OUT'))
    checkpoint = read_checkpoint(args.checkpoint)
    weights, which = choose_weights(checkpoint, args.checkpoint, args.raw)
    weights = without_dense_ratios(by_todays_name(weights))
    if args.dtype:
        weights = {
            name: value.to(DTYPES[args.dtype]) if value.is_floating_point() else value
            for name, value in weights.items()
        }
    meta = checkpoint.get('meta')
    meta = plain({k: meta[k] for k in KEPT_META if k in meta}) if isinstance(meta, dict) else {}
    json.dumps(meta)  # both formats hold the same
    write(out, weights, meta)
    print(f'{len(weights)} tensors ({which}); pruning ratios: {describe_ratios(weights)}')
    print(f'written: {out} ({out.stat().st_size / 1e6:.1f} MB)')


if __name__ == '__main__':
    run(main)
