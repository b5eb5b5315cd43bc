"""A hook of MkDocs for pages that are outside the docs folder.

The README becomes the first page, and the projects' READMEs, CONTRIBUTING and CHANGELOG pages of
their own. Links between pages stay links; a link to a file that is not a page (a config, a folder
of code) becomes plain text. A broken link ends the build.
"""

import posixpath
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
ELSEWHERE = {
    'README.md': 'index.md',
    'CONTRIBUTING.md': 'contributing.md',
    'CHANGELOG.md': 'changelog.md',
    **{
        path.relative_to(ROOT).as_posix(): f'projects/{path.parent.name}.md'
        for path in sorted(ROOT.glob('projects/*/README.md'))
    },
}
LINK = re.compile(r'(!?)\[([^\]]*)\]\(([^)\s]+)\)')
CODE = re.compile(r'(```.*?```)', re.S)


def page_of(source: str) -> str | None:
    """Where a file of the repository is on the site; None if it is not."""
    if source in ELSEWHERE:
        return ELSEWHERE[source]
    if f'{source}/README.md' in ELSEWHERE:
        return ELSEWHERE[f'{source}/README.md']
    return source.removeprefix('docs/') if source.startswith('docs/') else None


def with_links_of_the_site(text: str, source: str) -> str:
    """Rewrites a page's links.

    Args:
        text: Markdown.
        source: The page's file, from the repository's root.

    Raises:
        FileNotFoundError: A link leads nowhere.
    """
    here = posixpath.dirname(page_of(source) or '')

    def rewritten(match: re.Match) -> str:
        mark, said, target = match.groups()
        if '://' in target or target.startswith('#'):
            return match[0]
        path, _, heading = target.partition('#')
        file = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        if not (ROOT / file).exists():
            raise FileNotFoundError(f'{source} points to {target}, which is not there')
        page = page_of(file)
        if page is None:
            return said
        place = posixpath.relpath(page, here or '.')
        return f'{mark}[{said}]({place}{"#" if heading else ""}{heading})'

    parts = CODE.split(text)
    parts[::2] = [LINK.sub(rewritten, part) for part in parts[::2]]
    return ''.join(parts)


def on_files(files: Any, config: Any) -> Any:
    """Adds the pages from elsewhere, as MkDocs calls it."""
    from mkdocs.structure.files import File

    for source, page in ELSEWHERE.items():
        text = with_links_of_the_site((ROOT / source).read_text(), source)
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Rewrites the links of the pages in docs/, as MkDocs calls it."""
    source = f'docs/{page.file.src_uri}'
    return with_links_of_the_site(markdown, source) if (ROOT / source).is_file() else markdown
