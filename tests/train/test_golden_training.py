"""The trainer's own step learns as the authors' code does.

A file holds a short training of a tiny model by the authors' optimiser,
schedule, loss and mixing: its start, batches and draws, and rates, losses,
logits, gradient norms and weights on the way. Files come from the folder of
reference files and from those in VIDMODELS_GOLDEN_TRAINING (':' between).

The file names the release's configuration, which is one of our recipes, and its
numbers: sizes, lengths, rates, decay, smoothing, clipping. Those replace the
recipe's. How they are used is the recipe's own: which parameters decay and at
which rate they learn, when the schedule moves on and where the warm-up leads.
"""

import dataclasses
import functools
import hashlib
import json
import os
import pathlib
import re
from collections.abc import Mapping
from typing import Any

import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidmodels import config as cfg
from vidmodels import models
from vidmodels.cli import recipe
from vidmodels.train import build, metrics, mixup, optim, state, step

# Relative to the authors': of a loss, and of the whole update in L2.
LOSS, UPDATE = 5e-6, {'sgd': 5e-5, 'adam': 2e-4, 'adamw': 2e-4}
LOGITS, RATIO = 3e-5, 4.0
# What a word of a release's file name is in a recipe's argument. Of several
# sets the last one counts: that of 'Kinetics/..._K600.yaml'.
SETS = (
  *('k400', 'k600', 'ssv2', 'diving48', 'hmdb51', 'ucf101', 'activitynet'),
  'howto100m',
)
WORDS = {
  **{'kinetics': 'k400', 'kinetics400': 'k400', 'kinetics600': 'k600'},
  **{'vidtrm': 'm', 'vidtrl': 'l'},
  **{'cvidtrs': 'compact-s', 'cvidtrm': 'compact-m'},
  **{word: word for word in (*SETS, 'small', 'base')},
}


def files() -> dict[str, pathlib.Path]:
  """Every file by a name to show; one that lies in two folders is here once."""
  shared = os.environ.get(
    'VIDMODELS_SHARED', golden.HERE.parent.parent / 'shared'
  )
  more = os.environ.get('VIDMODELS_GOLDEN_TRAINING', '').split(':')
  found, seen = {}, set()
  for folder in (pathlib.Path(shared) / 'golden_training', *filter(None, more)):
    # The smallest first: the fast lane takes it.
    paths = pathlib.Path(folder).rglob('*.npz')
    for path in sorted(paths, key=lambda path: (path.stat().st_size, path)):
      digest = hashlib.sha256(path.read_bytes()).digest()
      if digest not in seen:
        seen.add(digest)
        name = path.stem
        while name in found:
          name += "'"
        found[name] = path
  return found


FILES = files()


@dataclasses.dataclass(frozen=True)
class Training:
  """A file, and the run of ours that it asks for."""

  said: Mapping[str, Any]  # the file's config
  arrays: Mapping[str, np.ndarray]
  family: str
  config: cfg.Config  # our recipe with the file's numbers
  examples: int  # of an epoch
  model: Any
  variables: Mapping[str, Any]  # the start


@dataclasses.dataclass(frozen=True)
class Trained:
  """What our step did, by update."""

  rates: list[float]
  losses: list[float]
  norms: list[float]
  logits: list[np.ndarray]
  after: dict[int, dict[str, np.ndarray]]  # under the authors' names


def recipe_name(family: str, said: Mapping) -> str:
  """Our recipe of the release's configuration that a file names."""
  file = said.get('released_recipe', {}).get('file', '').lower()
  file = re.sub('(c?vidtr)_', r'\1', file)
  words = [WORDS.get(word) for word in re.split('[^a-z0-9]+', file)]
  words += {'joint_space_time': ['joint'], 'space_only': ['space']}.get(
    said['model_config'].get('attention'), []
  )
  sets = [word for word in words if word in SETS]
  words = [word for word in words if word and word not in SETS] + sets[-1:]
  return f'{family}:{",".join(dict.fromkeys(words))}'


