"""VidTr's fields that contradict each other, or that nothing would read."""

import pytest

from vidmodels import models
from vidmodels.models import vidtr
from vidmodels.typing import InputError

MERGED = {'attention': 'merged', 'joint_from': 2}
S = {'pool': 'top_k', 'pool_layers': (0, 1), 'pool_drop': (1, 1)}


WRONG = {
  'joint_from of no merged': ({'joint_from': 1}, 'got joint_from=1 with'),
  'merged from the start': ({'attention': 'merged'}, 'layer 0 would be'),
  'merged after a last pool': (
    {**S, 'attention': 'merged', 'layers': 2},
    'layer 2 would be',
  ),
  'merged never': ({**MERGED, 'joint_from': 3}, 'joint_from=3 of 3'),
  'separate alone': (
    {'attention': 'joint', 'projections': 'separate'},
    "expected 'shared'",
  ),
  't2t patch': ({'stem': 't2t'}, 'patch=8'),
  't2t frames': (
    {'stem': 't2t', 'patch': 16, 'patch_frames': 2},
    'patch_frames=2',
  ),
  'layers without a pool': ({'pool_layers': (0,)}, "got pool='none'"),
  'a pool without layers': ({'pool': 'average'}, 'expected both or neither'),
  'drops without a pool': ({'pool_drop': (2,)}, r'pool_drop \(2,\)'),
  'both numbers': ({**S, 'pool_keep': (2, 1)}, 'which say the same'),
  'too few numbers': ({**S, 'pool_drop': (1,)}, 'one number a layer'),
  'numbers of an average': ({**S, 'pool': 'average'}, 'none for other pools'),
  'softmax of an average': (
    {'pool': 'average', 'pool_layers': (0,), 'pool_softmax': False},
    'no second softmax',
  ),
  'softmax of none': ({'pool_softmax': False}, 'no second softmax'),
  'mean of an average': (
    {'pool': 'average', 'pool_layers': (0,), 'pool_mean': 'rows'},
    'compares no rows',
  ),
  'pool in space': ({**S, 'attention': 'space'}, "attention='space'"),
  'positions every': ({**S, 'positions': 'every'}, "positions='every'"),
  'falling layers': ({**S, 'pool_layers': (1, 0)}, 'rising numbers'),
  'twice a layer': ({**S, 'pool_layers': (1, 1)}, 'rising numbers'),
  'the last layer': ({**S, 'pool_layers': (0, 2)}, 'below 2'),
  'a joint layer': (
    {**S, **MERGED, 'joint_from': 1},
    r'rising numbers below 1, joint_from',
  ),
}


def test_merged_attention_is_joint_from_the_layer_after_the_last_pool_on():
  tiny = {**vidtr.TINY, 'layers': 7, **S, 'attention': 'merged'}
  build = lambda **more: models.build('vidtr', classes=5, **{**tiny, **more})
  assert build().first_joint() == 2
  assert build(pool_layers=(1, 4)).first_joint() == 5
  assert build(joint_from=6).first_joint() == 6
  grids = [build(pool_layers=(1, 4))._fields(i)['grid'] for i in range(7)]
  assert grids == ['TN'] * 5 + ['L'] * 2


@pytest.mark.parametrize('name', WRONG)
def test_fields_that_contradict_each_other_are_refused(name):
  fields, says = WRONG[name]
  with pytest.raises(InputError, match=says):
    models.build('vidtr', classes=5, **{**vidtr.TINY, **fields})
