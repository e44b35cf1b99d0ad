"""Rows run at tiny scale, end to end, and their results stand in the tables."""

import json
import pathlib
import re

import jax
import numpy as np
import pytest

from experiments import jobs, reproduce, run, schedule, tables, tiny
from vidmodels import config as cfg
from vidmodels.analysis import paper_rows
from vidmodels.cli import recipe
from vidmodels.train import build
from vidmodels.train.state import create_state

DOCS = pathlib.Path(__file__).resolve().parents[2] / 'docs'
STARTS = ('imagenet-1k', 'imagenet-21k', 'k400', 'k600')
STRANGER = '''
"""A stranger's table: one file, found by itself."""

from vidmodels.analysis.paper_rows import PaperTable, Row

TABLE = PaperTable(
  source='Nobody, Table 1',
  title='made up',
  x_label='frames',
  rows=(
    Row(name='space', recipe='timesformer:base,k400,space', x=1.0,
        figures={'top1': 76.9}),
    Row(name='more views', recipe='timesformer:base,k400,space', x=2.0,
        overrides={'views.temporal': 2}, trained_as='space'),
    Row(name='image', recipe='vit', x=0.0),
    Row(name='goes on', recipe='timesformer:base,k400', x=3.0,
        start='mine:image'),
    Row(name='both', parts=('space', 'goes on'), x=4.0),
    Row(name='theirs', figures={'top1': 50.0}, x=5.0),
  ),
)
'''


@pytest.fixture
def stranger(tmp_path_factory):
  """A workdir and flags, where a stranger's table is the only one."""
  patch = pytest.MonkeyPatch()
  folder = tmp_path_factory.mktemp('repo') / 'experiments'
  (folder / 'stranger').mkdir(parents=True)
  (folder / '__init__.py').touch()
  (folder / 'stranger' / '__init__.py').touch()
  (folder / 'stranger' / 'mine.py').write_text(STRANGER)
  patch.setattr(paper_rows, 'FOLDER', folder)
  patch.setattr(paper_rows, 'MODULE', 'stranger_experiments')
  patch.setattr(tiny, 'CLIPS', {'train': 16, 'test': 8})
  patch.setattr(tiny, 'BATCH', 8)  # one clip a device
  patch.setattr(tiny, 'SIDE', 16)  # one patch
  paper_rows.all_tables.cache_clear()
  workdir = tmp_path_factory.mktemp('runs')
  flags = ['--scale=tiny', '--steps=2', f'--workdir={workdir}', '--json']
  yield workdir, ['stranger/mine', *flags]
  patch.undo()
  paper_rows.all_tables.cache_clear()


def test_a_strangers_row_runs_is_skipped_and_stands_in_the_tables(
  stranger, capsys
):
  workdir, argv = stranger
  argv += ['--row', 'space', '--row', 'more views']
  assert run.main(argv) == 0
  first = json.loads(capsys.readouterr().out)
  assert first['failed'] == []
  for result in first['results']:
    assert result['videos'] == result['listed'] == 8
    assert 0 <= result['metrics']['top1'] <= 100
    assert result['records_fingerprint']
    assert result['versions']['jax'] == jax.__version__
  # Nothing is done twice: the files stay as they are.
  before = {p: p.stat().st_mtime_ns for p in workdir.rglob('*.json')}
  assert run.main(argv) == 0
  assert json.loads(capsys.readouterr().out) == first
  assert before == {p: p.stat().st_mtime_ns for p in workdir.rglob('*.json')}
  # A row of another recipe is not taken for the finished one.
  assert run.main([*argv, '--steps=3']) == 2
  assert 'of another recipe' in capsys.readouterr().err

  table = paper_rows.find('stranger/mine')
  page = [tables.sheet(table, workdir, 'tiny')]
  top1 = first['results'][0]['metrics']['top1']
  markdown = tables.as_markdown(page)
  macs = first['results'][0]['macs'] / 1e6
  assert f'| space | {macs:.1f} | mixed | 76.9 | {top1:.1f} |' in markdown
  assert '| both | - |  | - | not run |' in markdown
  assert '| theirs | - |  | 50.0 | not ours |' in markdown
  assert 'difference' not in markdown  # of another size and other data
  assert f'{top1:.1f}' in tables.as_text(page)
  full = tables.as_markdown([tables.sheet(table, workdir, 'full')])
  assert '| space | 76.9 | not run |  |' in full
  pytest.importorskip('matplotlib')
  html = tables.as_html(page, workdir, 'tiny')
  assert 'data:image/png;base64,' in html
  assert 'http' not in html
  points = tables.curves(table, workdir, 'tiny')
  assert points['Nobody, Table 1, paper'] == [(1.0, 76.9), (5.0, 50.0)]
  assert (1.0, top1) in points['ours, mixed']


