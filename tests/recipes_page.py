"""The table of what differs between a recipe's two words.

  python tests/recipes_page.py          prints it
  python tests/recipes_page.py --write  writes it into docs/recipes.md

Values come from the published recipes, sources from SOURCES of their files.
"""

import functools
import pathlib
import sys
from typing import Any

from vidmodels.cli import recipe

PAGE = pathlib.Path(__file__).resolve().parent.parent / 'docs' / 'recipes.md'
BEGIN, END = '<!-- words: begin -->\n', '<!-- words: end -->\n'
HEAD = (
  '| field | `released` | `paper` | of | paper: where | release: where |',
  '|---|---|---|---|---|---|',
)
FEW = 3  # recipes that are named; more are counted


@functools.cache
def differences(where: str) -> dict[str, tuple[Any, Any]]:
  """{field: (released, paper)} of a recipe's two words; `where` is released."""
  return recipe.differences(where)


def table(name: str) -> list[str]:
  """The rows of one recipe file, in the order of its SOURCES."""
  recipes = [r for r in recipe.published(name) if recipe.word(r) == 'released']
  found: dict[str, dict[tuple[str, str], list[str]]] = {}
  for each in recipes:
    for field, pair in differences(each).items():
      pairs = found.setdefault(field, {})
      pairs.setdefault(tuple(map(text, pair)), []).append(each)
  rows = []
  for field, (paper, release) in recipe.sources(name).items():
    for (here, there), where in found.get(field, {}).items():
      cells = (f'`{field}`', here, there, words(where, recipes), paper, release)
      rows.append(f'| {" | ".join(cells)} |')
  return rows


def text(value) -> str:
  """A value as a cell has it."""
  return f'{value:g}' if isinstance(value, float) else str(value) or '-'


def words(where: list[str], recipes: list[str]) -> str:
  """Which of a file's recipes have a difference."""
  if len(where) == len(recipes):
    return 'all'
  if len(where) > FEW:
    return f'{len(where)} of {len(recipes)}'
  return ', '.join(f'`{each}`' for each in where)


def write() -> str:
  """The whole table."""
  lines = []
  for name in recipe.names():
    if recipe.sources(name):
      lines += [f'### {name}', '', *HEAD, *table(name), '']
  return '\n'.join(lines)


def documented() -> str:
  """What the page has between its marks."""
  return PAGE.read_text().split(BEGIN)[1].split(END)[0]


if __name__ == '__main__':
  if '--write' in sys.argv:
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(before + BEGIN + write() + END + rest.partition(END)[2])
  else:
    print(write())
