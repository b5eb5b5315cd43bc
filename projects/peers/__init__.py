"""Models of the papers' tables that no host package has.

Importing it registers them. Each has a forward pass and random weights, but no training recipe.
"""

from projects.peers.few_tokens import FewTokens
from projects.peers.nl_i3d import NLI3D
from projects.peers.perceiver import Perceiver
from projects.peers.perceiver_io import PerceiverIO
from projects.peers.slowfast import SlowFast
from projects.peers.timesformer import TimeSformer
from projects.peers.torchvision_models import TorchvisionModel
from projects.peers.vivit import ViViT

__all__ = [
    'NLI3D',
    'FewTokens',
    'Perceiver',
    'PerceiverIO',
    'SlowFast',
    'TimeSformer',
    'TorchvisionModel',
    'ViViT',
]
