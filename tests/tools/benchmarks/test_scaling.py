"""Searches on more processes, by their own launcher."""

import importlib
import json
import sys

import pytest
from mmengine.config import Config

from tests.conftest import ROOT
from tests.engine.search.toy import toy_config

sys.path.insert(0, str(ROOT / 'tools'))
tool = importlib.import_module('benchmarks.scaling')


def test_the_share_of_linear_is_of_the_first_number_times_as_many():
    table = tool.table_of({2: [20.0, 24.0, 22.0], 4: [33.0]})
    assert table == [
        dict(processes=2, rate=22.0, share=1.0),
        dict(processes=4, rate=33.0, share=pytest.approx(0.75)),
    ]


@pytest.mark.slow
def test_searches_are_timed_on_one_and_two_processes(run_tool, tmp_path, monkeypatch):
    monkeypatch.setenv('PYTHONPATH', str(ROOT))  # the launched processes import the toy task
    Config(toy_config()).dump(tmp_path / 'toy.py')
    sizes = '--evaluations', 4, '--population', 4, '--num-images', 6
    options = *sizes, '--processes', 1, 2, '--turns', 1, '--json', 'found.json'
    said = run_tool('benchmarks/scaling.py', 'toy.py', *options).stdout
    found = json.loads((tmp_path / 'found.json').read_text())
    assert [row['processes'] for row in found['table']] == [1, 2]
    assert all(row['rate'] > 0 for row in found['table'])
    assert f'| 1 | {found["table"][0]["rate"]:.1f} | 100% |' in said
    assert not list(tmp_path.glob('work_dirs'))


@pytest.mark.slow
def test_a_search_that_fails_says_why(run_tool, tmp_path, monkeypatch):
    monkeypatch.setenv('PYTHONPATH', str(ROOT))
    Config(toy_config(metric='toy/else')).dump(tmp_path / 'toy.py')
    done = run_tool('benchmarks/scaling.py', 'toy.py', '--processes', 1, fails=True)
    assert 'error: The search on 1 processes has failed' in done.stderr
    assert 'the evaluator gives toy/images, toy/likelihood' in done.stderr