def schedule_of(said: Mapping, ours: cfg.Optim) -> tuple[dict, float]:
  """The file's schedule as fields of `optim`, and its updates in an epoch."""
  theirs, M = said['schedule'], said['accumulate']
  iterations = theirs['iterations_per_epoch']
  text = json.dumps(theirs).lower()
  # Iterations are updates, or microbatches where the file says so.
  whole = iterations * theirs['max_epoch']
  micro = whole == said['steps'] * M or (
    whole != said['steps'] and 'micro' in text
  )
  per_update = M if micro else 1
  warm = theirs.get('warmup_steps', theirs.get('warmup_iterations'))
  warmup = theirs.get('warmup_epochs') or 0
  if warm is not None:
    warmup = warm / iterations
  base = theirs['base_lr']
  fields = {
    'lr': base,
    'lr_batch': 0,
    'epochs': theirs['max_epoch'],
    'warmup': warmup,
  }
  # The rate of an update is that of its last microbatch; a recipe that is early
  # says this of the release's own number of them.
  fields['late'] = max(ours.late, 0.0) + 1 / per_update - 1
  if not warmup:
    fields |= {'warmup_lr': 0.0, 'warmup_to': 'schedule'}
  elif 'warmup_ratio' in theirs:
    fields['warmup_lr'] = theirs['warmup_ratio'] * base
  else:
    fields['warmup_lr'] = theirs.get('warmup_start_lr', theirs.get('warmup_lr'))
  if 'cosine' in text:
    fields['schedule'] = 'cosine'
    low = [theirs[n] for n in ('min_lr', 'end_lr') if theirs.get(n) is not None]
    fields['final_lr'] = low[0] if low else 0.0
    assert not (fields['final_lr'] and ours.rates), (
      'final_lr is multiplied by the factors of rates; the file has one for all'
    )
    return fields | {'milestones': (), 'factors': ()}, iterations / per_update
  if 'milestones_epochs' in theirs:
    edges = theirs['milestones_epochs']
    factors = [theirs['gamma'] ** (i + 1) for i in range(len(edges))]
  else:
    edges, factors = theirs['steps_epochs'][1:], theirs['relative_lrs'][1:]
    assert (theirs['steps_epochs'][0], theirs['relative_lrs'][0]) == (0, 1)
  fields |= {'milestones': edges, 'factors': factors, 'final_lr': 0.0}
  return fields | {
    'schedule': 'step' if edges else 'constant'
  }, iterations / per_update


def optimizer_of(said: Mapping) -> dict:
  """The file's optimiser as fields of `optim`."""
  theirs, groups = said['optimizer'], said['groups']
  fields = {
    'name': theirs['name'],
    'weight_decay': max(group['weight_decay'] for group in groups),
    'clip_norm': (said['clip'] or {}).get('global_norm', 0.0),
  }
  if theirs['name'] == 'sgd':
    assert not theirs['dampening'], 'our SGD has no dampening'
    return fields | {n: theirs[n] for n in ('momentum', 'nesterov')}
  fields['b1'], fields['b2'] = theirs['betas']
  return fields | {'eps': theirs['eps'], 'momentum': 0.9, 'nesterov': True}


def model_config(said: Mapping) -> dict:
  """The file's fields of the model, as the golden maps read them."""
  fields = said['model_config']
  if said['model'] == 'vidtr':
    compact = 'compact' in fields['variant']
    theirs = said['original'].get('kwargs', {})
    kwargs = {'normalize_before': True, **fields, **theirs}
    for ours, theirs in (('layer_pool', 'pool_layers'),
                         ('number_of_keys', 'pool_drop')):  # fmt: skip
      if theirs in fields:
        kwargs[ours] = fields[theirs]
    name = 'CompactVidTr' if compact else 'VidTr'
    return {**fields, 'original': {'class': name, 'kwargs': kwargs}}
  return {'model': said['model'], **fields}


def load(path: pathlib.Path) -> Training:
  with np.load(path) as file:
    arrays = {name: file[name] for name in file.files}
  said = json.loads(str(arrays['config']))
  theirs = golden.maps()[said['model']]
  video_BTHWC = theirs.video_of(said['model_config'], arrays['batch/0/video'])
  model, variables = golden.load_state(
    theirs.FAMILY,
    theirs.model_of(model_config(said)),
    golden.read_state(path),
    clip=tuple(said['model_config'].get('built_for', video_BTHWC.shape[1:4])),
  )
  names = models.fields(theirs.FAMILY)
  off = [name for name in names if re.search('dropout|drop_path', name)]
  model = model.clone(**dict.fromkeys(off, 0.0))
  tree = cfg.as_dict(recipe.load(recipe_name(theirs.FAMILY, said)))
  M, B = said['accumulate'], len(video_BTHWC)
  fields, updates = schedule_of(said, cfg.Optim(**tree['optim']))
  tree['optim'] |= {'steps': 0} | optimizer_of(said) | fields
  if not tree['optim']['weight_decay']:
    tree['optim']['decays'] = ()
  if not tree['optim']['clip_norm']:
    tree['optim']['clip_at'] = 'step'
  assert 'binary' not in said['loss']['name'], (
    'recipes have no binary cross entropy: the labels of a data set decide'
  )
  tree['loss']['label_smoothing'] = said['loss'].get('label_smoothing') or 0.0
  if not said['mixing']:
    tree['mix'] = {}
  _, T, H, W, _ = video_BTHWC.shape
  tree['clip'] |= {'frames': T, 'size': max(H, W)}
  tree |= {'augment': {}, 'views': {}}  # clips are given
  # The videos of a file are what the model is given.
  tree['data'] |= {'mean': (0.0,) * 3, 'std': (1.0,) * 3}
  tree |= {
    'model': {name: getattr(model, name) for name in names},
    'batch': B * M,
    'accumulate': M,
    'dtype': 'float32',
  }
  config = cfg.check(json.loads(json.dumps(tree)))
  model = build.make_model(config, classes=model.classes)
  examples = round(updates * B * M)
  return Training(
    said, arrays, theirs.FAMILY, config, examples, model, variables
  )


