"""Plain mistakes in a config, as they occur in MMEngine's builders."""

import re
from importlib.util import find_spec

import pytest
from mmengine import fileio
from mmengine.config import Config
from mmengine.registry import HOOKS, MODELS, OPTIM_WRAPPERS

from sparse_mm.engine.command_line import run
from sparse_mm.engine.explanations import explain
from sparse_mm.engine.processes import check_launcher, start_processes
from sparse_mm.errors import BadInputError


def error_in(call):
    with pytest.raises(ImportError) as caught:
        call()
    return caught.value


def error_of(registry, **cfg):
    with pytest.raises((KeyError, TypeError)) as caught:
        registry.build(cfg)
    return caught.value


@pytest.mark.parametrize(
    ('registry', 'cfg', 'sentence'),
    [
        (MODELS, dict(type='SparseVit'), "type='SparseVit'.*did you mean 'SparseViT'"),
        (HOOKS, dict(type='SparsitySerchHook'), "did you mean 'SparsitySearchHook'"),
        (HOOKS, dict(type='IterTimerHook', every=1), "IterTimerHook.* no argument 'every'"),
        (HOOKS, dict(type='SparsityAdaptationHook', beginn=1), "did you mean 'begin'"),
        (HOOKS, dict(type='SparsitySearchHook'), "needs 'at'"),
        (OPTIM_WRAPPERS, dict(type='OptimWrapper'), "needs 'optimizer'"),
    ],
)
def test_mistakes_in_a_config(registry, cfg, sentence):
    told = explain(error_of(registry, **cfg))
    assert told is not None
    assert re.search(sentence, told), told


def test_errors_of_the_code_are_not_explained():
    def broken():
        return len(5)

    with pytest.raises(TypeError) as caught:
        broken()
    assert explain(caught.value) is None
    assert explain(KeyError('a')) is None


def test_a_command_says_it_in_a_sentence():
    def main():
        MODELS.build(dict(type='SparseVit'))

    with pytest.raises(SystemExit, match=r"error: .*did you mean 'SparseViT'"):
        run(main)


@pytest.mark.parametrize(
    ('launcher', 'program'), [('pytorch', 'torchrun'), ('slurm', 'srun'), ('mpi', 'mpirun')]
)
def test_a_missing_launcher_is_named(launcher, program, monkeypatch):
    for name in ('RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK'):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(BadInputError, match=f'--launcher {launcher} needs `{program}'):
        start_processes(Config(dict(launcher=launcher)))
    check_launcher('none')


def test_a_newer_transformers_beside_mmpretrain(monkeypatch, capsys):
    source = "raise ImportError('cannot import name X', name='transformers.modeling_utils')"

    def import_by(module):
        exec(compile(source, 'file', 'exec'), {'__name__': module})

    monkeypatch.setattr('sparse_mm.engine.explanations.version', lambda name: '4.57.1')
    with pytest.raises(SystemExit, match=r'beside transformers 4\.57\.1.*transformers<4\.52'):
        run(lambda: import_by('mmpretrain.models.multimodal'))
    with pytest.raises(ImportError):  # other models may need transformers themselves
        run(lambda: import_by('elsewhere'))


def test_a_file_backend_that_is_not_installed():
    if find_spec('petrel_client'):
        pytest.skip('petrel_client is installed')
    told = explain(error_in(lambda: fileio.get('s3://bucket/picture.png')))
    assert told is not None
    assert re.search(r'^Please install petrel_client .*: a path or backend_args in the', told)
