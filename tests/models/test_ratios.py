import json
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparse_mm.errors import BadInputError
from sparse_mm.models.ratios import num_kept, parse_ratios

SWIN_T = (2, 2, 6, 2)


def as_floats(ratios):
    return [[float(ratio) for ratio in stage] for stage in ratios]


@pytest.mark.parametrize(
    ('spec', 'expected'),
    [
        (None, [[0, 0], [0, 0], [0] * 6, [0, 0]]),
        (0.5, [[0.5] * 2, [0.5] * 2, [0.5] * 6, [0.5] * 2]),
        ([0.5], [[0.5] * 2, [0.5] * 2, [0.5] * 6, [0.5] * 2]),
        ([0.1, 0.2, 0.3, 0], [[0.1] * 2, [0.2] * 2, [0.3] * 6, [0] * 2]),
        (
            [0.1, 0.2, 0.3, 0.4, 0.5, 0],
            [[0.1] * 2, [0.2] * 2, [0.3, 0.3, 0.4, 0.4, 0.5, 0.5], [0] * 2],
        ),
        (
            [0.1, 0.2, 0, 0, 0.1, 0.1, 0.2, 0.3, 0.4, 0.5, 0, 0.8],
            [[0.1, 0.2], [0, 0], [0.1, 0.1, 0.2, 0.3, 0.4, 0.5], [0, 0.8]],
        ),
        ([[0.3], 0, [0.1, 0.2, 0.2], [0, 0]], [[0.3] * 2, [0] * 2, [0.1] * 2 + [0.2] * 4, [0] * 2]),
        (np.float32(0.8), [[0.8] * 2, [0.8] * 2, [0.8] * 6, [0.8] * 2]),
    ],
)
def test_every_form_of_ratios_is_understood(spec, expected):
    assert as_floats(parse_ratios(spec, SWIN_T)) == expected


def test_a_ratio_just_below_1_stays_below_it():
    ((ratio,),) = parse_ratios(0.99999, (1,))
    assert 0.9998 < ratio < 1


def test_ratios_are_read_from_a_json_file(tmp_path):
    path = tmp_path / 'ratios.json'
    path.write_text(json.dumps([0.5, 0, 0.2, 0]))
    assert as_floats(parse_ratios(str(path), SWIN_T)) == [[0.5] * 2, [0, 0], [0.2] * 6, [0, 0]]


def test_odd_depths_have_a_last_pair_of_one():
    assert as_floats(parse_ratios([0.1, 0.2, 0.3], (3, 1))) == [[0.1, 0.1, 0.2], [0.3]]


@pytest.mark.parametrize(
    ('spec', 'message'),
    [
        (1.0, 'at least 0 and less than 1'),
        (-0.1, 'at least 0 and less than 1'),
        (float('nan'), 'at least 0 and less than 1'),
        ([0.1, 0.2, 0.3], '3 numbers; .* 4 .one per stage.*, 6 .* or 12'),
        ([[0.1], [0.2]], 'entries for 2 stages, the backbone has 4'),
        ([[0.3, 0.1], 0, 0, 0], 'stage 0 decrease'),
        ([0, 0, 0.4, 0.3, 0.5, 0], 'stage 2 decrease'),
        ([[0.1] * 3, 0, 0, 0], 'stage 0 has 3 numbers'),
        ([[0.1, 'a'], 0, 0, 0], "not 'a'"),
        ([], 'must be a number'),
        ({'a': 1}, 'must be a number'),
        (True, 'must be a number'),
        ('nowhere.json', "'nowhere.json', which cannot be read"),
    ],
)
def test_wrong_ratios_are_refused(spec, message):
    with pytest.raises(BadInputError, match=message):
        parse_ratios(spec, SWIN_T)


def test_the_result_of_a_search_is_read(tmp_path):
    path = tmp_path / 'best.json'
    path.write_text('{"pruning_ratios": [[0.5], [0], [0.1, 0.2, 0.3], [0]], "score": 0.4}')
    expected = parse_ratios([[0.5], [0], [0.1, 0.2, 0.3], [0]], SWIN_T)
    assert parse_ratios(str(path), SWIN_T) == expected
    path.write_text('{"score": 0.4}')
    with pytest.raises(BadInputError, match='a search result with "pruning_ratios"'):
        parse_ratios(str(path), SWIN_T)


def test_broken_json_is_refused(tmp_path):
    path = tmp_path / 'ratios.json'
    path.write_text('[0.5, ')
    with pytest.raises(BadInputError, match='cannot be read as JSON'):
        parse_ratios(str(path), SWIN_T)


@pytest.mark.parametrize(
    ('windows', 'ratio', 'kept'),
    [(260, 0.8, 52), (65, 0.8, 13), (576, 0.6, 230), (3, 2 / 3, 1), (10, 0, 10), (4, 0.9, 1)],
)
def test_rounding_is_exact(windows, ratio, kept):
    (exact,) = parse_ratios(ratio, (1,))[0]
    assert num_kept(windows, exact) == kept


@given(st.integers(1, 20_000), st.integers(0, 999))
def test_kept_windows_are_the_integer_part(windows, thousandths):
    (ratio,) = parse_ratios(thousandths / 1000, (1,))[0]
    assert ratio == Fraction(thousandths, 1000)
    assert num_kept(windows, ratio) == max(1, windows * (1000 - thousandths) // 1000)
