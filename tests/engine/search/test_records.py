"""Scores of an earlier search: reused if still valid, otherwise set aside with a message."""

import json
import math

import numpy as np
import pytest

from sparse_mm.engine.search.records import FORMER, Record, Records, _checksum
from sparse_mm.search.score_errors import pack

BY_IMAGES = pack(np.array([0.25, 0.75]))
IDENTITY = dict(weights='a' * 64, data='b' * 64, versions=dict(torch='2.11'), seed=0)


def search(folder, **changes):
    said = []
    records = Records(folder / 'state.json', {**IDENTITY, **changes}, said.append)
    records.load()
    return records, said


@pytest.fixture
def saved(tmp_path):
    records, said = search(tmp_path)
    assert said == []
    for i, score in enumerate((0.25, -math.inf)):
        failure = '' if math.isfinite(score) else 'out of memory'
        images = '' if failure else BY_IMAGES
        records.add(Record(((0.1 * i, 0.5),), 10, score, 'population', 0, 1, failure, images))
    records.measured_ms = {((0.0, 0.5),): 3.5}
    records.save()
    (tmp_path / 'best.json').write_text('{}')
    return tmp_path


def kept(folder):
    return sorted(path.name for path in folder.iterdir())


def test_valid_scores_are_reused_and_reported(saved):
    records, said = search(saved)
    assert [record.score for record in records.all] == [0.25, -math.inf]
    assert records.all[1].failure == 'out of memory'
    assert records.all[0].values.tolist() == [0.25, 0.75]
    assert records.all[1].values is None
    assert records.measured_ms == {((0.0, 0.5),): 3.5}
    assert said[0].startswith('2 scores of state.json of 20')
    assert kept(saved) == ['best.json', 'state.json']


@pytest.mark.parametrize(
    ('changes', 'named'),
    [
        (dict(weights='c' * 64), 'another weights:'),
        (dict(data='c' * 64), 'another data:'),
        (dict(versions=dict(torch='2.12')), 'another versions.torch (2.11 then, 2.12 now):'),
        (dict(seed=1), 'another seed (0 then, 1 now):'),
        (dict(seed=1, weights='c' * 64), 'another seed (0 then, 1 now), weights:'),
        (dict(engine='other'), 'another engine (None then, other now):'),
    ],
)
def test_another_search_starts_anew_and_deletes_nothing(saved, changes, named):
    before = (saved / 'state.json').read_bytes()
    records, (sentence,) = search(saved, **changes)
    assert records.all == []
    assert named in sentence
    assert 'it is now state.json.earlier' in sentence
    assert (saved / 'state.json.earlier').read_bytes() == before
    assert kept(saved) == ['best.json.earlier', 'state.json.earlier']
    records.save()
    search(saved, seed=9)
    assert 'state.json.earlier-2' in kept(saved)


def test_the_former_formats_scores_still_stand_without_errors(saved):
    path = saved / 'state.json'
    state = json.loads(path.read_text())
    for values in state['records']:
        del values['by_images']
    del state['checksum']
    state['format'] = FORMER
    path.write_text(json.dumps({**state, 'checksum': _checksum(state)}))
    records, (sentence,) = search(saved)
    assert sentence.startswith('2 scores of state.json')
    assert [record.score for record in records.all] == [0.25, -math.inf]
    assert [record.values for record in records.all] == [None, None]
    assert math.isnan(records.all[0].error_beside(records.all[0]))


def resign(state):
    del state['checksum']
    return {**state, 'checksum': _checksum(state)}


def edit(state, how):
    if how == 'images':
        state['records'][0]['by_images'] = '?'
        return resign(state)
    if how == 'no images':
        del state['records'][0]['by_images']
        return resign(state)
    if how == 'score':
        state['records'][0]['score'] = 0.99
    elif how == 'version':
        state['format'] = 'sparse_mm search, version 1'
    elif how == 'type':
        return [state]
    elif how == 'no identity':
        del state['identity']
    return state


@pytest.mark.parametrize(
    ('how', 'reason'),
    [
        ('score', 'edited or damaged'),
        ('version', "its format is 'sparse_mm search, version 1'"),
        ('images', 'it holds something else: values by images that are no base64'),
        ('no images', 'a record with other fields'),
        ('type', 'has no format'),
        ('no identity', 'edited or damaged'),
        ('truncated', 'truncated or not JSON'),
        ('empty', 'truncated or not JSON'),
        ('deep', 'truncated or not JSON'),
        ('bytes', 'truncated or not JSON'),
    ],
)
def test_unreadable_files_are_renamed_and_reported(saved, how, reason):
    path = saved / 'state.json'
    text = path.read_text()
    contents = dict(
        truncated=text[:-20].encode(),
        empty=b'',
        deep=b'[' * 100_000,
        bytes=b'\xff\x00',
    )
    content = contents.get(how) or json.dumps(edit(json.loads(text), how)).encode()
    path.write_bytes(b'' if how == 'empty' else content)
    content = path.read_bytes()
    records, (sentence,) = search(saved)
    assert records.all == []
    assert reason in sentence
    assert (saved / 'state.json.unreadable').read_bytes() == content
    assert not path.exists()


def test_a_score_without_a_number_is_json(saved):
    def no_constant(name):
        raise AssertionError(name)

    state = json.loads((saved / 'state.json').read_text(), parse_constant=no_constant)
    assert [record['score'] for record in state['records']] == [0.25, None]
