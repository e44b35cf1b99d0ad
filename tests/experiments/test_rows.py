"""Every row of every table resolves, builds and says what it is compared to."""

import json

import jax
import pytest

from vidmodels import config as cfg
from vidmodels.analysis import paper_rows
from vidmodels.analysis.paper_rows import Row
from vidmodels.cli import recipe
from vidmodels.data.datasets import registry
from vidmodels.train import build

TABLES = paper_rows.all_tables()
ROWS = {f'{t.name}: {r.name}': (t, r) for t, r in paper_rows.all_rows()}
OURS = {name: pair for name, pair in ROWS.items() if pair[1].recipe}
# The others are models of these.
TRAINED = {name: pair for name, pair in OURS.items() if not pair[1].trained_as}
METRICS = ('top1', 'top5', 'map', 'hit1', 'verb_top1', 'noun_top1')
METRICS += ('action_top1', 'mean_class')


def fields_of(row: Row) -> dict:
  tree = cfg.flatten(cfg.as_dict(recipe.of_row(row)))
  return {**tree, 'start': row.start}


@pytest.mark.parametrize('name', TABLES)
def test_every_row_of_a_table_resolves_and_its_references_exist(name):
  table = TABLES[name]
  assert table.source
  assert table.title
  assert table.rows
  for row in table.rows:
    if row.recipe:
      recipe.of_row(row)
    references = [row.trained_as, row.teacher, row.differs_from, *row.parts]
    references += [row.start] if ':' in row.start else []
    for reference in filter(None, references):
      _, other = paper_rows.find_row(reference, table)
      assert other.ours, (row.name, reference)
      assert other != row
    assert all(0 < value < 100 for value in row.figures.values()), row
    assert set(row.figures) <= set(METRICS), row
    assert (row.x is not None) == bool(table.x_label), row
    if not row.ours:  # of another system the printed values are all there is
      bare = Row(name=row.name, figures=row.figures, params_m=row.params_m)
      for field in ('overrides', 'start', 'differs_from', 'reference_params'):
        assert getattr(row, field) == getattr(bare, field), (row.name, field)


@pytest.mark.parametrize('name', TABLES)
def test_a_row_differs_from_its_base_in_what_it_says_and_nothing_else(name):
  table = TABLES[name]
  for row in table.rows:
    if not row.differs_from:
      continue
    _, base = paper_rows.find_row(row.differs_from, table)
    ours, theirs = fields_of(row), fields_of(base)
    found = {f for f in {*ours, *theirs} if ours.get(f) != theirs.get(f)}
    assert found == set(row.differs_in), row.name


def test_a_row_that_is_only_tested_otherwise_is_the_trained_one_but_for_that():
  for table, row in OURS.values():
    if not row.trained_as:
      continue
    _, trained = paper_rows.find_row(row.trained_as, table)
    assert not trained.trained_as, row.name
    ours, theirs = fields_of(row), fields_of(trained)
    found = {f for f in {*ours, *theirs} if ours.get(f) != theirs.get(f)}
    assert all(f.startswith(('views.', 'clip.')) for f in found), row.name


def test_names_of_fields_that_nobody_describes_exist():
  rows = {
    (row.recipe.partition(':')[0], row.unsaid): row for _, row in OURS.values()
  }
  for row in rows.values():
    assert {*row.unsaid, *row.approximate} <= fields_of(row).keys(), row


@pytest.mark.fast_every(40)
@pytest.mark.slow_every(15)
@pytest.mark.parametrize('name', TRAINED)
def test_every_row_builds_at_full_size(name):
  """Shapes of the whole training state; nothing is allocated."""
  _, row = OURS[name]
  config = recipe.of_row(row)
  dataset = registry.find(recipe.dataset(row.recipe))
  run = build.build(
    config,
    classes=recipe.classes_of(row),
    examples=1000,
    task=dataset.task,
    devices=jax.devices()[:1],
  )
  assert run.abstract.params


def test_a_name_that_stands_twice_is_refused(tmp_path, monkeypatch):
  folder = tmp_path / 'experiments'
  (folder / 'mine').mkdir(parents=True)
  for path in (folder, folder / 'mine'):
    (path / '__init__.py').touch()
  twice = 'TABLE = PaperTable(source="s", title="t", rows=(Row(name="a"),) * 2)'
  lines = [
    'from vidmodels.analysis.paper_rows import PaperTable, Row',
    twice,
    '',
  ]
  (folder / 'mine' / 'twice.py').write_text('\n'.join(lines))
  monkeypatch.setattr(paper_rows, 'FOLDER', folder)
  monkeypatch.setattr(paper_rows, 'MODULE', 'strange_experiments')
  paper_rows.all_tables.cache_clear()
  try:
    with pytest.raises(ValueError, match='one row a name'):
      paper_rows.all_tables()
  finally:
    paper_rows.all_tables.cache_clear()


COLUMNS = {
  'epic_action': ('epic100', 'action_top1'),
  'epic_verb': ('epic100', 'verb_top1'),
  'epic_noun': ('epic100', 'noun_top1'),
  'activitynet_top1': ('activitynet_untrimmed', 'hit1'),
}


def test_every_printed_figure_stands_in_a_row_of_its_paper(shared):
  """Accuracies, sizes and costs of the reference list of printed figures."""
  printed = json.loads((shared / 'papers' / 'tables.json').read_text())
  for paper, entries in printed.items():
    if paper.startswith('_') or paper not in {n.split('/')[0] for n in TABLES}:
      continue
    rows = [
      (row, recipe.dataset(row.recipe) if row.recipe else '')
      for table, row in paper_rows.all_rows()
      if table.name.startswith(f'{paper}/') and table.origin == 'paper'
    ]
    known = {(d, m, v) for row, d in rows for m, v in row.figures.items()}
    anywhere = {(m, v) for row, _ in rows for m, v in row.figures.items()}
    sizes = {row.params_m for row, _ in rows}
    costs = {row.gmacs for row, _ in rows}
    for entry in entries:
      for column, value in entry.items():
        name, _, metric = column.rpartition('_')
        if column == 'params_m':
          assert str(value) in sizes, (paper, entry)
        elif column == 'gflops':
          assert value in costs, (paper, entry)
        elif metric in ('top1', 'top5', 'map') or name == 'epic':
          dataset, metric = COLUMNS.get(column, (name, metric))
          found = {(dataset, metric, value)} & known
          if entry['config'].startswith('En-'):  # has no recipe of its own
            found = {(metric, value)} & anywhere
          assert found, (paper, column, entry)
