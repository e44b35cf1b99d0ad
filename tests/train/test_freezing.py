"""What is frozen stays, costs nothing, and is saved like the rest."""

import dataclasses
import re
import shutil

import fake
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import shrink
import tiny
from flax import traverse_util

from vidmodels import config as cfg
from vidmodels import models
from vidmodels.train import build, freezing, loop, optim, restore, step
from vidmodels.typing import InputError

PARAMS = {
  'block_[0:2]': {'up': jnp.ones((2, 3))},
  'head': {'kernel': jnp.ones(3)},
}


def paths(tree) -> set[str]:
  return {'/'.join(key) for key in traverse_util.flatten_dict(tree)}


@pytest.mark.parametrize(
  ('fields', 'learns'),
  [
    ({'train': 'head'}, {'head/kernel'}),
    ({'freeze': '^head'}, {'block_[0:2]/up'}),
    ({}, {'block_[0:2]/up', 'head/kernel'}),
  ],
)
def test_the_frozen_part_and_the_rest_are_the_whole(fields, learns):
  trained, still = freezing.split(cfg.Optim(**fields), PARAMS)
  assert paths(trained) == learns
  assert freezing.join(trained, still) == PARAMS


@pytest.mark.parametrize(
  ('regex', 'says'),
  [
    ('blok', "freeze none of the parameters; .* 'block_0/up'"),
    ('up|kernel', 'freeze all of the parameters'),
    ('block_1', 'block_1/up and not block_0/up, with model.scan'),
  ],
)
def test_a_regex_that_freezes_none_all_or_half_an_array_is_refused(regex, says):
  with pytest.raises(InputError, match=says):
    freezing.split(cfg.Optim(freeze=regex), PARAMS)


def lowered(**fields):
  """The first state, a batch and a traced training step of a DualFormer."""
  config = shrink.config('dualformer')
  config = dataclasses.replace(
    config,
    optim=dataclasses.replace(config.optim, **fields),
    mesh=cfg.Mesh(data=1),
  )
  run = build.build(config, classes=5, examples=40, devices=jax.devices()[:1])
  clip, B = config.clip, config.batch
  shape = (B, clip.frames, clip.size, clip.size, 3)
  batch = {
    'video': np.random.default_rng(0).integers(0, 256, shape, np.uint8),
    'label': np.arange(B, dtype=np.int32) % 5,
    'mask': np.ones(B, np.float32),
  }
  update = jax.jit(step.make_train_step(run.model, run.tx, config))
  return run, batch, update.lower(run.abstract, batch, {})


def moved(before, after) -> set[str]:
  changed = jax.tree.map(lambda a, b: bool((a != b).any()), before, after)
  flat = traverse_util.flatten_dict(changed)
  return {'/'.join(key) for key, value in flat.items() if value}


def test_a_linear_probe_moves_the_head_alone_and_goes_back_no_further():
  run, batch, program = lowered(train='head')
  draw = np.random.default_rng(1).uniform
  before = jax.tree.map(
    lambda leaf: draw(0.1, 1, leaf.shape).astype(leaf.dtype), run.abstract
  )
  fast = {'xla_backend_optimization_level': 0}
  after, _ = program.compile(compiler_options=fast)(before, batch, {})
  assert moved(before.params, after.params) == {'head/kernel', 'head/bias'}
  assert not moved(before.model_state, after.model_state)
  moments = [leaf.shape for leaf in jax.tree.leaves(after.opt_state)]
  head = [leaf.shape for leaf in jax.tree.leaves(before.params['head'])]
  assert sorted(s for s in moments if s) == sorted(2 * head)
  # Going back takes twice the products of going forward.
  _, _, whole = lowered()
  flops = [p.cost_analysis()['flops'] for p in (program, whole)]
  assert flops[0] < 0.5 * flops[1]


def test_statistics_stay_where_no_parameter_of_their_norm_learns():
  norm = {'scale': jnp.ones(1), 'bias': jnp.ones(1)}
  params = {'a': {'norm': norm}, 'b': {'norm': norm}}
  optim_of = lambda regex: cfg.Optim(freeze=regex)
  make = lambda x: {'batch_stats': {n: {'norm': {'mean': x}} for n in 'ab'}}
  for regex, wanted in (('^a', [0, 1]), ('scale', [1, 1])):
    kept = freezing.keep_statistics(optim_of(regex), params, make(0), make(1))
    assert jax.tree.leaves(kept) == wanted


def test_a_run_with_frozen_blocks_goes_on_from_its_checkpoint(tmp_path):
  records = fake.write(tmp_path / 'records')
  config = tiny.config(
    records, optim__freeze='^block_0/|^patch', optim__steps=4,
    mesh__data=1, mesh__fsdp=2,
  )  # fmt: skip
  loop.train(config, tmp_path / 'run', devices=jax.devices()[:2])
  whole = restore.load(tmp_path / 'run').params
  shutil.rmtree(tmp_path / 'run/checkpoints/4')
  middle = restore.load(tmp_path / 'run').params
  loop.train(config, tmp_path / 'run', devices=jax.devices()[:2])
  again = restore.load(tmp_path / 'run').params
  assert not moved(whole, again)
  still = {path for path in paths(whole) if path not in moved(middle, whole)}
  named = {p for p in paths(whole) if p.startswith(('block_0/', 'patch'))}
  assert named
  assert named <= still
  assert 'block_1/mlp/up/kernel' not in still


@pytest.mark.fast_every(4)
@pytest.mark.parametrize('family', models.families())
def test_layer_decay_knows_the_depth_of_every_parameter(family):
  clip = models.find(family).TINY_CLIP
  fields = shrink.fields(family, models.fields(family), *clip[:2])
  params = shrink.shapes(family, fields, clip)['params']
  depths = traverse_util.flatten_dict(optim.layer_depths(params), sep='/')
  top = max(depths.values())
  first = {p: d for p, d in depths.items() if re.match('patch|stem|tokens', p)}
  assert set(first.values()) <= {0.0}
  assert {d for p, d in depths.items() if p.startswith('head')} == {top}
  # From the stem to the head no depth is left out.
  assert set(range(1, int(top) + 1)) <= set(depths.values())
  rates = optim.rate_factors(cfg.Optim(layer_decay=0.5), params)
  flat = traverse_util.flatten_dict(rates, sep='/')
  assert all(flat[p] == 0.5 ** (top - d) for p, d in depths.items())


def test_blocks_of_one_array_have_the_rates_of_their_depths():
  params = {'patch': jnp.ones(2), **PARAMS}
  rates = optim.rate_factors(cfg.Optim(layer_decay=0.1), params)
  np.testing.assert_allclose(rates['block_[0:2]']['up'], [[0.01], [0.1]])
  assert (rates['patch'], rates['head']['kernel']) == (0.1**3, 1.0)
