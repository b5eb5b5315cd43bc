"""Where weights are in checkpoints, and messages for files without weights."""

import json
import zipfile

import pytest
import torch

from sparse_mm.checkpoints import read_checkpoint
from sparse_mm.engine.checkpoint_loader import load_from_local
from sparse_mm.errors import BadInputError, DamagedFileError
from sparse_mm.named_weights import weights_of

PLAIN = {'layer.weight': torch.ones(2), 'layer.bias': torch.zeros(2)}


@pytest.mark.parametrize(
    'content',
    [
        PLAIN,
        dict(state_dict=PLAIN, meta={}),
        dict(model=PLAIN, optimizer=dict(state={0: dict(a=torch.ones(1))}), epoch=torch.tensor(3)),
        dict(model=dict(state_dict=PLAIN)),
        dict(model_ema={f'module.{k}': v for k, v in PLAIN.items()}),
        dict(state_dict={f'_orig_mod.module.{k}': v for k, v in PLAIN.items()}),
        dict(of_any_name=PLAIN, epoch=3),
    ],
)
def test_weights_are_found_wherever_they_lie(content):
    assert weights_of(content, 'a.pth').keys() == PLAIN.keys()


def test_weights_of_several_models_are_none():
    with pytest.raises(BadInputError, match="several models, 'teacher', 'pupil'; save those"):
        weights_of(dict(teacher=PLAIN, pupil=PLAIN), 'a.pth')


def write_zip(path, *names):
    with zipfile.ZipFile(path, 'w') as archive:
        for name in names:
            archive.writestr(name, 'text')


@pytest.mark.parametrize(
    ('content', 'sentence'),
    [
        (
            b'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n',
            'pointer of Git LFS',
        ),
        (b'\n<!DOCTYPE html>\n<html></html>', 'is a web page'),
        (b'{"weights": 1}', 'a text of JSON'),
        (b'\x1f\x8b' + bytes(20), 'a packed archive; unpack it'),
        (('readme.txt', 'b/c.txt'), 'a zip archive of other files'),
        (('a.npy', 'b.npy'), "an archive of numpy's arrays"),
        (('m/data.pkl', 'm/constants.pkl', 'm/code/a.py'), 'a TorchScript program'),
    ],
)
@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_what_a_file_is_that_is_no_checkpoint(tmp_path, content, sentence, suffix):
    path = tmp_path / f'model{suffix}'
    write_zip(path, *content) if isinstance(content, tuple) else path.write_bytes(content)
    with pytest.raises(BadInputError, match=sentence) as caught:
        read_checkpoint(str(path))
    assert not isinstance(caught.value, DamagedFileError)


class TestParts:
    """A checkpoint saved in parts, as transformers does with large ones."""

    @pytest.fixture
    def index(self, tmp_path):
        names = [f'model-{i}-of-2.bin' for i in (1, 2)]
        for file, (name, value) in zip(names, PLAIN.items(), strict=True):
            torch.save({name: value}, tmp_path / file)
        path = tmp_path / 'model.bin.index.json'
        path.write_text(json.dumps(dict(weight_map=dict(zip(PLAIN, names, strict=True)))))
        return path

    def test_they_are_joined(self, index):
        assert weights_of(read_checkpoint(str(index)), '').keys() == PLAIN.keys()
        assert load_from_local(str(index))['state_dict'].keys() == PLAIN.keys()

    def test_a_single_shard_or_a_folder_is_refused_with_the_name_of_the_index(self, index):
        with pytest.raises(BadInputError, match=r'one part of several; .* in \.index\.json'):
            read_checkpoint(str(index.parent / 'model-1-of-2.bin'))
        with pytest.raises(BadInputError, match=r"name the file in it, '.*model.bin.index.json'"):
            read_checkpoint(str(index.parent))

    @pytest.mark.parametrize(
        ('listed', 'sentence'),
        [
            ({'layer.weight': 'model-1-of-2.bin', 'more': 'model-1-of-2.bin'}, 'lack more'),
            ({'layer.weight': '../model-1-of-2.bin'}, 'no file beside it'),
            ({'layer.weight': 'model-3-of-3.bin'}, "3-of-3.bin' does not exist"),
            ([], 'no readable weight_map'),
        ],
    )
    def test_an_index_that_is_wrong(self, index, listed, sentence):
        index.write_text(json.dumps(dict(weight_map=listed)))
        with pytest.raises(BadInputError, match=sentence):
            read_checkpoint(str(index))


@pytest.mark.parametrize('holder', ['model', 'model_ema', 'of_any_name'])
def test_mmengine_gets_the_weights_under_its_key(tmp_path, holder):
    torch.save({holder: PLAIN, 'meta': dict(epoch=1)}, tmp_path / 'a.pth')
    found = load_from_local(str(tmp_path / 'a.pth'))
    assert found['state_dict'].keys() == PLAIN.keys()
    assert found['meta'] == dict(epoch=1)
