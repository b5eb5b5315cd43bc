"""Graphs of the tests are kept in a folder of their own."""

import pytest

from sparse_mm.deploy.graph_cache import VARIABLE


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path / 'cache'))
    return tmp_path / 'cache'