@pytest.mark.slow
def test_chains_and_ensembles_run_in_their_order(stranger, capsys):
  """An image model first, then what starts from it, then the mean of two."""
  _, argv = stranger
  assert run.main(argv) == 0
  found = json.loads(capsys.readouterr().out)
  assert found['failed'] == []
  by_row = {r['row']: r for r in found['results']}
  assert list(by_row) == ['space', 'more views', 'image', 'goes on', 'both']
  start = by_row['goes on']['config']['init_from']
  assert start.endswith('image/mixed-seed0/run')
  assert by_row['both']['config'] is None
  assert by_row['both']['listed'] == 8


def test_printed_costs_stand_beside_counted_ones(tmp_path):
  table = paper_rows.find('dualformer/table4')
  text = tables.as_markdown([tables.sheet(table, tmp_path, 'full')])
  assert '| GMAC a view, paper | GMAC a view, ours |' in text
  figure = paper_rows.find('timesformer/figure3_left')
  drawn = tables.curves(figure, tmp_path, 'full')
  # Joint attention grows with the square of the tokens.
  joint, divided = drawn['Joint Space-Time'], drawn['Divided Space-Time']
  assert [x for x, _ in joint] == [224, 336, 448, 560]
  assert joint[-1][1] / joint[0][1] > 2 * divided[-1][1] / divided[0][1] > 12
  sheet = tables.sheet(figure, tmp_path, 'full')
  assert sheet.columns == ('row', 'GMAC a view, paper', 'GMAC a view, ours')


def test_several_seeds_give_the_mean_and_the_range():
  many = tables.Measured({'top1': (50.0, 60.0, 70.0)}, 'motion')
  assert many.cell('top1') == '60.0 (50.0 to 70.0 of 3)'
  assert many.cell('top5') == ''
  one = tables.Measured({'top1': (50.0,)}, 'motion')
  assert one.cell('top1') == '50.0'


def test_the_page_is_what_the_kept_results_give(tmp_path):
  """docs/reproduction.md; `reproduce --page-only` writes it again."""
  text = (DOCS / 'reproduction.md').read_text()
  seeds = int(re.search(r'--seeds=(\d+)', text)[1])
  kept = reproduce.load_results(DOCS / 'reproduction.json')
  todo = schedule.in_order(
    each
    for claim in reproduce.CLAIMS
    for each in reproduce.claim_jobs(claim, tmp_path, seeds)
  )
  # Results of another recipe than the row has now are not taken.
  done = reproduce.known_results(todo, kept)
  assert done
  assert reproduce.page(done, seeds) == text


@pytest.mark.parametrize(
  ('argv', 'says'),
  [
    ([], 'expected one such as timesformer/table1'),
    (['timesformer/table9'], 'timesformer/table'),
    (['timesformer/table1', '--row', 'Spaced'], 'expected one of'),
    (['timesformer/table2', '--row', 'SlowFast'], 'row of timesformer/table2'),
    (['timesformer/table1', '--seeds=0'], 'expected at least 1'),
    (['timesformer/table1', '--set=motion'], 'try --scale=tiny'),
    (['timesformer/table1', '--start', 'k400'], 'expected KIND=FILE'),
    (['timesformer/table1'], 'try --start imagenet-21k=FILE'),
  ],
)
def test_wrong_use_is_one_message_with_the_next_move(argv, says, capsys):
  assert run.main([*argv, '--launch=dry-run']) == 2
  error = capsys.readouterr().err
  assert says in error
  assert error.count('\n') == 1


def test_the_list_is_one_json_document(capsys):
  assert run.main(['--list', '--json']) == 0
  tree = json.loads(capsys.readouterr().out)
  by_name = {table['name']: table for table in tree['tables']}
  assert by_name.keys() == paper_rows.all_tables().keys()
  for table in by_name.values():
    assert table['source']
    assert table['rows']


def job(name: str, row: paper_rows.Row, **fields) -> jobs.Job:
  return jobs.Job(
    table=paper_rows.find(name),
    row=row,
    workdir=pathlib.Path('/nowhere'),
    starts=dict.fromkeys(STARTS, 'weights.npz'),
    **fields,
  )


TRAINED = [
  (table.name, row)
  for table, row in paper_rows.all_rows()
  if row.recipe and not row.trained_as
]


@pytest.mark.parametrize(('scale', 'every'), [('full', 30), ('tiny', 120)])
def test_the_printed_commands_mean_the_very_recipe(scale, every):
  for name, row in TRAINED[::every]:
    each = job(name, row, scale=scale, set='mixed' if scale == 'tiny' else '')
    where, *overrides = run.flags_of(each)
    said = recipe.load(where.removeprefix('--config='), overrides)
    assert cfg.as_dict(said) == cfg.as_dict(each.config()), (name, row.name)


