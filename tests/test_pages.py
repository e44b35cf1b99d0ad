"""Links between pages lead to files and headings that exist."""

import pathlib
import re

import pytest

REPO = pathlib.Path(__file__).resolve().parent.parent
PAGES = sorted([*REPO.glob('*.md'), *REPO.glob('docs/*.md')])


def headings(page: pathlib.Path) -> set[str]:
  """The anchors of a page, as GitHub makes them."""
  titles = re.findall(r'^#+ (.*)$', page.read_text(), re.M)
  words = (re.sub(r'[^\w\- ]', '', title.lower()) for title in titles)
  return {title.replace(' ', '-') for title in words}


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_every_link_of_a_page_leads_somewhere(page):
  for target in re.findall(r'\[[^\]]*\]\(([^)\s]+)\)', page.read_text()):
    if target.startswith(('https://', 'http://')):
      continue
    path, _, anchor = target.partition('#')
    there = (page.parent / path).resolve() if path else page
    assert there.exists(), target
    assert not anchor or anchor in headings(there), target


def test_every_page_is_in_the_table_of_the_readme():
  table = (REPO / 'README.md').read_text().split('## What is where')[1]
  missing = [
    page.name
    for page in (REPO / 'docs').glob('*.md')
    if f'(docs/{page.name})' not in table
  ]
  assert not missing
