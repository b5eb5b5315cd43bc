"""A user's mistake ends with one sentence, before any process is started, and never a traceback."""

import os
import runpy
import shlex
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.conftest import ROOT, require_configs_of
from tests.mistakes import world
from tests.mistakes.table import TABLE

LINES = [(kind, line, said) for kind, lines in TABLE.items() for line, said in lines]
TRIAL = 'projects/bootstrapping/trial.py'
# Tools that forward to others, modules of other tools, and tools without input.
NOT_TOOLS = {
    *('analysis_tools/compare_searches.py', 'analysis_tools/replay_searches.py'),
    *('analysis_tools/clip_rois.py', 'demo_page.py', 'demo_progress.py'),
    *('benchmarks/mmcv_ops.py', 'benchmarks/traffic.py'),
}


def script_of(tool: str) -> Path:
    return ROOT / (TRIAL if tool == 'trial' else f'tools/{tool}')


@pytest.fixture(scope='module')
def here(tmp_path_factory):
    folder = tmp_path_factory.mktemp('mistakes')
    before = os.getcwd()
    try:
        os.chdir(folder)
        world.make(folder)
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def message(here, monkeypatch, capsys):
    """Runs a command line in this process; returns the last line of its output."""

    def no_process(self, args, *more, **options):
        # MMEngine's log of the machine, and decorators of torch, may call these.
        assert 'gcc' in str(args) or 'nvcc' in str(args) or 'git' in str(args), args
        return start(self, args, *more, **options)

    start = subprocess.Popen.__init__
    monkeypatch.setattr(subprocess.Popen, '__init__', no_process)

    def run(line: str) -> str:
        tool, *arguments = shlex.split(line.format(here=here, configs=ROOT / 'configs'))
        script = script_of(tool)
        monkeypatch.chdir(here)
        monkeypatch.setenv('LOCAL_RANK', '0')
        monkeypatch.syspath_prepend(str(script.parent))  # as Python does for a script
        monkeypatch.setattr(sys, 'argv', [str(script), *arguments])
        with pytest.raises(SystemExit) as caught:
            runpy.run_path(str(script), run_name='__main__')
        said = capsys.readouterr().err if caught.value.code == 2 else str(caught.value)
        return said.strip().splitlines()[-1]

    return run


@pytest.mark.parametrize(('kind', 'line', 'said'), LINES, ids=[line for _, line, _ in LINES])
def test_one_sentence(message, kind, line, said):
    if 'mmdet' in line:
        require_configs_of('mmdet')
    found = message(line)
    assert 'error: ' in found
    assert said in found


def test_the_table_is_broad():
    assert len(LINES) >= 60
    for kind, lines in TABLE.items():
        assert 1 <= len(lines) <= 3, kind
    counts = Counter(line.split()[0] for _, line, _ in LINES)
    tools = {
        path.relative_to(ROOT / 'tools').as_posix()
        for path in (ROOT / 'tools').rglob('*.py')
        if "if __name__ == '__main__'" in path.read_text()
    } - NOT_TOOLS
    assert tools | {'trial'} == set(counts), tools ^ set(counts)
    for tool, count in counts.items():
        assert count >= 4, f'{tool} has {count}'
