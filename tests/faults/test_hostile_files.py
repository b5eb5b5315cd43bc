"""Hostile files: one sentence or the content, no code executed, nothing written elsewhere."""

import json
import math
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sparse_mm.checkpoints import find_latest, latest_checkpoint, read_checkpoint
from sparse_mm.engine.checks.annotation_files import check_info_file, is_cut_json
from sparse_mm.engine.search.records import Record, Records
from sparse_mm.errors import BadInputError
from sparse_mm.models.ratios import parse_ratios
from sparse_mm.search.cost import LatencyTable

PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9)
JSON = st.recursive(
    PLAIN,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4)
    ),
    max_leaves=12,
)
QUICK = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def read_or_refuse(reader, *arguments):
    try:
        return reader(*arguments)
    except BadInputError as error:
        assert '\n' not in str(error).strip()
        return None


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp('whole') / 'epoch_1.pth'
    meta = dict(epoch=1, iter=4, palette=[(0, 0, 0)], name='run')
    torch.save(dict(meta=meta, state_dict=dict(w=torch.ones(8))), path)
    return path.read_bytes()


@QUICK
@given(place=st.floats(0, 1), byte=st.integers(0, 255), cut=st.floats(0, 1), legacy=st.booleans())
def test_damaged_checkpoints(whole, tmp_path, place, byte, cut, legacy):
    content = bytearray(whole)
    if legacy:
        torch.save(dict(w=torch.ones(4)), tmp_path / 'old', _use_new_zipfile_serialization=False)
        content = bytearray((tmp_path / 'old').read_bytes())
    content[int(place * (len(content) - 1))] = byte
    path = tmp_path / 'epoch_1.pth'
    path.write_bytes(content[: max(1, math.ceil(cut * len(content)))])
    read_or_refuse(read_checkpoint, str(path))
    read_or_refuse(find_latest, str(tmp_path))


@QUICK
@given(content=st.binary(max_size=300))
def test_any_pickle_program(tmp_path, content):
    path = tmp_path / 'epoch_1.pth'
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('archive/data.pkl', b'\x80\x02' + content + b'.')
        archive.writestr('archive/version', '3\n')
        archive.writestr('archive/byteorder', 'little')
    read_or_refuse(read_checkpoint, str(path))


@QUICK
@given(value=JSON)
def test_ratios_and_tables(tmp_path, value):
    path = tmp_path / 'file.json'
    path.write_text(json.dumps(value))
    read_or_refuse(parse_ratios, str(path), (2, 4))
    read_or_refuse(LatencyTable.read, path)


TABLE = dict(
    image_size=(48, 48),
    batch=1,
    stem_ms=1.0,
    stages=[dict(dense_ms=1.0, sparse_ms=1.0, pairs=[{4: 1.0}])],
    windows=[4],
    channels=[8],
    conditions={},
    checks=[],
)


@QUICK
@given(name=st.sampled_from(sorted(TABLE)), value=JSON)
def test_a_table_with_one_other_value(tmp_path, name, value):
    path = tmp_path / 'table.json'
    values = json.loads(LatencyTable(**TABLE).to_json())
    path.write_text(json.dumps({**values, name: value}))
    table = read_or_refuse(LatencyTable.read, path)
    if table is not None:
        assert math.isfinite(table.stem_ms)


@QUICK
@given(value=JSON | st.fixed_dictionaries(dict(format=st.text(), records=JSON, identity=JSON)))
def test_states(tmp_path, value):
    path = tmp_path / 'state.json'
    path.write_text(json.dumps(value))
    before = path.read_bytes()
    said = []
    records = Records(path, dict(seed=0), said.append)
    records.load()
    assert records.all == []
    assert len(said) == 1
    (kept,) = tmp_path.glob('state.json.*')
    assert kept.read_bytes() == before
    kept.unlink()


@QUICK
@given(values=JSON | st.fixed_dictionaries(dict.fromkeys(Record.__dataclass_fields__, JSON)))
def test_records(values):
    try:
        record = Record.from_json(json.loads(json.dumps(values)))
    except ValueError:
        return
    assert record.score == -math.inf or math.isfinite(record.score)


@QUICK
@given(text=st.text(max_size=50) | st.sampled_from(['../../x', '/', '.', '/dev/zero', '\0']))
def test_last_checkpoint_names_anything(tmp_path, text):
    (tmp_path / 'last_checkpoint').write_text(text, errors='replace')
    read_or_refuse(latest_checkpoint, str(tmp_path))
    assert [path.name for path in Path(tmp_path).iterdir()] == ['last_checkpoint']


INFOS = pickle.dumps(dict(metainfo=dict(version='v1.0'), data_list=[dict(token='a')]))


@QUICK
@given(
    content=st.binary(max_size=100)
    | st.builds(
        lambda place, byte, cut: INFOS[: int(place * len(INFOS))] + byte + INFOS[-cut:],
        st.floats(0, 1),
        st.binary(min_size=1, max_size=12),
        st.integers(1, len(INFOS)),
    )
    # Operations that state a length, up to far more than the file has.
    | st.builds(
        lambda operation, length, rest: b'\x80\x04}' + operation + length + rest + b'.',
        st.sampled_from([b'\x8d', b'\x8e', b'\x8b', b'\x96', b'\x95', b'X', b'T', b'B']),
        st.binary(min_size=4, max_size=8),
        st.binary(max_size=20),
    )
)
def test_info_files(tmp_path, content):
    path = tmp_path / 'infos.pkl'
    path.write_bytes(content)
    for problem in check_info_file(path, tmp_path):
        assert '\n' not in problem
    assert is_cut_json(path) in (True, False)
    assert [found.name for found in tmp_path.iterdir()] == ['infos.pkl']


def test_an_info_file_claims_a_length_that_no_memory_has(tmp_path):
    path = tmp_path / 'infos.pkl'
    path.write_bytes(b'\x80\x04}\x8d' + (2**62).to_bytes(8, 'little') + b'metainfo.')
    assert 'is truncated or not one of mmdet3d' in check_info_file(path, tmp_path)[0]


def test_deep_files_are_refused(tmp_path):
    path = tmp_path / 'file.json'
    path.write_text('[' * 100_000)
    for reader in (LatencyTable.read, lambda path: parse_ratios(str(path), (2, 4))):
        with pytest.raises(BadInputError):
            reader(path)
    path.write_bytes(pickle.dumps([]))
    with pytest.raises(BadInputError):
        read_checkpoint(str(path))
