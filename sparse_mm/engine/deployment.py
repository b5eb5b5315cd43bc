"""``--engine`` and ``--precision`` of the tools: the config's backbone, deployed."""

import argparse
import re
from collections.abc import Sequence
from typing import Any

from mmengine.config import Config, ConfigDict

from sparse_mm.deploy import ENGINES, PRECISIONS, DeployedBackbone, check_engine
from sparse_mm.engine.hosts import is_kind
from sparse_mm.engine.inspection import backbone_places
from sparse_mm.errors import BadInputError

DEPLOYED = DeployedBackbone.__name__


def add_engine_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options for the engine of the backbone."""
    parser.add_argument(
        '--engine',
        choices=list(ENGINES),
        default=None,
        help='what computes the backbone: PyTorch, or a graph of it in another engine (default: '
        'torch)',
    )
    parser.add_argument(
        '--precision',
        choices=list(PRECISIONS),
        default=None,
        help='of the backbone in that engine; bfloat16 is wholly in it, without autocast (default: '
        'float32)',
    )


def add_sizes_option(parser: argparse.ArgumentParser) -> None:
    """Adds the option for pipelines that give images of many sizes."""
    parser.add_argument(
        '--sizes',
        nargs='+',
        help='of the graphs of --engine: HxW of each, or a number that the sides are to be '
        'multiples of; images are padded to the smallest (default: a graph for each size)',
    )


def read_sizes(given: Sequence[str] | None) -> int | list[tuple[int, int]] | None:
    """Reads ``--sizes``.

    Raises:
        BadInputError: It is neither a number nor a list of sizes.
    """
    if given is None:
        return None
    if len(given) == 1 and re.fullmatch('[1-9][0-9]*', given[0]):
        return int(given[0])
    found = [re.fullmatch('([1-9][0-9]*)x([1-9][0-9]*)', text) for text in given]
    sizes = [(int(match[1]), int(match[2])) for match in found if match]
    if len(sizes) < len(given):
        raise BadInputError(
            f'--sizes {" ".join(given)}: give sizes as 800x1344 1344x800, or one number of pixels '
            'that the sides are to be multiples of, as 128.'
        )
    return sizes


def deploy(cfg: Config, engine: str | None, precision: str | None, **settings: Any) -> None:
    """Puts a :class:`DeployedBackbone` around the backbone of a config.

    A config that names one keeps it, with these settings in place of its own.

    Args:
        cfg: The config; changed in place, so that its dump says what ran.
        engine: The engine; None for the config's own, else PyTorch.
        precision: The precision; None for the config's own, else float32.
        **settings: Further ones of :class:`DeployedBackbone`.

    Raises:
        BadInputError: The engine is not here, or the config has no backbone.
    """
    given = dict(settings, engine=engine, precision=precision)
    given = {name: value for name, value in given.items() if value is not None}
    if not given:
        return
    places = backbone_places(cfg)
    if len(places) != 1:
        raise BadInputError(
            f'--engine needs one backbone in the config, which has {len(places) or "none"}; a '
            'backbone is what the model calls backbone or img_backbone.'
        )
    parent, name = places[0]
    backbone = parent[name]
    if not is_kind(backbone['type'], DEPLOYED):
        backbone = ConfigDict(type=DEPLOYED, backbone=backbone)
    backbone.update(given)
    check_engine(backbone.get('engine', 'torch'), backbone.get('precision', 'float32'))
    parent[name] = backbone


def undeploy(cfg: Config) -> dict[str, Any]:
    """Takes a :class:`DeployedBackbone` out of a config again, where it names one.

    For a search: it tries thousands of settings, for each of which an engine would need a graph.

    Args:
        cfg: The config; changed in place.

    Returns:
        The engine and the precision that it named, if it did.
    """
    named = {}
    for parent, name in backbone_places(cfg):
        deployed = parent[name]
        if is_kind(deployed['type'], DEPLOYED):
            named = {key: deployed[key] for key in ('engine', 'precision') if key in deployed}
            parent[name] = deployed['backbone']
    return named
