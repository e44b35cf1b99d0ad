"""What a training step sends follows the parameters, never the batch.

Steps are compiled for 16 devices in a process of their own and not run. In each
the program is the CPU's; TPUs and GPUs get theirs from the same partitioner.
"""

import json
import os
import pathlib
import subprocess
import sys

import pytest

REPO = pathlib.Path(__file__).resolve().parents[2]
BATCH = 32  # two clips on each of 16 devices
LARGE_BATCH = 64 * BATCH  # it takes no longer to compile

# What tensor parallelism sends, as multiples of one device's activations
# [rows, tokens, D]. An attention, and a perceptron, sums its output forwards
# and the gradient of its input backwards: 2. So TimeSformer has 3 pairs of
# those a block and VidTr 2; DualFormer has 2 a level, and its pooled keys.
# X-ViT has 2 pairs, those of the frames' class tokens, and whole heads that
# move to the devices of other heads (mixing). Video-FocalNet's convolutions
# over time read all channels of both streams at every level.
SENT = {
  'timesformer': (6, 20),
  'xvit': (11, 20),
  'vidtr': (4.5, 25),
  'dualformer': (9, 128),
  'video_focalnet': (29, 64),
}
# What splitting clips sends in a block, as multiples of one device's tokens
# [rows, T / N, H, W, D], and the tokens of a clip of `sharded_steps.LONG`.
# TimeSformer swaps frames for places and back, forwards and backwards. X-ViT
# moves a quarter of the channels of keys and of values by a frame either way,
# and its head sees all class tokens. VidTr swaps places for heads of queries,
# keys and values, and back: 8, and 4 once where class tokens join the patches.
# DualFormer sends a frame either way (of two here) and its pooled tokens;
# Video-FocalNet the 1 and 2 frames (of four) that its windows over time reach,
# and a mean over all frames.
SPLIT = {
  'timesformer': (4.1, 16 * 14 * 14),
  'xvit': (1.9, 16 * 17),
  'vidtr': (12.5, 17 * 65),
  'dualformer': (4, 8 * 64),
  'video_focalnet': (4.7, 16 * 64),
}
WIDTH, FLOAT = 64, 4


def compiled(*cases: dict) -> list[tuple[float, dict]]:
  """The bytes of each case over those of the parameters, and its answer."""
  done = subprocess.run(
    [sys.executable, REPO / 'tests' / 'sharded_steps.py', json.dumps(cases)],
    capture_output=True,
    text=True,
    env={**os.environ, 'PYTHONPATH': f'{REPO}{os.pathsep}{REPO / "tests"}'},
  )
  assert done.returncode == 0, done.stderr[-3000:]
  answers = [json.loads(line) for line in done.stdout.splitlines()]
  totals = [
    sum(t['bytes'] for t in answer['traffic'].values()) / answer['parameters']
    for answer in answers
  ]
  return list(zip(totals, answers, strict=True))


def case(
  family: str, mesh: tuple[int, ...], batch: int = BATCH, **more
) -> dict:
  return {'family': family, 'mesh': mesh, 'batch': batch, **more}


def check_fsdp(family: str) -> None:
  """At most 3.5 times the parameters, at a batch that weighs far more.

  One activation of all clips, [B, tokens, D], would be 10 times as much.
  """
  ((sent, answer),) = compiled(case(family, (1, 16, 1), LARGE_BATCH))
  tokens = SENT.get(family, (0, 20))[1]
  assert LARGE_BATCH * tokens * WIDTH * FLOAT > 10 * answer['parameters']
  assert 1.5 < sent <= 3.5


def test_fsdp_sends_what_its_parameters_weigh_whatever_the_batch():
  check_fsdp('timesformer')


IMAGES_AND_I3D = ('vit', 'twins_svt', 'focalnet', 'i3d')


@pytest.mark.slow
@pytest.mark.parametrize(
  'family',
  [
    *list(SENT)[1:],
    *(pytest.param(f, marks=pytest.mark.long) for f in IMAGES_AND_I3D),
  ],
)
def test_so_does_every_family(family):
  check_fsdp(family)


def check_saved(data: dict, fsdp: dict) -> None:
  """At least 80 % of what sharding takes off a device: its part of the state.

  The rest of a step must not grow by what the state shrinks: by weights that
  are kept whole for the backward pass, or whole gradients.
  """
  taken_off = data['arguments'] - fsdp['arguments']
  assert taken_off > 2 * data['parameters']  # they have two moments
  saved = taken_off + data['temporary'] - fsdp['temporary']
  assert saved >= 0.8 * taken_off


@pytest.mark.slow
@pytest.mark.slow_every(2)
@pytest.mark.parametrize('family', SENT)
def test_data_sends_gradients_tensor_activations_and_fsdp_saves(family):
  meshes = ((16, 1, 1), (4, 2, 2), (1, 4, 4), (1, 16, 1))
  found = compiled(*(case(family, mesh) for mesh in meshes))
  check_saved(found[0][1], found.pop()[1])
  # One sum of the gradients, and of a few numbers that are logged. What has no
  # gradient is not sent: X-ViT's positions of 4 more frames than clips have,
  # 0.22 % of its parameters.
  assert set(found[0][1]['traffic']) == {'all-reduce'}
  assert 0.997 < found[0][0] < 1.01
  activations, tokens = SENT[family]
  for mesh, (total, answer) in zip(meshes[1:], found[1:], strict=False):
    rows = BATCH // (mesh[0] * mesh[1])
    sent = activations * rows * tokens * WIDTH * FLOAT
    assert total <= 3.5 + sent / answer['parameters']


@pytest.mark.slow
def test_mixing_sends_a_few_clips_whatever_the_batch():
  """One row by one, then a device's two rows by 1, 2, 4 and 8 devices."""
  (_, plain), (_, mixed) = compiled(
    *(case('timesformer', (16, 1, 1), mix=mix) for mix in (False, True))
  )
  assert set(plain['traffic']) == {'all-reduce'}
  assert set(mixed['traffic']) == {'all-reduce', 'collective-permute'}
  clip, label_and_mask = 4 * 16 * 16 * 3, 2 * FLOAT
  sent = mixed['traffic']['collective-permute']['bytes']
  assert 9 * clip <= sent <= 9 * (clip + label_and_mask)


@pytest.mark.slow
@pytest.mark.slow_every(2)
@pytest.mark.parametrize('family', SPLIT)
def test_a_device_with_a_part_of_every_clip_needs_that_part_of_the_memory(
  family,
):
  parts, meshes = 4, ((4, 1, 1), (4, 1, 1, 4))
  (_, whole), (total, answer) = compiled(
    *(case(family, mesh, LARGE_BATCH, long=True) for mesh in meshes)
  )
  assert answer['temporary'] < 1.1 * whole['temporary'] / parts
  activations, tokens = SPLIT[family]
  sent = activations * LARGE_BATCH / 4 * tokens / parts * WIDTH * FLOAT
  # Gradients are summed over data and over context.
  assert 2 < total <= 2.1 + sent / answer['parameters']
