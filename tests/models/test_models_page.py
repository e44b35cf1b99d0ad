"""docs/models.md names fields and choices that the models have."""

import ast
import pathlib
import re

import pytest

from vidmodels import models
from vidmodels.typing import check_value

PAGE = pathlib.Path(__file__).resolve().parents[2] / 'docs' / 'models.md'
NO_FIELDS = {'AS_WRITTEN', 'paper'}  # a constant, a recipe's word


def tables() -> list[tuple[str, str]]:
  """(family, last column) of every row of the page's tables of families."""
  rows, family, inside = [], '', False
  for line in PAGE.read_text().splitlines():
    cells = [cell.strip() for cell in line.strip('| ').split(' | ')]
    inside = line.startswith('|') and (inside or cells[0] == 'family')
    if not inside or len(cells) < 2:
      continue
    if name := re.fullmatch(r'`(\w+)`', cells[0]):
      family = name[1]
    rows.append((family, cells[-1]))
  return [row for row in rows if row[0]]


def test_every_family_is_in_the_table():
  assert {family for family, _ in tables()} == set(models.families())


@pytest.mark.parametrize('family', models.families())
def test_every_field_and_value_on_the_page_is_one_of_the_family(family):
  fields, seen = models._fields(family), 0
  for name, cell in tables():
    for code in re.findall(r'`([^`]+)`', cell) if name == family else ():
      field, _, value = code.partition('=')
      if field in NO_FIELDS or code in models.families():
        continue
      if code.startswith("'"):  # another value of the field before it
        continue
      assert field in fields, f'{family} has no {field}: {cell}'
      seen += 1
      if value:
        check_value(ast.literal_eval(value), fields[field].type, path=field)
  assert seen or family in ('focalnet', 'twins_svt')  # as another, or none