def test_tiny_recipes_have_the_rules_sizes_and_what_the_row_is_about():
  table = paper_rows.find('timesformer/table1')
  full = recipe.of_row(table.row('Divided Space-Time, K400'))
  small = tiny.shrink(full, kept=())
  assert small.model['attention'] == 'divided'
  assert (small.model['layers'], small.model['heads']) == (4, 3)
  assert small.model['width'] == 48
  assert (small.clip.frames, small.clip.size, small.clip.stride) == (4, 64, 4)
  assert small.optim.steps == tiny.STEPS
  assert small.model['fresh'] == 'scratch'
  assert tiny.shrink(full, random=False).model['fresh'] == 'image'
  figure = paper_rows.find('timesformer/figure4')
  row = figure.row('TimeSformer, K400, 25%')
  kept = tiny.chosen(row)
  assert tiny.shrink(recipe.of_row(row), kept=kept).data.share == 0.25


SEEN: set[str] = set()  # tiny recipes that have taken their steps


@pytest.mark.slow
@pytest.mark.slow_every(150)
@pytest.mark.parametrize(
  ('table', 'row'),
  [pytest.param(t, r, id=f'{t}: {r.name}') for t, r in TRAINED],
)
def test_every_row_takes_two_steps(table, row):
  """At tiny scale; recipes that are alike, once."""
  config = job(table, row, scale='tiny', set='mixed').config()
  text = json.dumps(cfg.as_dict(config), sort_keys=True)
  if text in SEEN:
    pytest.skip('another row has the same tiny recipe')
  SEEN.add(text)
  tree = cfg.as_dict(config)
  tree['batch'] = 4
  tree['loss']['teacher'] = ''  # a run of another row
  if 'token_head' in tree['model']:
    tree['model']['token_head'] = False
  config = cfg.check(tree)
  training = build.build(
    config, classes=8, examples=64, devices=jax.devices()[:1]
  )
  state = create_state(training.init, training.shardings)
  clip, rng = config.clip, np.random.default_rng(0)
  shape = (4, clip.frames, clip.size, clip.size, 3)
  batch = {
    'video': rng.integers(0, 256, shape, np.uint8),
    'label': np.arange(4, dtype=np.int32),
    'mask': np.ones(4, np.float32),
  }
  step = training.train_step()
  with jax.set_mesh(training.mesh):
    for _ in range(2):
      state, packed = step(state, batch)
  assert int(state.step) == 2
  assert all(np.isfinite(v).all() for v in jax.tree.leaves(packed))


def test_jobs_come_after_those_they_need(stranger):
  workdir, _ = stranger
  table = paper_rows.find('stranger/mine')
  todo = [
    jobs.Job(table=table, row=row, scale='tiny', workdir=workdir, set='mixed')
    for row in reversed(table.rows)
    if row.ours
  ]
  names = [each.row.name for each in schedule.in_order(todo)]
  assert names == ['space', 'image', 'goes on', 'both', 'more views']


def test_claims_name_rows_that_exist_and_a_page_without_runs_says_so(tmp_path):
  assert len(reproduce.CLAIMS) == 8
  for claim in reproduce.CLAIMS:
    for tried in claim.tried:
      each = reproduce.job_of(tried, workdir=tmp_path, seed=0)
      assert each.row.ours
    keys = [tried.key for tried in claim.tried]
    assert len(set(keys)) == len(keys)
    # No claim holds of accuracies that rise, and of those that fall.
    rising = {key: 10.0 * i for i, key in enumerate(keys)}
    falling = {key: 90 - value for key, value in rising.items()}
    parts = [*claim.check(rising), *claim.check(falling)]
    assert not all(holds for _, holds in parts), claim.source
    assert any(holds for _, holds in parts), claim.source


def test_slurm_gets_trainings_in_the_order_that_they_need(
  stranger, tmp_path, monkeypatch, capsys
):
  log = tmp_path / 'log'
  sbatch = tmp_path / 'sbatch'
  sbatch.write_text(
    f'#!/bin/sh\necho "$@" >> {log}\necho "$(wc -l < {log});cluster"\n'
  )
  sbatch.chmod(0o755)
  monkeypatch.setenv('PATH', str(tmp_path), prepend=':')
  _, argv = stranger
  assert run.main([*argv, '--launch=slurm']) == 0
  space, image, goes_on = log.read_text().splitlines()
  for line, row in ((space, 'space'), (image, 'image'), (goes_on, 'goes-on')):
    assert f'/{row}/mixed-seed0/run' in line.split()[-1]
    assert 'slurm.sbatch --config=' in line
  assert '--dependency' not in space + image
  assert '--dependency=afterok:2 ' in goes_on  # the image model's job
  assert 'goes on (mixed, seed 0): job 3' in capsys.readouterr().out


def test_without_sbatch_the_message_has_the_next_move(
  stranger, monkeypatch, capsys
):
  monkeypatch.setenv('PATH', '/nowhere')
  _, argv = stranger
  assert run.main([*argv, '--launch=slurm']) == 2
  assert 'try --launch=dry-run' in capsys.readouterr().err


def test_names_that_differ_in_signs_alone_have_folders_of_their_own():
  assert jobs.slug('ViT-B, 8 frames') == 'ViT-B-8-frames'
  assert jobs.slug('50%') != jobs.slug('50') != jobs.slug('50*')
  assert '/' not in jobs.slug('a/b')
