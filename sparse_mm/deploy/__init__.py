"""The backbone on the engine that a user would deploy it on: ONNX Runtime, OpenVINO, Inductor.

:class:`DeployedBackbone` takes the place of a backbone in any config for inference. Graphs are made
when an image size first comes, and kept on disk.
"""

from sparse_mm.deploy.deployed_backbone import DeployedBackbone
from sparse_mm.deploy.engines import ENGINES, PRECISIONS, check_engine

__all__ = ['ENGINES', 'PRECISIONS', 'DeployedBackbone', 'check_engine']
