"""The folder of exported graphs: checked before use, bounded, and clean after kills."""

import json
import logging
import shutil

import pytest
import torch
from mmengine.logging import MMLogger

from sparse_mm.deploy import graph_cache
from sparse_mm.errors import BadInputError
from tests.deploy.test_deployed_backbone import check_equal, deployed, graphs


@pytest.fixture
def warnings_of(caplog):
    """Calls a function; returns the warnings of MMEngine's logger."""

    def run(work):
        caplog.clear()
        logger = MMLogger.get_current_instance()
        logger.addHandler(caplog.handler)
        work()
        logger.removeHandler(caplog.handler)
        told = [record for record in caplog.records if record.levelno >= logging.WARNING]
        return ' '.join(record.getMessage() for record in told if record.name == 'mmengine')

    return run


def test_a_damaged_cache_is_reported_and_exported_again(cache, warnings_of):
    images = torch.randn(1, 3, 56, 56)
    weights = deployed().state_dict()

    def run():
        model = deployed()
        model.load_state_dict(weights)
        check_equal(model, images)

    run()
    (name,) = graphs(cache)
    graph, entry = cache / name / 'graph.onnx', cache / name / 'entry.json'
    whole, about = graph.read_bytes(), json.loads(entry.read_text())
    assert warnings_of(run) == ''
    graph.write_bytes(whole[: len(whole) // 2])
    assert 'is cut off, or was changed; it is exported again' in warnings_of(run)
    assert len(graph.read_bytes()) == len(whole)
    entry.write_text(json.dumps(dict(about, format='sparse_mm graph, version 0')))
    assert 'was written by another version; it is exported again' in warnings_of(run)
    for break_it in (lambda: entry.write_text('{'), graph.unlink):
        break_it()
        assert 'is not whole; it is exported again' in warnings_of(run)
        assert warnings_of(run) == ''


def test_what_killed_processes_left_is_removed(cache):
    (cache / 'other.graph.part').mkdir(parents=True)
    (cache / 'other.graph.part' / 'graph.onnx').write_bytes(b'half')
    deployed()(torch.randn(1, 3, 56, 56))
    (name,) = graphs(cache)
    assert not name.endswith('.part')


def test_the_cache_is_bounded(cache):
    model = deployed(cache_gib=1e-6, max_graphs=2)
    for side in (28, 56):
        check_equal(model, torch.randn(1, 3, side, 56))
        assert len(graphs(cache)) == 1
    model.cache.max_bytes = 10**9
    check_equal(model, torch.randn(1, 3, 84, 56))
    assert len(graphs(cache)) == 2
    assert len(model._passes) == 2


def test_other_things_in_the_folder_stay(cache):
    for name in ('run', 'run.part'):
        (cache / name).mkdir(parents=True)
        (cache / name / 'epoch_1.pth').write_bytes(b'weights')
    model = deployed(cache_gib=1e-9)
    for side in (28, 56):
        check_equal(model, torch.randn(1, 3, side, 56))
    assert (cache / 'run' / 'epoch_1.pth').read_bytes() == b'weights'
    assert (cache / 'run.part' / 'epoch_1.pth').exists()
    assert len(list(cache.glob('*/entry.json'))) == 1


def test_a_disk_without_room(cache, monkeypatch):
    full = shutil._ntuple_diskusage(100, 100, 0)
    monkeypatch.setattr(graph_cache.shutil, 'disk_usage', lambda path: full)
    with pytest.raises(BadInputError, match=r'cannot be kept in .*0 MB free\); make room'):
        deployed()(torch.randn(1, 3, 56, 56))
    assert graphs(cache) == []
    monkeypatch.undo()
    (cache / 'file').touch()
    with pytest.raises(BadInputError, match=r'cannot be kept in .*; make room or see to its'):
        deployed(cache_dir=str(cache / 'file'))(torch.randn(1, 3, 56, 56))
