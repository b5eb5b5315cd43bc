"""Reading checkpoints: the hosts' files load, executable content is refused; the messages."""

import argparse
import collections
import copy
import datetime
import io
import json
import os
import pathlib
import pickle
import zipfile

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.logging import HistoryBuffer
from mmengine.optim import scheduler as schedulers

from sparse_mm.checkpoints import find_latest, latest_checkpoint, read_checkpoint
from sparse_mm.errors import BadInputError, DamagedFileError, UnsafeContentError

DTYPES = ('?', 'i1', 'i2', 'i4', 'i8', 'u1', 'u2', 'u4', 'u8', 'f2', 'f4', 'f8', 'g', 'F', 'D')
DTYPES += ('U3', 'S4', '>f4', '>i2', '>U2', 'M8[ns]', 'M8[25us]', 'm8[s]')


def through_a_file(value, tmp_path, rename=None):
    path = tmp_path / 'value.pth'
    torch.save(dict(value=value), path)
    if rename is not None:
        with zipfile.ZipFile(path) as archive:
            entries = {name: archive.read(name) for name in archive.namelist()}
        with zipfile.ZipFile(path, 'w') as archive:
            for name, content in entries.items():
                archive.writestr(name, content.replace(*rename))
    return read_checkpoint(str(path))['value']


@pytest.mark.parametrize('dtype', DTYPES)
def test_numpy_values_of_plain_dtypes(tmp_path, dtype):
    array = np.arange(6).reshape(2, 3).astype(dtype)
    for value in (array, np.asfortranarray(array), array[:0], array[1, 2], np.array(array[1, 1])):
        expected = pickle.loads(pickle.dumps(value))
        for found in (
            through_a_file(value, tmp_path),
            through_a_file(value, tmp_path, (b'numpy.core.', b'numpy._core.')),  # of numpy 2
            copy.deepcopy(through_a_file(value, tmp_path)),
            through_a_file(through_a_file(value, tmp_path), tmp_path),  # saved again
        ):
            assert found.dtype == expected.dtype
            assert np.shape(found) == np.shape(expected)
            assert np.array_equal(found, expected)


def test_a_loaded_array_computes_and_saves_as_a_common_one(tmp_path):
    loaded = through_a_file(np.arange(3.0), tmp_path)
    assert type(loaded.mean()) is np.float64
    assert type(loaded + 1) is np.ndarray
    assert type(np.append(loaded, 1)) is np.ndarray
    assert pickle.dumps(loaded) == pickle.dumps(np.arange(3.0))


@pytest.mark.parametrize(
    'value',
    [
        pathlib.Path('runs/one'),
        pathlib.PureWindowsPath('C:\\runs'),
        datetime.datetime(2026, 11, 20, 14, 2, tzinfo=datetime.timezone.utc),
        datetime.timedelta(seconds=3),
        collections.OrderedDict(b=1, a=2),
        collections.defaultdict(list, a=[1]),
        collections.Counter('aab'),
        frozenset([1]),
        slice(1, 2),
        range(3),
        ConfigDict(a=dict(b=[dict(c=1)])),
        torch.__version__,
        np.str_(''),
        b'',
    ],
    ids=lambda value: type(value).__name__,
)
def test_other_plain_values(tmp_path, value):
    assert through_a_file(value, tmp_path) == value


def test_log_histories(tmp_path):
    history = HistoryBuffer([1.0, 2.0], [1, 1])
    found = through_a_file(history, tmp_path)
    assert type(found) is HistoryBuffer
    found.update(6.0)
    assert through_a_file(found, tmp_path).mean() == 3


OPTIONS = dict(
    CosineRestartLR=dict(periods=[3], restart_weights=[1], eta_min=0),
    CosineAnnealingLR=dict(T_max=3),
    ExponentialLR=dict(gamma=0.9),
    MultiStepLR=dict(milestones=[1]),
    OneCycleLR=dict(eta_max=1.0, total_steps=10),
    QuadraticWarmupLR=dict(end=3),
    ReduceOnPlateauLR=dict(monitor='loss'),
    StepLR=dict(step_size=2),
)


