"""The weights command from a file to a folder, to a file again."""

import contextlib
import hashlib
import json

import fake
import jax
import numpy as np
import pytest

from vidmodels import models
from vidmodels.cli import main, recipe
from vidmodels.data.records.task import SINGLE, Task
from vidmodels.train import loop, restore
from vidmodels.train.checkpoint import Checkpoints
from vidmodels.weights import export
from vidmodels.weights.formats.open_file import open_file

CLASSES = tuple(f'kind {k}' for k in range(3))
FIELDS = {'width': 16, 'layers': 2, 'heads': 2, 'patch': 8}
FLAGS = [
  '--config.clip.frames=4',
  '--config.clip.size=16',
  '--config.augment.short_side=(16, 18)',
  *(f'--config.model.{name}={value}' for name, value in FIELDS.items()),
]


def state(family: str, classes: int, frames: int, **more) -> dict:
  """A tiny model's weights under published names."""
  model = models.build(family, classes=classes, **FIELDS, **more)
  video = np.zeros((1, frames, 16, 16, 3), np.float32)
  variables = jax.jit(model.init)(jax.random.key(2), video)
  rng = np.random.default_rng(1)
  draw = lambda x: np.float32(0.1 * rng.normal(size=x.shape))
  return export.name_tensors(family, model, jax.tree.map(draw, variables))[1]


@pytest.fixture(scope='module')
def release(tmp_path_factory):
  """A video model's file."""
  path = tmp_path_factory.mktemp('release') / 'video.npz'
  return export.write(path, state('timesformer', 3, 4), to='npz')


@pytest.fixture(scope='module')
def image(tmp_path_factory):
  """An image model's file."""
  path = tmp_path_factory.mktemp('image') / 'image.safetensors'
  return export.write(path, state('vit', 10, 1), to='safetensors')


@pytest.fixture(scope='module')
def records(tmp_path_factory):
  folder = tmp_path_factory.mktemp('records')
  fake.write(folder, classes=CLASSES)
  return fake.write(folder, 'test', videos=4, classes=CLASSES)


def run(capsys, *argv: str) -> dict:
  assert main(['weights', *map(str, argv), '--json']) == 0
  return json.loads(capsys.readouterr().out)


def test_inspect_says_what_a_file_is(capsys, release, image):
  found = run(capsys, 'inspect', release)
  (likely,) = found['likely']
  assert (likely['family'], likely['names']) == ('timesformer', 'release')
  assert (likely['classes'], likely['clip']) == (3, [4, 16, 16, 3])
  assert likely['model']['layers'] == 2
  assert found['numbers'] == sum(
    np.prod(t['shape'], dtype=int) for t in found['tensors']
  )
  assert len(found['sha256']) == 64
  assert main(['weights', 'inspect', str(image)]) == 0
  said = capsys.readouterr().out
  assert 'likely vit' in said
  assert 'more; --tensors=0 shows all' in said
  assert '10 classes' in said


@pytest.mark.slow
def test_a_release_becomes_a_folder_that_evaluates_and_goes_back(
  capsys, tmp_path, release, records
):
  names = tmp_path / 'names.txt'
  names.write_text('\n'.join(CLASSES) + '\n')
  out = tmp_path / 'imported'
  config = ['--config=timesformer', *FLAGS]
  said = run(
    capsys, 'import', release, *config, '--out', out, '--classes', names
  )
  assert said['dropped'] == said['random'] == said['changed'] == {}
  model = restore.load(out)
  assert (model.step, model.classes.names) == (0, CLASSES)
  assert model.task == SINGLE
  more = ['--classes', names, '--labels', 'multi']
  run(capsys, 'import', release, *config, '--out', tmp_path / 'multi', *more)
  assert restore.load(tmp_path / 'multi').task == Task('multi')
  more[-1] = 'verb=1,noun=9'
  argv = ['import', release, *config, '--out', tmp_path / 'no', *more]
  assert main(['weights', *map(str, argv)]) == 2
  assert 'expected 10' in capsys.readouterr().err
  argv = ['evaluate', '--workdir', str(out), '--data', str(records)]
  argv += ['--split', 'test', '--json']
  assert main(argv) == 0
  report = json.loads(capsys.readouterr().out)
  assert report['videos'] == 4
  for to in ('npz', 'safetensors'):
    again = tmp_path / f'again.{to}'
    run(capsys, 'export', out, '--to', to, '--out', again)
    found = run(capsys, 'diff', release, again)
    same = len(open_file(release).tensors)
    wanted = {'same': same, 'different': [], 'unread': {}}
    assert found == wanted
    # A folder is compared by the file's names, on either side.
    assert run(capsys, 'diff', out, again) == wanted
    assert run(capsys, 'diff', again, out) == wanted
    assert run(capsys, 'diff', out, out)['different'] == []
  assert (
    main(['weights', 'export', str(out), '--to=npz', f'--out={again}']) == 2
  )
  assert 'exists' in capsys.readouterr().err
  hub = run(
    capsys, 'export', out, '--to=npz', '--out', tmp_path / 'h', '--names=hf'
  )
  assert hub['names'] == 'timesformer hf'
  assert run(capsys, 'diff', out, tmp_path / 'h')['different'] == []


