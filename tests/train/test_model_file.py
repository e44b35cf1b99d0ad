"""A run as one file: it answers as the run does, and a new run starts there."""

import dataclasses
import functools
import json
import pathlib

import fake
import jax
import made_run
import numpy as np
import pytest
import tiny
from safetensors import safe_open

from vidmodels import config as cfg
from vidmodels.cli import main
from vidmodels.data.records.class_list import ClassList
from vidmodels.train import init_from, loop, model_file, restore
from vidmodels.train.step import make_eval_step
from vidmodels.typing import InputError
from vidmodels.weights import load_weights, own_files
from vidmodels.weights.formats.open_file import open_file

MEAN, STD = (0.41, 0.42, 0.43), (0.21, 0.22, 0.23)


@pytest.fixture(scope='module')
def records(tmp_path_factory) -> pathlib.Path:
  return fake.write(tmp_path_factory.mktemp('records'))


@pytest.fixture(scope='module')
def run(tmp_path_factory) -> pathlib.Path:
  """A run of four steps with averaged weights and checkpoints 2 and 4."""
  return made_run.write(
    tmp_path_factory.mktemp('run') / 'first',
    steps=(2, 4),
    optim__ema=0.5,
    data__mean=MEAN,
    data__std=STD,
  )


@pytest.fixture(scope='module')
def exported(tmp_path_factory, run) -> pathlib.Path:
  path = tmp_path_factory.mktemp('out') / 'first.safetensors'
  return model_file.save(restore.load(run), path).path


def logits(model) -> np.ndarray:
  """Answers to one clip; models that are alike share the compiled program."""
  video_BTHWC = np.random.default_rng(0).integers(
    0, 255, (2, 4, 16, 16, 3), np.uint8
  )
  data = model.config.data
  step = compiled(model.model, data.mean, data.std)
  return np.asarray(step(model.params, model.model_state, video_BTHWC))


@functools.cache
def compiled(module, mean, std):
  data = cfg.Data(dir='records', mean=mean, std=std)
  return jax.jit(make_eval_step(module, data))


@pytest.mark.parametrize(
  ('to', 'names'),
  [
    ('safetensors', ''),
    ('npz', ''),
    ('safetensors', 'vidmodels'),
    ('npz', 'vidmodels'),
    ('safetensors', 'hf'),
  ],
)
@pytest.mark.fast_every(2)
def test_a_file_answers_as_the_run_does(tmp_path, run, to, names):
  model = restore.load(run)
  saved = model_file.save(model, tmp_path / f'f.{to}', to=to, names=names)
  again = model_file.load(saved.path)
  np.testing.assert_array_equal(logits(again), logits(model))
  for name in ('classes', 'task', 'step', 'weights', 'fps'):
    assert getattr(again, name) == getattr(model, name), name
  ours, theirs = again.config, model.config
  for name in ('family', 'clip', 'views', 'batch', 'dtype', 'optim'):
    assert getattr(ours, name) == getattr(theirs, name), name
  assert (ours.data.mean, ours.data.std) == (MEAN, STD)
  assert again.model == model.model  # every field, heads too


def test_a_file_says_what_it_is_to_anyone_who_reads_its_header(run, exported):
  with safe_open(exported, framework='np') as file:
    said = json.loads(file.metadata()['vidmodels'])
  model = restore.load(run)
  assert said['classes'] == list(model.classes.names)
  assert said['classes_sha256'] == model.classes.sha256
  assert (said['family'], said['step']) == ('timesformer', 4)
  assert (said['weights'], said['channels']) == ('ema', 'RGB')
  recipe = said['recipe']
  assert recipe['model']['heads'] == model.model.heads == 2
  assert recipe['data']['mean'] == list(MEAN)
  assert recipe['clip']['frames'] == 4
  assert recipe['views']['spatial'] == model.config.views.spatial
  # A file goes to strangers: it names no place on this machine.
  assert str(run.parent) not in json.dumps(said)
  assert str(model.config.data.dir) not in json.dumps(said)


def test_inspect_shows_what_a_file_says(capsys, exported):
  assert main(['weights', 'inspect', str(exported)]) == 0
  text = capsys.readouterr().out
  assert 'written by vidmodels' in text
  assert 'after 4 steps (ema)' in text
  assert fake.CLASSES[0] in text
  assert 'heads=2' in text
  assert 'assumed' not in text
  assert str(list(MEAN)) in text


def test_a_folder_for_the_hub_has_both_documents(tmp_path, capsys, run):
  argv = ['weights', 'export', str(run), '--to=safetensors', '--names=hf']
  folder = tmp_path / 'hub'
  assert main([*argv, f'--out={folder}']) == 0
  names = {path.name for path in folder.iterdir()}
  assert names == {
    'model.safetensors', 'config.json', 'preprocessor_config.json'
  }  # fmt: skip
  config = json.loads((folder / 'config.json').read_text())
  assert config['model_type'] == 'timesformer'
  assert config['num_attention_heads'] == 2
  assert config['num_frames'] == 4
  assert list(config['id2label'].values()) == list(fake.CLASSES)
  pixels = json.loads((folder / 'preprocessor_config.json').read_text())
  assert (pixels['image_mean'], pixels['image_std']) == (list(MEAN), list(STD))
  # The folder is a model here too, and so it is without our own notes.
  np.testing.assert_array_equal(
    logits(model_file.load(folder)), logits(restore.load(run))
  )
  path = folder / 'model.safetensors'
  bare = dataclasses.replace(open_file(path), description='')
  imported = load_weights.load_file(bare, 'timesformer')
  assert imported.model.heads == 2
  assert imported.labels == tuple(fake.CLASSES)
  assert (imported.pixels.mean, imported.pixels.std) == (MEAN, STD)
  assert main([*argv, f'--out={folder}']) == 2  # nothing is written over
  assert main([*argv, f'--out={folder / "other.safetensors"}']) == 2
  assert {path.name for path in folder.iterdir()} == names


