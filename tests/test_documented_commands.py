"""Every command of README and docs is accepted by its tool, and a test runs one like it."""

import importlib
import json
import re
import runpy
import sys
from math import inf

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS

from tests.conftest import ROOT
from tests.documented import HERE, OTHERS, RUN_BY, names_of_tests, split
from tests.engine.search.toy import toy_config
from tests.mistakes import world

COMMANDS, LINES = split()


@pytest.mark.parametrize('tool', sorted({command.tool for command in COMMANDS}))
def test_tools_take_what_the_pages_say(tool, monkeypatch):
    monkeypatch.syspath_prepend(str((ROOT / tool).parent))
    parse = runpy.run_path(str(ROOT / tool), run_name='documented').get('parse_args')
    for command in (command for command in COMMANDS if command.tool == tool):
        assert parse is not None or not command.arguments, command
        words = [word for word in command.arguments if word != 'OPTIONS']  # any settings
        monkeypatch.setattr(sys, 'argv', [tool, *words])
        if parse is not None:
            parse()  # ends the process where an option or a value is unknown


def test_every_command_is_run_by_a_test():
    used = {command.tool for command in COMMANDS}
    assert used == set(RUN_BY)
    for tool, places in RUN_BY.items():
        texts = []
        for place in places:
            file, _, test = place.partition('::')
            assert test in names_of_tests(ROOT / 'tests' / file), place
            texts.append((ROOT / 'tests' / file).read_text())
        for command in (command for command in COMMANDS if command.tool == tool):
            for option in command.options:
                assert any(re.search(rf'{option}\b', text) for text in texts), (command, option)


def test_other_lines_are_known():
    for page, line in LINES:
        places = [place for form, place in OTHERS.items() if re.fullmatch(form, line)]
        assert places, f'{page}: {line}'
        assert (ROOT / places[0]).is_file()
        for target in re.findall(r'^make (\S+)', line):
            assert f'\n{target}:' in (ROOT / places[0]).read_text()
    for form in OTHERS:
        assert any(re.fullmatch(form, line) for _, line in LINES), f'no page has {form}'


def test_a_table_and_a_search_with_it(call_tool, tmp_path, monkeypatch):
    """``latency_table.py CONFIG --engine … --precision …``, ``search.py … --latency-table``."""
    monkeypatch.setattr('sparse_mm.engine.search.tables.NOISY', inf)  # whatever else runs here
    Config(toy_config()).dump(tmp_path / 'toy.py')
    weights = MODELS.build(toy_config()['model']).state_dict()
    torch.save(dict(state_dict=weights), tmp_path / 'toy.pth')
    how = '--engine', 'torch', '--precision', 'float32', '--batch', 4, '--shape', 48, 48
    said = call_tool(
        *('analysis_tools/latency_table.py', 'toy.py', '--out', 'table.json', *how),
        *('--seconds', 0.2),
    )
    assert '4 x 3 x 48 x 48, device: CPU, threads: ' in said
    said = call_tool(
        *('search.py', 'toy.py', 'toy.pth', '--budget', 'latency=0.2..1', '--work-dir', 'run'),
        *('--metric', 'toy/likelihood', '--num-images', 4, '--latency-table', 'table.json'),
    )
    assert 'Hooks will be executed' not in said  # other lines than the result's are in the log
    assert said.strip().endswith('history.csv, pareto.png')
    best = json.loads((tmp_path / 'run' / 'sparsity_search' / 'best.json').read_text())
    assert len(best['pruning_ratios']) == 2


def test_the_windows_of_a_checkpoint(call_tool, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    world.make(tmp_path)
    said = call_tool(
        *('analysis_tools/window_usage.py', 'config.py', '--checkpoint', 'config.pth'),
        *('--ratios', 0.5, '--images', 1, '--json'),
    )
    rows = json.loads(said.strip().splitlines()[-1])
    assert [row['windows_skipped'] for row in rows] == pytest.approx([0.5, 0.5])


def test_the_page_of_all_configs(call_tool, tmp_path, monkeypatch):
    zoo = importlib.import_module('tools.analysis_tools.model_zoo')
    monkeypatch.setattr(zoo, 'configs', lambda: ['configs/sparsevit_maskrcnn_shapes_dense.py'])
    text = '\n'.join(zoo.page())
    assert '`python tools/train.py configs/sparsevit_maskrcnn_shapes_dense.py`' in text
    assert 'box mAP 0.537' in text


def test_the_page_has_every_config_and_the_sections_that_it_links_to():
    text = (ROOT / 'docs' / 'model_zoo.md').read_text()
    for path in (*ROOT.glob('configs/*.py'), *ROOT.glob('projects/*/configs/*.py')):
        assert f'[{path.stem}](../{path.relative_to(ROOT).as_posix()})' in text, path
    zoo = importlib.import_module('tools.analysis_tools.model_zoo')
    results = (ROOT / 'docs' / 'results.md').read_text()
    for _, section in zoo.OURS.values():
        assert re.search(rf'^#+ {re.escape(section)}$', results, re.M), section


def test_racing_is_simulated(call_tool):
    said = call_tool(
        *('benchmarks/simulate_racing.py', '--worlds', 2, '--common', 0.8),
        *('--strategies', 'random'),
    )
    assert said.count('| 0.8 | random |') == 1


def test_operators_are_compared(refusal):
    """Without compiled mmcv the tool says so; ``.ci/run`` has tests with compiled operators."""
    extension = importlib.import_module('mmcv._ext')
    if extension.__file__.endswith(('.so', '.pyd')):
        pytest.skip('mmcv is compiled here: the comparison takes minutes')
    assert 'compares with compiled mmcv' in refusal('benchmarks/mmcv_ops.py')


def test_this_file_is_named_as_it_is():
    assert (ROOT / 'tests' / HERE).is_file()