@pytest.mark.parametrize('name', [n for n in dir(schedulers) if n.endswith(('LR', 'Momentum'))])
def test_every_scheduler_of_mmengine(tmp_path, name):
    options = OPTIONS.get(name.replace('Momentum', 'LR'), {})
    ways = ('cos', 'linear') if name == 'OneCycleLR' else (None,)
    for way in ways:
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1, momentum=0.9)
        more = {} if way is None else dict(anneal_strategy=way)
        state = getattr(schedulers, name)(optimizer, **options, **more).state_dict()
        assert through_a_file(state, tmp_path) == state


class Calls:
    """Pickles as a call."""

    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call


class Tampered:
    """An array whose dtype says that its bytes are addresses of objects."""

    def __reduce__(self):
        dtype = Calls(np.dtype, ('f8', False, True), (3, '<', None, None, None, -1, -1, 63))
        state = (1, (2,), dtype, False, b'A' * 16)
        return np.core.multiarray._reconstruct, (np.ndarray, (0,), b'b'), state


class Marker:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_nothing_executes(tmp_path):
    mark = tmp_path / 'executed'
    for protocol in (2, 4):
        content = io.BytesIO()
        torch.save(dict(x=Marker(mark)), content, pickle_protocol=protocol)
        (tmp_path / 'evil.pth').write_bytes(content.getvalue())
        with pytest.raises(BadInputError):
            read_checkpoint(str(tmp_path / 'evil.pth'))
    (tmp_path / 'evil.pth').write_bytes(pickle.dumps(Marker(mark)))
    with pytest.raises(BadInputError):
        read_checkpoint(str(tmp_path / 'evil.pth'))
    assert not mark.exists()


@pytest.mark.parametrize(
    ('value', 'named'),
    [
        (Calls(getattr, (str, 'upper')), 'str.upper'),
        (Calls(getattr, (HistoryBuffer, 'update')), '_History.update'),
        (Calls(np.ndarray, ((10**13,),)), ''),
        (Calls(np.array, ([],)), 'numpy.array'),
        (Calls(eval, ('1',)), 'eval'),
        (argparse.Namespace(a=1), 'argparse.Namespace'),
        (np.array([dict()]), 'a numpy array of dtype object'),
        (np.zeros(2, 'i4,f4'), 'a numpy array of dtype |V8'),
        (pytest.raises, '_pytest'),
    ],
    # Not by the values: addresses differ between the processes that run the tests.
    ids=['getattr', 'method', 'size', 'call', 'eval', 'class', 'objects', 'fields', 'function'],
)
def test_what_is_refused_is_named_and_is_neither_damaged_nor_absent(tmp_path, value, named):
    torch.save(dict(value=value), tmp_path / 'epoch_1.pth')
    with pytest.raises(BadInputError, match=r'not safe to load|as torch.save writes them') as error:
        read_checkpoint(str(tmp_path / 'epoch_1.pth'))
    assert named in str(error.value)
    assert not isinstance(error.value, DamagedFileError)
    assert latest_checkpoint(str(tmp_path)) == str(tmp_path / 'epoch_1.pth')


def test_only_the_name_of_a_tampered_dtype_is_used(tmp_path):
    found = through_a_file(Tampered(), tmp_path)
    assert found.dtype.flags == np.dtype('f8').flags


