"""Stacked and plain states: one checkpoint, the same numbers, users' names."""

import contextlib
import dataclasses
import shutil

import fake
import jax
import numpy as np
import pytest
import tiny

from vidmodels import config as cfg
from vidmodels.train import build, loop
from vidmodels.train.checkpoint import Checkpoints
from vidmodels.train.state import by_block
from vidmodels.typing import InputError

CHANGES = dict(
  optim__name='adamw',
  optim__momentum=0.9,
  optim__weight_decay=0.1,
  optim__decays=(('block_2/|bias', 0.0),),
  optim__ema=0.9,
  optim__steps=4,
  model__layers=3,
  model__drop_path=0.3,
)


@pytest.fixture(scope='module')
def records(tmp_path_factory):
  return fake.write(tmp_path_factory.mktemp('records'))


def made(records, scan: bool) -> build.TrainingRun:
  config = tiny.config(records, model__scan=scan, **CHANGES)
  config = dataclasses.replace(config, mesh=cfg.Mesh(data=2, fsdp=2, tensor=2))
  return build.build(config, classes=3, examples=24)


def arrays(state) -> dict[str, np.ndarray]:
  flat = jax.tree_util.tree_leaves_with_path(by_block(state))
  return {jax.tree_util.keystr(p): np.asarray(leaf) for p, leaf in flat}


def test_a_scanned_run_has_one_leaf_of_each_kind(records):
  stacked, plain = made(records, True).abstract, made(records, False).abstract
  kinds = jax.tree.leaves(stacked.params['block_[0:3]'])
  assert len(kinds) == len(jax.tree.leaves(plain.params['block_0']))
  assert not set(stacked.params) & {'block_0', 'block_1', 'block_2'}
  place = lambda block: tuple(
    block['time']['attn']['qkv']['kernel'].sharding.spec
  )
  one = ('fsdp', None, 'tensor', None)
  assert place(plain.params['block_1']) == one
  assert place(stacked.params['block_[0:3]']) == (None, *one)
  # Back by block they are the plain one's shapes, and placed as those are.
  assert by_block(stacked) == plain
  assert made(records, True).report == made(records, False).report


def test_a_checkpoint_fits_both_kinds_of_state_bit_for_bit(records, tmp_path):
  stacked, plain = made(records, True), made(records, False)
  rng = np.random.default_rng(0)

  def draw(leaf):
    values = rng.integers(0, 2**16, leaf.shape).astype(leaf.dtype)
    return jax.device_put(values, leaf.sharding)

  first = jax.tree.map(draw, stacked.abstract)  # compiling `init` takes longer
  wanted = arrays(first)
  assert wanted.keys() == arrays(plain.abstract).keys()
  with contextlib.closing(Checkpoints(tmp_path, cfg.Checkpoint())) as saved:
    saved.save(first, step=1, data={}, meta={})
    saved.wait()
    second = saved.restore(1, plain.abstract)
    saved.save(second, step=2, data={}, meta={})
    saved.wait()
    third = saved.restore(2, stacked.abstract)
  for state, run in ((second, plain), (third, stacked)):
    same = lambda leaf, place: leaf.sharding.is_equivalent_to(place, leaf.ndim)
    assert all(jax.tree.leaves(jax.tree.map(same, state, run.shardings)))
    found = arrays(state)
    for name, value in wanted.items():
      np.testing.assert_array_equal(found[name], value, err_msg=name)


@pytest.mark.slow
def test_a_run_goes_on_with_and_without_a_scan_to_the_same_numbers(
  records, tmp_path
):
  # SGD: AdamW makes a step of the rounding where a gradient is 0, as that of
  # the keys' bias is.
  config = tiny.config(records, **CHANGES | {'optim__name': 'sgd'})
  switched = lambda scan, remat='none': dataclasses.replace(
    config, model={**config.model, 'scan': scan, 'remat': remat}
  )
  loop.train(switched(False), tmp_path / 'plain')
  loop.train(switched(True, 'dots'), tmp_path / 'scanned')
  for name in ('plain', 'scanned'):
    table = (tmp_path / name / 'parameters.txt').read_text()
    assert 'block_2/mlp/up/kernel' in table
    assert '[0:3]' not in table
  plain = build.build(switched(False), classes=3, examples=24)
  ends = []
  for name in ('plain', 'scanned'):
    with contextlib.closing(Checkpoints(tmp_path / name)) as saved:
      ends.append(arrays(saved.restore(4, plain.abstract)))
  for path, value in ends[0].items():
    np.testing.assert_allclose(ends[1][path], value, atol=2e-6, err_msg=path)
  # The scanned run goes back to step 2 and on without a scan.
  shutil.rmtree(tmp_path / 'scanned/checkpoints/4')
  assert loop.train(switched(False), tmp_path / 'scanned').step == 4
  with contextlib.closing(Checkpoints(tmp_path / 'scanned')) as saved:
    again = arrays(saved.restore(4, plain.abstract))
  for path, value in ends[0].items():
    np.testing.assert_allclose(again[path], value, atol=2e-6, err_msg=path)


def test_rules_that_split_scanned_blocks_differently_are_refused(
  records, monkeypatch
):
  from vidmodels.models import timesformer

  rule = (r'^block_1/mlp/up/kernel$', ())
  monkeypatch.setattr(timesformer, 'SHARDING', (rule, *timesformer.SHARDING))
  made(records, False)
  with pytest.raises(InputError, match=r'block_1/mlp.*; .*model.scan=False'):
    made(records, True)
