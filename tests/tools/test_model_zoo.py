"""The page of all configs is up to date, and separates the papers' metrics from ours."""

import re

import pytest

from sparse_mm.engine.command_line import read_config
from tests.conftest import ROOT, require_configs_of
from tools.analysis_tools.model_zoo import OURS, configs, count, page, published

PAGE = ROOT / 'docs' / 'model_zoo.md'


def rows():
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith('| [')]
    cells = [[cell.strip() for cell in line.strip('|').split('|')] for line in lines]
    return {re.search(r'\(\.\./(.+)\)', row[0])[1]: row[1:] for row in cells}


def test_every_config_has_a_row_with_the_papers_metrics_and_ours_apart():
    models = published()
    assert sorted(rows()) == sorted(configs())
    for path, (_, _, _, paper, ours, command) in rows().items():
        results = models.get(path, {}).get('Results', ())
        printed = [f'{k} {v}' for one in results for k, v in one['Metrics'].items()]
        assert paper == (', '.join(printed) or '–')
        assert ours.startswith(f'[{OURS[path][0]}]') if path in OURS else ours == '–'
        assert path in command


@pytest.mark.parametrize('path', OURS)
def test_our_figures_stand_in_the_results(path):
    said, section = OURS[path]
    text = (ROOT / 'docs' / 'results.md').read_text()
    found = re.search(rf'^(#+) {re.escape(section)}\n', text, re.M)
    assert found is not None
    about = text[found.end() :].split(f'\n{found[1]} ')[0]
    for figure in re.findall(r'\d+\.\d+|100(?= %)', said):
        assert figure in about, figure


@pytest.mark.parametrize(
    'path',
    ['configs/sparsevit_maskrcnn_coco_34ms.py', 'configs/sparseformer_tiny_imagenet.py'],
)
def test_counts_are_those_of_the_page(path):
    for host in ('mmdet', 'mmpretrain'):
        require_configs_of(host)
    found = count(read_config(str(ROOT / path)))
    size, macs, params = rows()[path][:3]
    assert (size, macs, params) == (
        *(found['size'], f'{found["macs"] / 1e9:.2f}', f'{found["params"] / 1e6:.2f}'),
    )


@pytest.mark.slow
def test_the_whole_page_is_current():
    for host in ('mmdet', 'mmseg', 'mmdet3d', 'mmpretrain'):
        require_configs_of(host)
    assert '\n'.join([*page(), '']) == PAGE.read_text()