def test_a_pth_is_what_the_authors_code_loads(capsys, tmp_path, release):
  torch = pytest.importorskip('torch', reason='torch is not installed')
  out, path = tmp_path / 'imported', tmp_path / 'again.pth'
  run(capsys, 'import', release, '--config=timesformer', *FLAGS, '--out', out)
  run(capsys, 'export', out, '--to=pth', '--out', path)
  loaded = torch.load(path, weights_only=True)
  assert list(loaded) == ['model_state']
  wanted = open_file(release).tensors
  assert set(loaded['model_state']) == set(wanted)
  for key, tensor in loaded['model_state'].items():
    np.testing.assert_array_equal(tensor.numpy(), wanted[key])


def test_unnamed_classes_are_not_taken_for_those_of_records(
  capsys, tmp_path, release, records
):
  out = tmp_path / 'imported'
  run(capsys, 'import', release, '--config=timesformer', *FLAGS, '--out', out)
  assert restore.load(out).classes.names == ('class 0', 'class 1', 'class 2')
  argv = ['evaluate', '--workdir', str(out), '--data', str(records)]
  assert main([*argv, '--split', 'test']) == 2
  assert "'class 0'" in capsys.readouterr().err


def test_what_the_hub_says_of_a_file_travels_along(capsys, tmp_path):
  path = export.write(
    tmp_path / 'model.safetensors',
    hub_state(),
    to='safetensors',
  )
  names = {str(k): f'kind {k}' for k in range(3)}
  config = {'model_type': 'vit', 'id2label': names, 'layer_norm_eps': 1e-12}
  (tmp_path / 'config.json').write_text(json.dumps(config))
  flags = [f for f in FLAGS if 'frames' not in f]
  out = tmp_path / 'out'
  said = run(capsys, 'import', path, '--config=vit', '--out', out, *flags)
  assert any('epsilon 1e-12' in note for note in said['notes'])
  assert restore.load(out).classes.names == CLASSES
  with contextlib.closing(Checkpoints(out)) as saved:
    source = saved.read_json(0, 'meta')['source']
  assert source['classes'] == list(CLASSES)
  assert source['trained'] == {'activation': 'gelu', 'epsilon': 1e-12}
  assert (source['mean'], source['std']) == ([0.5] * 3, [0.5] * 3)
  assert source['channels'] == 'RGB'
  assert source['sha256'] == hashlib.sha256(path.read_bytes()).hexdigest()


def hub_state() -> dict:
  """An image ViT under the hub's names."""
  model = models.build('vit', classes=3, **FIELDS)
  variables = model.init(jax.random.key(2), np.zeros((1, 1, 16, 16, 3)))
  return export.name_tensors('vit', model, variables, name='hf')[1]


@pytest.mark.slow
def test_training_starts_from_an_image_file_and_resumes_without_it(
  tmp_path, image, records
):
  said = []
  flags = [*FLAGS, f'--config.init_from={image}']
  flags += [f'--config.data.dir={records}', '--config.optim.epochs=0.0']
  flags += ['--config.optim.steps=2', '--config.batch=8']
  flags += ['--config.optim.milestones=()', '--config.optim.factors=()']
  flags += ['--config.optim.schedule=constant', '--config.dtype=float32']
  flags += ['--config.optim.lr=1e-9', '--config.optim.ema=0.5']
  config = recipe.load('timesformer', flags)
  workdir = tmp_path / 'run'
  loop.train(config, workdir, progress=lambda d, t, line: said.append(line))
  text = '\n'.join(said)
  assert 'read as vit timm into timesformer' in text
  assert 'random head/kernel' in text
  assert 'dropped head.weight' in text
  assert 'the file was trained with mean' not in text  # timm's say nothing
  model = restore.load(workdir, weights='params')
  source = open_file(image).tensors['blocks.1.mlp.fc1.weight']
  kernel = np.asarray(model.params['block_1']['mlp']['up']['kernel'])
  np.testing.assert_allclose(kernel, source.T, atol=1e-6)
  averaged = restore.load(workdir, weights='ema')
  kernel = np.asarray(averaged.params['block_1']['mlp']['up']['kernel'])
  np.testing.assert_allclose(kernel, source.T, atol=1e-6)
  # What it began with is known, and the file is not needed any more.
  from vidmodels.train.checkpoint import Checkpoints

  saved = Checkpoints(workdir)
  assert saved.read_json(2, 'meta')['source']['family'] == 'vit'
  saved.close()
  moved = image.with_suffix('.moved')
  image.rename(moved)
  try:
    assert loop.train(config, workdir).step == 2
  finally:
    moved.rename(image)


