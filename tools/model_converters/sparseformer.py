"""Converts an authors' SparseFormer checkpoint for mmpretrain's ImageClassifier with our backbone.

The training code's checkpoints (its averaged weights where it has them) and the library's are told
apart by their keys.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sparse_mm.checkpoints import mismatches, read_checkpoint, weights_of
from sparse_mm.converters.sparse_former import Converted, convert_sparse_former
from sparse_mm.engine.checks import preflight
from sparse_mm.engine.command_line import run
from sparse_mm.errors import BadInputError
from sparse_mm.models import BootstrappedSparseFormer, SparseFormer
from sparse_mm.models.backbones import bootstrapped_sparse_former, sparse_former

FAMILIES: dict[str, tuple[Any, list[str]]] = {
    'SparseFormer': (SparseFormer, list(sparse_former.ARCHS)),
    'BootstrappedSparseFormer': (
        BootstrappedSparseFormer,
        list(bootstrapped_sparse_former.ARCHS),
    ),
}


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('src', help="the authors' checkpoint")
    parser.add_argument('dst', help='file to write')
    parser.add_argument(
        '--raw', action='store_true', help='take the weights themselves, not their average (EMA)'
    )
    return parser.parse_args()


def choose_weights(checkpoint: Mapping[str, Any], path: str, raw: bool) -> dict[str, Tensor]:
    """Takes the averaged weights where there are any and nothing else is asked for."""
    averaged = checkpoint.get('model_ema')
    if averaged is not None and not raw:
        print('taking model_ema, the averaged weights (--raw takes the others)')
        checkpoint = dict(state_dict=averaged)
    return weights_of(checkpoint, path)


def check_arch(converted: Converted, path: str) -> str:
    """Finds the arch that the weights fit, by their shapes.

    Raises:
        BadInputError: None does; the message names the nearest and what differs.
    """
    backbone = {n: value for n, value in converted.weights.items() if not n.startswith('head.')}
    family, archs = FAMILIES[converted.backbone]
    differences = {}
    for arch in archs:
        with torch.device('meta'):
            own = family(arch).state_dict()
        wrong = mismatches(backbone, own)
        wrong += [f'{name} is missing' for name in own if name not in backbone]
        wrong += [f'{name} is unknown' for name in backbone if name not in own]
        if not wrong:
            return arch
        differences[arch] = wrong
    nearest = min(differences, key=lambda arch: len(differences[arch]))
    raise BadInputError(
        f'{path!r} fits none of {", ".join(archs)}; it looks most like {nearest}, but '
        f'{differences[nearest][0]} ({len(differences[nearest])} differences).'
    )


def main() -> None:
    """Reads, converts, checks, and only then writes."""
    args = parse_args()
    destination = Path(args.dst)
    if destination.exists():
        raise BadInputError(f'{args.dst!r} exists; move it away or choose another name.')
    preflight.check_work_dir(str(destination.parent))
    weights = choose_weights(read_checkpoint(args.src), args.src, args.raw)
    converted = convert_sparse_former(weights)
    arch = check_arch(converted, args.src)
    state = {
        name if name.startswith('head.') else f'backbone.{name}': value.clone()
        for name, value in converted.weights.items()
    }
    torch.save(dict(state_dict=state, meta=dict(arch=arch)), destination)
    print(f'written: {destination} ({converted.backbone}, arch={arch!r}, {len(state)} weights)')


if __name__ == '__main__':
    run(main)