def batch_of(run: Training, n: int) -> tuple[dict, mixup.Draw | None]:
  """The batch of update n with every row's partner, and what is mixed.

  Rows m, m + M, ... are the step's microbatch m, which is one of the file's.
  """
  said, arrays = run.said, run.arrays
  video_of = golden.maps()[said['model']].video_of
  parts = said['batch_of_step'][n]
  videos = [video_of(said['model_config'], arrays[f'batch/{i}/video'])
            for i in parts]  # fmt: skip
  together = lambda rows: np.stack(rows, 1).reshape(-1, *rows[0].shape[1:])
  # Exact: pixels are multiples of 1/4, and the step divides by 255.
  batch = {
    'video': together(videos) * np.float32(255),
    'label': together([arrays[f'batch/{i}/labels'] for i in parts]),
  }
  batch['label'] = batch['label'].astype(np.int32)
  batch['mask'] = np.ones(len(batch['video']), np.float32)
  if not said['mixing']:
    return batch, None
  # Each microbatch has a draw: of each row, together with its rows.
  M, (B, _, H, W, _) = len(parts), videos[0].shape
  share_M = np.float32(1 - arrays['mix/lam'].reshape(-1, M)[n])
  partner_MB = arrays['mix/partner'].reshape(-1, M, B)[n]
  weight_MHW = np.broadcast_to(share_M[:, None, None], (M, H, W)).copy()
  if 'mix/is_cutmix' in arrays:
    boxes = arrays['mix/box'].reshape(-1, M, 4)[n]
    for m in np.flatnonzero(arrays['mix/is_cutmix'].reshape(-1, M)[n]):
      top, bottom, left, right = boxes[m]
      weight_MHW[m] = 0
      weight_MHW[m, top:bottom, left:right] = 1
  row = partner_MB.T * M + np.arange(M)  # its number in the step's batch
  partners = {f'partner_{k}': batch[k][row.ravel()] for k in ('video', 'label')}
  draw = mixup.Draw(
    np.zeros(M * B, np.int32),  # partners are given
    np.tile(weight_MHW[:, None], (B, 1, 1, 1)),
    np.tile(share_M, B),
  )
  return batch | partners, draw


@functools.cache
def trained(name: str) -> tuple[Training, Trained]:
  """The file's updates, made by our step from the file's start."""
  run = load(FILES[name])
  config, model = run.config, run.model
  rate = optim.make_schedule(
    config.optim, examples=run.examples, batch=config.batch
  )
  variables = dict(run.variables)
  params = variables.pop('params')
  tx = optim.make_optimizer(config.optim, rate, params)
  now = state.TrainState(
    step=jnp.zeros((), jnp.int32),
    params=params,
    opt_state=tx.init(params),
    ema=None,
    model_state=variables,
    key=jax.random.key_data(jax.random.key(0)),
  )
  update = jax.jit(step.make_update(model, tx, config))

  @jax.jit
  def forward(variables, batch, mixed):
    """Logits in training, of one microbatch after the other."""
    video_BTHWC = batch['video']
    if mixed is not None:
      video_BTHWC, _ = mixup.mixed_clips(batch, mixed)
    video_BTHWC = step.normalise(video_BTHWC, config.data.mean, config.data.std)
    M = config.accumulate
    return jnp.concatenate([
      model.apply(variables, video_BTHWC[m::M], train=True,
                  mutable=[k for k in variables if k != 'params'])[0]
      for m in range(M)])  # fmt: skip

  done = Trained([], [], [], [], {})
  for n in range(run.said['steps']):
    batch, mixed = batch_of(run, n)
    ours = {'params': now.params, **now.model_state}
    done.logits.append(np.asarray(forward(ours, batch, mixed)))
    now, pairs = update(now, batch, {}, mixed)
    numbers = metrics.divide(pairs)
    done.rates.append(float(rate(n)))
    done.losses.append(numbers['loss'])
    done.norms.append(numbers['grad_norm'])
    if f'after{n + 1}/' in {k[: k.find('/') + 1] for k in run.arrays}:
      ours = {'params': now.params, **now.model_state}
      done.after[n + 1] = golden.save_state(run.family, model, ours)
  return run, done


