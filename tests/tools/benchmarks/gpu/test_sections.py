"""Sections of the GPU kit share the time; a failing one does not end the others."""

import json
import os
import signal
import time

import pytest

from tools.benchmarks.gpu.record import Record, cell
from tools.benchmarks.gpu.sections import Plan, how_to_start, run_all
from tools.benchmarks.gpu.targets import TARGETS, compare


def works(section):
    """Finds something."""
    section.add(name='one', value=1.5, share=section.left())
    section.note('a remark')


def raises(section):
    """Fails."""
    section.add(name='before')
    raise RuntimeError('an illegal memory access')


def dies(section):
    """Is killed."""
    section.add(name='before')
    time.sleep(0.2)
    os.kill(os.getpid(), signal.SIGKILL)


def hangs(section):
    """Hangs."""
    section.add(name='before')
    time.sleep(60)


def is_wrong(section):
    """Finds something wrong."""
    section.add(backbone='fine', ok=True)
    section.add(backbone='SparseViT', ok=False)


@pytest.fixture
def record(tmp_path):
    return Record(tmp_path, dict(command='kit', dry_run=True))


def test_a_section_survives_what_ends_another(record, tmp_path, capfd):
    plans = [Plan(f.__name__, f, 1) for f in (raises, dies, hangs, is_wrong, works)]
    began = time.monotonic()
    run_all(plans, record, 'cpu', True, 10)
    assert time.monotonic() - began < 20
    found = json.loads((tmp_path / 'gpu_check.json').read_text())['sections']
    assert [s['status'] for s in found.values()] == ['failed', 'failed', 'cut', 'done', 'done']
    # Results of a section before its end are kept.
    assert all(found[name]['rows'] == [{'name': 'before'}] for name in ('raises', 'dies', 'hangs'))
    assert 'an illegal memory access' in found['raises']['reason']
    assert '-9' in found['dies']['reason']
    assert found['works']['rows'][0]['value'] == 1.5
    assert [line.split(':')[0] for line in record.failures] == ['raises', 'dies', 'is_wrong']
    page = (tmp_path / 'gpu_check.md').read_text()
    assert '3 failures' in page
    assert 'A dry run' in page
    assert '- a remark' in page
    assert '| one | 1.5 |' in page
    assert 'is_wrong: SparseViT' in capfd.readouterr().out or 'is_wrong: SparseViT' in page


def test_time_that_is_left_goes_to_later_sections_and_none_begins_without(record):
    run_all([Plan('a', works, 1), Plan('b', works, 3)], record, 'cpu', True, 8)
    first, second = (record.found['sections'][name]['share_s'] for name in 'ab')
    assert first == pytest.approx(2, abs=0.1)
    assert 6 < second <= 8
    run_all([Plan('late', works, 1)], record, 'cpu', True, 0.5)
    assert record.found['sections']['late']['status'] == 'skipped'


def test_results_are_on_disk_while_a_section_runs(record, tmp_path, monkeypatch):
    seen = []
    add = Record.add

    def look(self, *args):
        add(self, *args)
        seen.append(json.loads((tmp_path / 'gpu_check.json').read_text()))

    monkeypatch.setattr(Record, 'add', look)
    run_all([Plan('works', works, 1)], record, 'cpu', True, 5)
    assert seen[0]['sections']['works']['status'] == 'running'
    assert len(seen[0]['sections']['works']['rows']) == 1


def test_children_on_a_cpu_are_forked_and_a_missing_gpu_is_reported(capfd):
    assert how_to_start('cpu') == 'fork'
    assert how_to_start('cuda:63') is None
    assert capfd.readouterr().err == ''


def test_cells():
    cells = [cell(v) for v in (None, True, False, 1.23456, 2.5e-5, 0.0, 'a | b\nc', 3)]
    assert cells == ['', 'ok', 'FAILED', '1.235', '2.5e-05', '0', 'a / b c', '3']


def test_targets_are_compared_where_both_rows_are_there():
    rows = [
        dict(mode='graph', precision='bf16', backbone='dense', latency_ms=2.0),
        dict(mode='graph', precision='bf16', backbone='60 %', latency_ms=1.0),
        dict(mode='graph', precision='bf16', backbone='middle', latency_ms=1.9),
    ]
    found = {row['target']: row for row in compare({'swin_t_batch_4': dict(rows=rows)})}
    assert len(found) == len(TARGETS)
    of_dense = [v for k, v in found.items() if k.startswith('swin_t_batch_4, graph')]
    assert [(row['found'], row['met']) for row in of_dense] == [
        (pytest.approx(1.053, abs=1e-3), 'no'),
        (2.0, 'yes'),
    ]
    assert found[TARGETS[-1].what]['met'] == 'not measured'
