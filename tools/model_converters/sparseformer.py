"""Converts an authors' SparseFormer checkpoint for mmpretrain's ImageClassifier with our backbone.

Checkpoints of the training code (their averaged weights, if there are any) and of the library are
recognised by their keys, archs by their shapes, and CLIP's by a classifier without a bias. ``meta``
of the file holds the backbone's type and settings: the arch, and for the library's model for clips
``replicates`` and ``constants``.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sparse_mm.checkpoints import read_checkpoint
from sparse_mm.converters.sparse_former import Converted, convert_sparse_former
from sparse_mm.engine.checks import check_work_dir, report
from sparse_mm.engine.command_line import run
from sparse_mm.errors import BadInputError
from sparse_mm.models import BootstrappedSparseFormer, SparseFormer, VideoSparseFormer
from sparse_mm.models.backbones import bootstrapped_sparse_former, sparse_former
from sparse_mm.named_weights import mismatches, weights_of

FAMILIES: dict[str, tuple[Any, dict[str, dict[str, Any]]]] = {
    'SparseFormer': (SparseFormer, sparse_former.ARCHS),
    'BootstrappedSparseFormer': (BootstrappedSparseFormer, bootstrapped_sparse_former.ARCHS),
    'VideoSparseFormer': (VideoSparseFormer, sparse_former.ARCHS),
}


# Under which names training codes keep the averaged weights: the authors', timm's, MMEngine's.
AVERAGED = 'model_ema', 'state_dict_ema', 'ema_state_dict'


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('src', help="the authors' checkpoint")
    parser.add_argument('dst', help='file to write')
    parser.add_argument(
        '--raw', action='store_true', help='take the weights themselves, not their average (EMA)'
    )
    parser.add_argument(
        '--arch', help='arch of a checkpoint without a classifier, where several have its shapes'
    )
    return parser.parse_args()


def choose_weights(checkpoint: Mapping[str, Any], path: str, raw: bool) -> dict[str, Tensor]:
    """Takes the averaged weights where there are any and nothing else is asked for."""
    for name in AVERAGED:
        if isinstance(checkpoint.get(name), Mapping) and not raw:
            print(f'taking {name}, the averaged weights (--raw takes the others)')
            return weights_of(dict(state_dict=checkpoint[name]), path)
    return weights_of(checkpoint, path)


def settings_of(converted: Converted, arch: str) -> dict[str, Any]:
    """The backbone's settings beside its arch, as they follow from its weights.

    Args:
        converted: The weights by our names.
        arch: What they are taken to be.
    """
    if converted.backbone != 'VideoSparseFormer':
        return {}
    tokens = len(converted.weights['token_rois'])
    copies = tokens // sparse_former.ARCHS[arch]['num_tokens']
    return dict(replicates=max(1, copies), constants='library')


def check_arch(converted: Converted, path: str, given: str | None = None) -> str:
    """Finds the arch that the weights fit, by their shapes and their classifier.

    Args:
        converted: The weights by our names.
        path: Their file, for messages.
        given: What the user says it is.

    Raises:
        BadInputError: None fits, or another one than the given; or several do, and the weights
            have no classifier to tell them apart by.
    """
    backbone = {n: value for n, value in converted.weights.items() if not n.startswith('head.')}
    family, archs = FAMILIES[converted.backbone]
    differences = {}
    fits = []
    for arch in archs:
        with torch.device('meta'):
            own = family(arch, **settings_of(converted, arch)).state_dict()
        wrong = mismatches(backbone, own)
        wrong += [f'{name} is missing' for name in own if name not in backbone]
        wrong += [f'{name} is unknown' for name in backbone if name not in own]
        if wrong:
            differences[arch] = wrong
        else:
            fits.append(arch)
    if not fits:
        nearest = min(differences, key=lambda arch: len(differences[arch]))
        counted = all(wrong.startswith('token_') for wrong in differences[nearest])
        if counted and converted.backbone == 'VideoSparseFormer':
            raise BadInputError(
                f'{path!r} has the widths of {nearest}, but {len(backbone["token_rois"])} tokens, '
                f'which are no whole number of copies of its {archs[nearest]["num_tokens"]}.'
            )
        raise BadInputError(
            f'{path!r} fits none of {", ".join(archs)}; it looks most like {nearest}, but '
            f'{differences[nearest][0]} ({len(differences[nearest])} differences).'
        )
    if len(fits) > 1 and 'head.fc.weight' in converted.weights:
        # CLIP's models, the ones with QuickGELU, end in a projection without a bias.
        activation = 'gelu' if 'head.fc.bias' in converted.weights else 'quick_gelu'
        fits = [arch for arch in fits if archs[arch]['activation'] == activation]
    if given is not None and given not in fits:
        raise BadInputError(f'{path!r} is no {given}; it fits {" or ".join(fits)}.')
    if given is None and len(fits) > 1:
        raise BadInputError(
            f'{path!r} fits {" and ".join(fits)}, which only differ in an activation, and has no '
            'classifier to distinguish them; name it with --arch.'
        )
    return given or fits[0]


def main() -> None:
    """Reads, converts, checks, and only then writes."""
    args = parse_args()
    destination = Path(args.dst)
    if destination.exists():
        raise BadInputError(f'{args.dst!r} exists; move it away or choose another name.')
    report(check_work_dir(str(destination.parent), 'DST'))
    weights = choose_weights(read_checkpoint(args.src), args.src, args.raw)
    converted = convert_sparse_former(weights)
    arch = check_arch(converted, args.src, args.arch)
    state = {
        name if name.startswith('head.') else f'backbone.{name}': value.clone()
        for name, value in converted.weights.items()
    }
    settings = dict(arch=arch, **settings_of(converted, arch))
    meta = dict(type=converted.backbone, **settings)
    torch.save(dict(state_dict=state, meta=meta), destination)
    said = ', '.join(f'{name}={value!r}' for name, value in settings.items())
    print(f'written: {destination} ({converted.backbone}, {said}, {len(state)} weights)')


if __name__ == '__main__':
    run(main)