@pytest.fixture(params=FILES or [pytest.param('', marks=pytest.mark.skip(
  reason='no reference files; set VIDMODELS_SHARED'))])  # fmt: skip
def pair(request):
  with jax.default_matmul_precision('highest'):
    yield trained(request.param)


@pytest.mark.fast_every(5)
@pytest.mark.parametrize('name', FILES)
def test_every_parameter_is_in_the_authors_group(name):
  run = load(FILES[name])
  ours, params = run.config.optim, run.variables['params']
  found = []
  for factors in (optim.rate_factors, optim.decay_factors):
    full = jax.tree.map(
      lambda p, factor: np.full(p.shape, factor), params, factors(ours, params)
    )
    variables = {**run.variables, 'params': full}
    found.append(golden.save_state(run.family, run.model, variables))
  for group in run.said['groups']:
    for key in set(group['params']) - set(run.said['no_gradient']):
      rate, decay = (tree[key] for tree in found)
      np.testing.assert_allclose(rate * ours.lr, group['base_lr'], err_msg=key)
      np.testing.assert_allclose(
        decay * ours.weight_decay, group['weight_decay'], err_msg=key
      )


@pytest.mark.fast_every(5)
def test_rates_losses_and_logits_are_the_authors(pair):
  run, done = pair
  arrays, groups = run.arrays, run.said['groups']
  top = max(group['base_lr'] for group in groups)
  lead = next(i for i, g in enumerate(groups) if g['base_lr'] == top)
  np.testing.assert_allclose(
    done.rates, arrays['step/lr'][:, lead], rtol=1e-6, atol=1e-7 * top
  )
  np.testing.assert_allclose(done.losses, arrays['step/loss'], rtol=LOSS)
  np.testing.assert_allclose(
    np.stack(done.logits), arrays['step/logits'], rtol=0, atol=LOGITS
  )
  if run.said['accumulate'] == 1 or not run.said['clip']:
    # Else ours is of what was clipped on the way.
    np.testing.assert_allclose(done.norms, arrays['step/grad_norm'], rtol=1e-5)


@pytest.mark.fast_every(5)
def test_every_parameter_and_buffer_ends_where_the_authors_does(pair):
  run, done = pair
  said, arrays = run.said, run.arrays
  still, name = set(said['no_gradient']), said['optimizer']['name']
  worst, moved, apart = {}, 0.0, 0.0
  for i, key in enumerate(said['parameters']):
    if key in still:
      continue
    start, end = arrays[f'state_dict/{key}'], arrays[f'after12/{key}']
    counts = np.ones(end.shape, bool)
    if f'zero_gradient/{key}' in arrays:
      counts = ~arrays[f'zero_gradient/{key}']
    ours = done.after[12][key].astype(np.float64)
    apart += np.square(ours - end)[counts].sum()
    moved += np.square(end.astype(np.float64) - start)[counts].sum()
    allow = arrays['spread12'][i] + 1.2e-7 * abs(end).max()
    if name == 'sgd':
      counts[:] = True  # what has no gradient moves by decay alone
    elif not counts.all():
      allow = 2e-7
    if counts.any():
      worst[key] = abs(ours - end)[counts].max() / allow
  assert max(worst.values()) <= RATIO, max(worst, key=worst.get)
  assert np.sqrt(apart / moved) <= UPDATE[name]
  for n, ours in done.after.items():
    for key in said.get('buffers', ()):
      theirs = arrays[f'after{n}/{key}']
      if key.endswith('running_mean'):
        bar = 1e-6 if n == 1 else 2e-4
        np.testing.assert_allclose(ours[key], theirs, rtol=0, atol=bar)
      elif key.endswith('running_var'):
        np.testing.assert_allclose(ours[key], theirs, rtol=0, atol=3e-6)