def test_absent_damaged_packed_and_unreadable_are_four_things(tmp_path):
    path = tmp_path / 'epoch_1.pth'
    with pytest.raises(BadInputError, match='does not exist'):
        read_checkpoint(str(path))
    torch.save(dict(state_dict=dict(a=torch.zeros(1000))), path)
    whole = path.read_bytes()
    for content in (b'', b'half', whole[:30], whole[: len(whole) // 2], whole[:-1]):
        path.write_bytes(content)
        with pytest.raises(DamagedFileError, match='truncated or not a PyTorch checkpoint'):
            read_checkpoint(str(path))
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr('archive/data.pkl', bytes(10**7))
    with pytest.raises(BadInputError, match=r'is packed.* would unpack to more'):
        read_checkpoint(str(path))
    path.unlink()
    path.mkdir()
    with pytest.raises(BadInputError, match='is a folder'):
        read_checkpoint(str(path))


class TestTheLatest:
    @pytest.fixture
    def whole(self, tmp_path):
        torch.save(dict(state_dict=dict(a=torch.zeros(2))), tmp_path / 'whole')
        content = (tmp_path / 'whole').read_bytes()
        (tmp_path / 'whole').unlink()
        return content

    def test_a_damaged_newest_is_skipped_and_reported(self, tmp_path, whole):
        (tmp_path / 'epoch_2.pth').write_bytes(whole)
        (tmp_path / 'epoch_10.pth').write_bytes(whole[:-100])
        found, damaged = find_latest(str(tmp_path))
        assert found == str(tmp_path / 'epoch_2.pth')
        assert damaged == [tmp_path / 'epoch_10.pth']

    def test_a_newer_one_that_is_not_named_yet_is_taken(self, tmp_path, whole):
        for number in (1, 2):
            (tmp_path / f'epoch_{number}.pth').write_bytes(whole)
        (tmp_path / 'last_checkpoint').write_text('run/epoch_1.pth')
        assert latest_checkpoint(str(tmp_path)) == str(tmp_path / 'epoch_2.pth')
        # Of an older run, whatever its number.
        os.utime(tmp_path / 'epoch_2.pth', (1, 1))
        assert latest_checkpoint(str(tmp_path)) == str(tmp_path / 'epoch_1.pth')

    def test_a_moved_work_dir_continues_with_its_own_files(self, tmp_path, whole):
        for folder in ('old', 'new'):
            (tmp_path / folder).mkdir()
            (tmp_path / folder / 'epoch_1.pth').write_bytes(whole)
            (tmp_path / folder / 'last_checkpoint').write_text(str(tmp_path / 'old/epoch_1.pth'))
        assert latest_checkpoint(str(tmp_path / 'new')) == str(tmp_path / 'new' / 'epoch_1.pth')

    def test_the_named_one_is_gone(self, tmp_path, whole):
        (tmp_path / 'last_checkpoint').write_text('/elsewhere/epoch_3.pth')
        with pytest.raises(BadInputError, match=r"names '/elsewhere/epoch_3.pth', which is not"):
            find_latest(str(tmp_path))

    def test_several_damaged_are_no_kill(self, tmp_path):
        (tmp_path / 'epoch_1.pth').write_bytes(b'half')
        assert find_latest(str(tmp_path)) == (None, [tmp_path / 'epoch_1.pth'])
        (tmp_path / 'epoch_2.pth').write_bytes(b'half')
        with pytest.raises(BadInputError, match=r'None of the checkpoints .* can be read'):
            find_latest(str(tmp_path))


def test_the_sentence_of_a_refusal_names_the_file(tmp_path):
    torch.save(dict(x=np.array([None])), tmp_path / 'a.pth')
    with pytest.raises(UnsafeContentError, match=r"a\.pth' holds a numpy array of dtype object"):
        read_checkpoint(str(tmp_path / 'a.pth'))


def test_a_whole_safetensors_file_that_contradicts_itself_is_not_called_broken(tmp_path):
    pytest.importorskip('safetensors')
    path = tmp_path / 'model.safetensors'
    entry = dict(dtype='F32', shape=[2], data_offsets=[0, 16])
    header = json.dumps(dict(weight=entry)).encode()
    path.write_bytes(len(header).to_bytes(8, 'little') + header + bytes(16))
    with pytest.raises(BadInputError, match='another number of bytes') as caught:
        read_checkpoint(str(path))
    assert not isinstance(caught.value, DamagedFileError)
