"""The documentation's site: links are rewritten, and it builds if MkDocs is installed."""

import html
import os
import re
import subprocess
import sys

import pytest
import yaml

from tests.conftest import ROOT
from tools.packaging.site_pages import ELSEWHERE, page_of, with_links_of_the_site

PACKAGES = ROOT / '.venv' / 'docs_packages'


def test_pages_and_files_are_distinguished():
    assert page_of('README.md') == 'index.md'
    assert (
        page_of('projects/bevdet') == page_of('projects/bevdet/README.md') == 'projects/bevdet.md'
    )
    assert page_of('docs/tools.md') == 'tools.md'
    assert page_of('configs/sparseformer_shapes.py') is None


def test_links_are_rewritten_and_broken_ones_are_found():
    text = '[a](docs/tools.md#x) ![b](docs/rois.jpg) [c](LICENSE) [d](https://e.org) `[f](g)`'
    found = with_links_of_the_site(text.split(' `')[0], 'README.md')
    assert found == '[a](tools.md#x) ![b](rois.jpg) c [d](https://e.org)'
    back = with_links_of_the_site('[a](../../docs/results.md)', 'projects/bevdet/README.md')
    assert back == '[a](../results.md)'
    with pytest.raises(FileNotFoundError, match=r'gone\.md'):
        with_links_of_the_site('[a](gone.md)', 'docs/tools.md')
    assert with_links_of_the_site('```\n[a](gone.md)\n```', 'docs/tools.md').count('gone') == 1


def test_every_page_is_in_the_menu():
    def leaves(node):
        if isinstance(node, str):
            return [node]
        values = node.values() if isinstance(node, dict) else node
        return [leaf for value in values for leaf in leaves(value)]

    named = leaves(yaml.safe_load((ROOT / 'mkdocs.yml').read_text())['nav'])
    pages = [path.name for path in (ROOT / 'docs').glob('*.md')]
    assert sorted(named) == sorted([*pages, *ELSEWHERE.values()])


def test_the_picture_of_the_packages_shows_what_its_source_says():
    labels = re.findall(r'\["(.*?)"\]', (ROOT / 'docs' / 'packages.mmd').read_text())
    drawn = (ROOT / 'docs' / 'packages.svg').read_text()
    shown = set(html.unescape(re.sub(r'<[^>]*>', ' ', drawn)).split())
    assert len(labels) == 12
    for label in labels:
        assert set(label.replace('<br>', ' ').split()) <= shown, label


def test_it_builds_without_a_warning(tmp_path):
    if not PACKAGES.is_dir():
        pytest.skip('needs MkDocs, which make docs installs')
    subprocess.run(
        [sys.executable, '-m', 'mkdocs', 'build', '--strict', '--site-dir', str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, 'PYTHONPATH': str(PACKAGES)},
        check=True,
    )
    assert (tmp_path / 'index.html').is_file()
    assert (tmp_path / 'projects' / 'bevdet.html').is_file()
