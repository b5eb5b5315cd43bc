"""One problem is one sentence; several are reported together."""

import pytest

from sparse_mm.engine.checks import check_no_earlier_run, check_work_dir, report
from sparse_mm.errors import BadInputError


def test_nothing_to_report():
    report([])


def test_one_problem_is_the_message():
    with pytest.raises(BadInputError) as error:
        report(['It is too small.', 'It is too small.'])
    assert str(error.value) == 'It is too small.'


def test_several_have_a_line_each():
    with pytest.raises(BadInputError) as error:
        report(f'{n} is too small.' for n in (1, 2, 1))
    first, *others = str(error.value).splitlines()
    assert first.startswith('2 things')
    assert others == ['- 1 is too small.', '- 2 is too small.']


def test_an_interrupted_check_leaves_nothing(tmp_path):
    assert check_work_dir(str(tmp_path / 'new')) == []
    assert list((tmp_path / 'new').iterdir()) == []


def test_folders_that_cannot_be_used(tmp_path):
    (tmp_path / 'file').touch()
    (problem,) = check_work_dir(str(tmp_path / 'file' / 'run'))
    assert 'cannot be written' in problem
    assert check_no_earlier_run(str(tmp_path), tmp_path) == []
    (tmp_path / 'epoch_1.pth').touch()
    assert 'holds an earlier run (epoch_1.pth)' in check_no_earlier_run(str(tmp_path), tmp_path)[0]
