"""Commands end cleanly."""

import pytest
import torch.distributed as dist

from sparse_mm.engine.command_line import run
from sparse_mm.errors import BadInputError


def test_a_command_closes_its_process_group(tmp_path):
    def main():
        dist.init_process_group('gloo', f'file://{tmp_path}/store', rank=0, world_size=1)

    try:
        run(main)
        assert not dist.is_initialized()
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def test_bad_input_is_one_sentence():
    def main():
        raise BadInputError('No.')

    with pytest.raises(SystemExit, match='error: No'):
        run(main)
