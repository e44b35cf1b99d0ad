"""Trees with stacked blocks: names, both directions, inside optax states."""

import jax
import numpy as np
import optax
import pytest

from vidmodels.nn import stacked_blocks


def tree():
  rng = np.random.default_rng(0)
  draw = lambda *shape: rng.normal(size=shape).astype(np.float32)
  block = lambda: {'up': {'kernel': draw(2, 3)}}
  return {
    'patch': draw(4),
    'stage_1': {f'block_{i}': block() for i in range(4)},
    'layer_0': block(),
    'layer_1': block(),
  }


ENTRIES = ('stage_1/block_[1:4]', 'layer_[0:2]')


def test_stacking_and_back_is_the_same_tree_bit_for_bit():
  given = tree()
  stacked = stacked_blocks.stack_blocks(given, ENTRIES)
  assert set(stacked) == {'patch', 'stage_1', 'layer_[0:2]'}
  assert set(stacked['stage_1']) == {'block_0', 'block_[1:4]'}
  kernel = stacked['stage_1']['block_[1:4]']['up']['kernel']
  assert kernel.shape == (3, 2, 3)
  np.testing.assert_array_equal(
    kernel[2], given['stage_1']['block_3']['up']['kernel']
  )
  assert stacked_blocks.entries_in(stacked) == set(ENTRIES)
  again = stacked_blocks.unstack_blocks(stacked)
  assert jax.tree.structure(again) == jax.tree.structure(given)
  jax.tree.map(np.testing.assert_array_equal, again, given)


def test_moments_inside_of_an_optax_state_are_stacked_like_their_parameters():
  tx = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(0.1))
  params = tree()
  state = tx.init(params)
  stacked = stacked_blocks.stack_blocks(state, ENTRIES)
  wanted = tx.init(stacked_blocks.stack_blocks(params, ENTRIES))
  shapes = lambda state: jax.tree.map(np.shape, state)
  assert shapes(stacked) == shapes(wanted)
  assert shapes(stacked_blocks.unstack_blocks(stacked)) == shapes(state)


def test_blocks_that_a_tree_lacks_leave_it_as_it_is():
  given = {'batch_stats': {'stage_1': {'block_0': {'mean': np.zeros(2)}}}}
  assert stacked_blocks.stack_blocks(given, ENTRIES) == given


@pytest.mark.parametrize(
  ('path', 'rows'),
  [
    ('norm/scale', ['norm/scale']),
    ('block_[0:1]/up', ['block_0/up']),
    ('s/block_[9:11]/up', ['s/block_9/up', 's/block_10/up']),
  ],
)
def test_a_stacked_leaf_has_the_names_of_its_blocks(path, rows):
  assert stacked_blocks.row_paths(path) == rows
  assert stacked_blocks.is_stacked(path) == ('[' in path)


@pytest.mark.parametrize(
  ('blocks', 'entry'),
  [
    (['block_3', 'block_4'], 'block_[3:5]'),
    (['stage_0_block_9', 'stage_0_block_10'], 'stage_0_block_[9:11]'),
    (['block_3', 'block_5'], ''),
    (['block_1', 'layer_2'], ''),
    (['block_01', 'block_02'], ''),
    (['a', 'b'], ''),
  ],
)
def test_only_blocks_numbered_in_a_row_share_an_entry(blocks, entry):
  assert stacked_blocks.entry_name(blocks) == entry