@pytest.mark.parametrize(
  ('argv', 'says'),
  [
    (['inspect', 'none.pth'], 'is no file'),
    (['import', 'F', '--config=timesformer', '--out=D'], 'has shape'),
    (['import', 'F', '--config=i3d', '--out=D'], 'takes i3d'),
    (['export', 'none', '--to=npz', '--out=x.npz'], 'does not exist'),
    (['diff', 'F', 'none'], 'is no file'),
    (['inspect', 'F', '--config.batch=3'], 'only import takes'),
  ],
)
def test_wrong_input_ends_in_code_2_and_writes_nothing(
  capsys, tmp_path, monkeypatch, release, argv, says
):
  monkeypatch.chdir(tmp_path)
  argv = [str(release) if a == 'F' else a for a in argv]
  assert main(['weights', *argv]) == 2
  assert says in capsys.readouterr().err
  assert list(tmp_path.iterdir()) == []


def test_a_wrong_file_to_start_from_leaves_no_workdir(tmp_path, records):
  bad = tmp_path / 'bad.npz'
  np.savez(bad, nothing=np.zeros(3, np.float32))
  for path, says in ((tmp_path / 'none.pth', 'no file'), (bad, 'no family')):
    flags = [*FLAGS, f'--config.init_from={path}']
    flags += [f'--config.data.dir={records}', '--config.optim.epochs=150.0']
    config = recipe.load('timesformer', flags)
    with pytest.raises(ValueError, match=says):
      loop.train(config, tmp_path / 'run')
    assert not (tmp_path / 'run').exists()


def test_import_takes_one_file(capsys, tmp_path, release):
  argv = ['import', str(release), '--config=timesformer', *FLAGS]
  argv += [f'--config.init_from={release}', '--out', str(tmp_path / 'out')]
  assert main(['weights', *argv]) == 2
  assert 'leave init_from out' in capsys.readouterr().err
  assert not (tmp_path / 'out').exists()


def test_inspect_shows_the_tensors_of_a_file_that_it_cannot_place(
  capsys, tmp_path, release
):
  arrays = {k: v.copy() for k, v in open_file(release).tensors.items()}
  key = next(k for k in arrays if k.endswith('pos_embed'))
  arrays[key] = np.concatenate([arrays[key]] * 2, axis=1)[:, :7]
  path = export.write(tmp_path / 'oblong.npz', arrays, to='npz')
  found = run(capsys, 'inspect', path)
  assert found['likely'] == []
  assert 'not a square' in found['unreadable'][0]
  assert len(found['tensors']) == len(arrays)
  assert main(['weights', 'inspect', str(path)]) == 0
  assert 'perhaps timesformer (release)' in capsys.readouterr().out


def test_diff_names_what_differs(capsys, tmp_path, release):
  changed = {k: v.copy() for k, v in open_file(release).tensors.items()}
  key = next(k for k in changed if k.endswith('norm.bias'))
  changed[key][0] += 0.5
  del changed[next(k for k in changed if k.endswith('head.bias'))]
  path = export.write(tmp_path / 'b.npz', changed, to='npz')
  found = run(capsys, 'diff', release, path)
  kinds = {row['kind'] for row in found['different']}
  assert kinds == {'values', 'only in A'}
  row = next(r for r in found['different'] if r['kind'] == 'values')
  assert (row['key'], round(row['largest'], 6)) == (key, 0.5)
  near = run(capsys, 'diff', release, path, '--tolerance=0.6')
  assert len(near['different']) == 1
  assert main(['weights', 'diff', str(release), str(path)]) == 0
  assert '2 tensors differ' in capsys.readouterr().out


def test_diff_of_a_folder_and_a_file_names_what_differs_by_the_file_s_keys(
  capsys, tmp_path, release
):
  out = tmp_path / 'imported'
  run(capsys, 'import', release, '--config=timesformer', *FLAGS, '--out', out)
  changed = {k: v.copy() for k, v in open_file(release).tensors.items()}
  key, short = 'model.norm.bias', 'model.head.weight'
  changed[key][0] += 0.5
  changed[short] = changed[short].astype(np.float16).astype(np.float32)
  changed[short] = changed[short].astype(np.float16)
  changed['model.blocks.1.temporal_fc.bias'] = np.zeros(7, np.float32)
  path = export.write(tmp_path / 'b.npz', changed, to='npz')
  rows = run(capsys, 'diff', out, path, '--tolerance=1e-3')['different']
  found = {row['key']: row for row in rows}
  assert {key: row['kind'] for key, row in found.items()} == {
    key: 'values',
    short: 'dtype',
    'model.blocks.1.temporal_fc.bias': 'shape',
  }
  assert (found[short]['a_dtype'], found[short]['b_dtype']) == (
    'float32',
    'float16',
  )
  argv = ['weights', 'diff', str(path), str(out), '--tolerance=1e-3']
  assert main(argv) == 0
  said = capsys.readouterr().out
  assert f'{short}: dtype float16 and float32' in said
  assert '[7] and [16], float32' in said
  assert '3 tensors differ (1 of them in dtype alone)' in said
  other = export.write(tmp_path / 'hub.npz', hub_state(), to='npz')
  assert main(['weights', 'diff', str(out), str(other)]) == 2
  assert 'vit and the folder holds timesformer' in capsys.readouterr().err