def test_a_file_becomes_a_folder_again_without_a_recipe(
  tmp_path, run, exported
):
  out = tmp_path / 'again'
  argv = ['weights', 'import', str(exported), f'--out={out}']
  assert main(argv) == 0
  model, again = restore.load(run), restore.load(out)
  np.testing.assert_array_equal(logits(again), logits(model))
  assert again.classes == model.classes
  assert again.task == model.task


@pytest.mark.parametrize('source', ['step', 'folder', 'file'])
@pytest.mark.fast_every(3)
def test_a_run_starts_from_another_run(run, exported, records, source):
  path = {'folder': run, 'step': f'{run}@2', 'file': exported}[source]
  wanted = restore.load(run, step=2 if source == 'step' else None)
  assert wanted.weights == 'ema'
  imported = load_weights.load_for_recipe(
    tiny.config(records),
    model_file.open_source(path),
    classes=len(fake.CLASSES),
    class_names=fake.CLASSES,
  )
  assert imported.report.random == {}
  jax.tree.map(
    np.testing.assert_array_equal, imported.variables['params'], wanted.params
  )
  assert (imported.pixels.mean, imported.pixels.std) == (MEAN, STD)
  assert imported.labels == tuple(fake.CLASSES)


@pytest.mark.slow
def test_train_starts_from_a_workdir_and_says_how_pixels_differ(
  tmp_path, run, records
):
  lines = []
  config = tiny.config(
    records, init_from=run, optim__steps=1, optim__warmup=0.0
  )
  loop.train(
    config, tmp_path / 'second', progress=lambda d, t, line: lines.append(line)
  )
  text = '\n'.join(lines)
  assert f'trained with mean {MEAN} and std {STD}' in text
  assert 'random' not in text
  source = restore.load(tmp_path / 'second').source
  assert (source['file'], source['mean']) == ('first', list(MEAN))
  assert source['classes'] == list(fake.CLASSES)
  assert len(source['sha256']) == 64


def test_a_head_of_other_classes_is_not_taken(run, records):
  source = model_file.open_source(run)
  take = lambda **more: load_weights.load_for_recipe(
    tiny.config(records), source, classes=len(fake.CLASSES), **more
  )
  other = tuple(f'other {name}' for name in fake.CLASSES)
  imported = take(class_names=other)
  assert set(imported.report.random) == {'head/kernel', 'head/bias'}
  assert 'names' in imported.report.random['head/bias']
  assert imported.labels == ()
  assert take(class_names=other, head='keep').report.random == {}


def test_other_heads_than_a_file_says_are_refused(exported, records):
  with pytest.raises(InputError, match=r'expected 2.*heads=2'):
    load_weights.load_for_recipe(tiny.config(records, model__heads=4), exported)


@pytest.mark.parametrize(
  ('change', 'says'),
  [
    ({'classes': ['a', 'b']}, 'hash'),
    ({'classes': [1, 2, 3]}, 'expected str'),
    ({'format': 2}, 'got format 2'),
    ({'recipe': {}}, 'family and model'),
    ({'recipe': None}, 'expected dict'),
    ({'channels': 'GBR'}, 'RGB'),
    ({'step': '4'}, 'expected int'),
    ({'task': {}}, 'kind'),
    ({'task': {'kind': 'single', 'heads': [['verb', 9]]}}, 'expected 9'),
    ({'fps': -1.0}, 'at least 0'),
    ({'names': 'nobody'}, 'nobody'),
    (None, 'cannot be read'),
  ],
)
def test_a_description_that_was_edited_is_refused_in_one_message(
  exported, change, says
):
  file = open_file(exported)
  text = '{"' + 'x' * 9
  if change is not None:
    text = json.dumps({**json.loads(file.description), **change})
  with pytest.raises(InputError, match=says):
    own_files.list_matches(dataclasses.replace(file, description=text))


def test_somebody_else_s_file_is_no_model_by_itself(tmp_path, exported):
  bare = tmp_path / 'bare.safetensors'
  from safetensors.numpy import load_file, save_file

  save_file(load_file(exported), bare)
  with pytest.raises(InputError, match=r'does not say.*weights import'):
    model_file.load(bare)
  argv = ['weights', 'import', str(bare), f'--out={tmp_path / "out"}']
  assert main(argv) == 2
  # Nothing tells its heads: they are asked for, not guessed.
  with pytest.raises(InputError, match='heads=NUMBER'):
    load_weights.load_path(bare, 'timesformer')
  assert load_weights.load_path(bare, 'timesformer', heads=2).model.heads == 2


def test_the_licence_of_the_first_weights_stays(tmp_path, run, records):
  saved = model_file.save(
    dataclasses.replace(
      restore.load(run), source={'file': 'K400.pyth', 'licence': 'CC'}
    ),
    tmp_path / 'f.npz',
    to='npz',
  )
  imported = load_weights.load_for_recipe(
    tiny.config(records), model_file.open_source(saved.path)
  )
  assert init_from.source_metadata(imported)['licence'] == 'CC'
  assert ClassList(imported.labels).names == tuple(fake.CLASSES)
