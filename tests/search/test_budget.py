import math

import pytest

from sparse_mm.errors import BadInputError
from sparse_mm.search.budget import Budget


def test_reading():
    assert Budget.parse('latency=0.7') == Budget('latency', 0.7)
    assert Budget.parse('gmacs=90..116.5') == Budget('gmacs', 116.5, 90)
    assert Budget.parse(dict(unit='ms', min=3)) == Budget('ms', math.inf, 3)
    assert Budget.parse(Budget('macs', 0.5)) == Budget('macs', 0.5)
    assert str(Budget.parse('latency=0.6..0.7')) == '0.6 to 0.7 of the dense latency'
    assert str(Budget.parse('ms=20')) == 'at most 20 ms'
    assert str(Budget('gmacs', min=2)) == 'at least 2 GMACs'
    assert Budget.parse('latency=0.6..0.7').slug == 'latency-0.6-0.7'


def test_excess_has_the_right_sign():
    budget = Budget('macs', 0.7, 0.6)
    assert budget.excess(0.65) == budget.excess(0.6) == budget.excess(0.7) == 0
    assert budget.excess(0.8) == pytest.approx(0.1)
    assert budget.excess(0.5) == pytest.approx(-0.1)


@pytest.mark.parametrize(
    'given',
    [
        '0.7',
        'speed=0.7',
        'latency=fast',
        'latency=0.7.1',
        dict(unit='latency'),
        dict(max=0.7),
        dict(unit='ms', max='20'),
        dict(unit='ms', most=20),
        3,
    ],
)
def test_what_is_no_budget(given):
    with pytest.raises(BadInputError, match='the units are latency, ms, macs, gmacs'):
        Budget.parse(given)


def test_empty_ranges():
    for given in ('latency=0.7..0.6', 'latency=0', dict(unit='ms', min=-1, max=2)):
        with pytest.raises(BadInputError, match='allows nothing'):
            Budget.parse(given)
