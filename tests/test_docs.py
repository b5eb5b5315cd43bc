"""Links, configs and tools that the pages name exist."""

import re

import pytest

from tests.conftest import ROOT

PAGES = sorted(
    path.relative_to(ROOT)
    for path in (*ROOT.glob('*.md'), *ROOT.glob('docs/*.md'), *ROOT.glob('projects/*/README.md'))
)


def headings(text):
    text = re.sub(r'```.*?```', '', text, flags=re.S)
    titles = re.findall(r'^#+ (.+)$', text, re.M)
    return {re.sub(r'[^\w\- ]', '', title).strip().lower().replace(' ', '-') for title in titles}


@pytest.mark.parametrize('page', PAGES, ids=str)
def test_links_lead_somewhere(page):
    text = (ROOT / page).read_text()
    text = re.sub(r'```.*?```', '', text, flags=re.S)
    for target in re.findall(r'\]\(([^)\s]+)\)', text):
        if '://' in target:
            continue
        file, _, heading = target.partition('#')
        path = (ROOT / page).parent / file if file else ROOT / page
        assert path.exists(), f'{page} points to {target}'
        if heading:
            assert heading in headings(path.read_text()), f'{page} points to {target}'


@pytest.mark.parametrize('page', PAGES, ids=str)
def test_configs_and_tools_that_are_named_exist(page):
    text = (ROOT / page).read_text()
    for name in re.findall(r'(?<![\w/])((?:configs|tools|projects)/[\w/]+\.(?:py|sh))\b', text):
        assert (ROOT / name).exists() or ((ROOT / page).parent / name).exists(), name
