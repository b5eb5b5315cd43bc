"""The backbone on the engine that a user would deploy it on: ONNX Runtime, OpenVINO, Inductor.

:class:`DeployedBackbone` replaces a backbone in any config for inference. A graph is exported when
images of a new size arrive, and cached on disk.
"""

from sparse_mm.deploy.deployed_backbone import DeployedBackbone
from sparse_mm.deploy.engines import ENGINES, PRECISIONS, check_engine

__all__ = ['ENGINES', 'PRECISIONS', 'DeployedBackbone', 'check_engine']
