"""A step that is no number: it stops the run, or changes nothing. Spikes."""

import contextlib
import functools
import json
import shutil

import fake
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from test_hooks import step_log

from vidmodels.data.records.record_set import RecordSet
from vidmodels.train import feed, hooks, loop, non_finite, spikes
from vidmodels.train.checkpoint import Checkpoints
from vidmodels.train.state import TrainState

NAN, INF = float('nan'), float('inf')


def state(value: float, step: int) -> TrainState:
  return TrainState(
    step=jnp.int32(step),
    params={'w': jnp.full(2, value)},
    opt_state=({'count': jnp.int32(step), 'mu': jnp.full(2, value)},),
    ema={'w': jnp.full(2, value)},
    model_state={'batch_stats': {'mean': jnp.full(2, value)}},
    key=jnp.zeros(2, jnp.uint32),
  )


@pytest.mark.parametrize('broken', ['loss', 'grad_norm', 'statistics', ''])
def test_a_broken_step_leaves_everything_but_its_number(broken):
  old, new = state(1.0, 4), state(2.0, 5)
  pairs = {
    name: (jnp.float32(INF if name == broken else 1), jnp.ones(()))
    for name in ('loss', 'grad_norm')
  }
  if broken == 'statistics':
    new = new.replace(
      model_state={'batch_stats': {'mean': jnp.array([1, NAN])}}
    )
  kept, pairs = jax.jit(non_finite.keep_if_broken)(old, new, pairs)
  wanted = old.replace(step=new.step) if broken else new
  jax.tree.map(np.testing.assert_array_equal, kept, wanted)
  assert float(pairs['skipped'][0]) == bool(broken)


def test_skipped_steps_are_counted_left_out_of_means_and_limited():
  said, lines, named = [], [], []
  keep = lambda to: type(
    'Writer', (), {'write_scalars': lambda self, s, v: to.append((s, v)),
                   'flush': lambda self: None})()  # fmt: skip
  log = step_log(
    lambda done, total, line: said.append(line),
    writers=[keep(lines)],
    every=2,
    total=9,
    learning_rate=float,
    skips=True,
    max_skips=2,
    clips=lambda step: [
      {'video': f'v{step}', 'example': 0, 'clip': step, 'seed': [0, step]}
    ],
    spike_writers=[keep(named)],
    memory={'skipped': 1, 'skipped_in_a_row': 0, 'losses': []},
  )

  def add(step: int, loss: float) -> None:
    skipped = 0.0 if np.isfinite(loss) else 1.0
    log.add_step(step, {'loss': (loss, 1.0), 'skipped': (skipped, 1.0)})

  for step, loss in enumerate((1.0, NAN, NAN, INF), 1):
    add(step, loss)
  with pytest.raises(hooks.NonFiniteLossError, match=r'max_skips=2.*step 1'):
    log.flush()
  assert [(s, v['train/skipped']) for s, v in lines] == [(2, 2)]
  assert lines[0][1]['train_clip/loss'] == 1.0
  # Two were skipped, one of them before: the optimiser is at its step 0.
  assert lines[0][1]['train/learning_rate'] == 0.0
  assert [s for s, _ in named] == [2, 3, 4]
  assert named[0][1]['videos'] == ['v2']
  assert any(
    'v3' in line and 'was skipped, 2 in a row' in line for line in said
  )


def test_a_window_without_a_step_has_a_line_all_the_same():
  said = []
  log = step_log(
    lambda d, t, line: said.append(line), every=1, skips=True, max_skips=9
  )
  log.add_step(1, {'loss': (NAN, 1.0), 'skipped': (1.0, 1.0)})
  log.flush()
  assert 'step 1/4  every step skipped' in said[-1]


def test_a_spike_is_over_so_many_medians_and_a_resumed_run_knows_them():
  watch = spikes.SpikeWatch(2.0)
  found = [watch.add(loss) for loss in (9, 1, 1, 1, 1, 1.9, NAN, 2.1, 1, 9)]
  assert [f for f in found if f] == [1.0, 1.0]
  assert found[7]
  assert found[9]
  again = spikes.SpikeWatch(2.0, list(watch.losses))
  assert again.add(2.1) == 1.0
  assert spikes.SpikeWatch(0.0, [1.0] * 9).add(99.0) is None


def stored(workdir, step: int) -> dict[str, dict[str, int]]:
  """The checksums of a checkpoint's arrays."""
  with contextlib.closing(Checkpoints(workdir)) as saved:
    return dict(saved.read_json(step, 'checksums'))


def lines(path) -> list[dict]:
  return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.slow
def test_a_run_skips_a_broken_step_names_spikes_and_resumes_with_both(
  tmp_path, monkeypatch
):
  records = fake.write(tmp_path / 'records', videos=29)
  config = tiny.config(
    records,
    batch=2,
    mesh__fsdp=2,  # the broken clip is on one of two devices
    optim__steps=13,  # no example comes twice
    optim__ema=0.9,
    optim__non_finite='skip',
    model__layers=1,
    log__every=1,
    log__spike=0.4,
    checkpoint__every=1,
    checkpoint__keep=99,
  )
  clips = spikes.StepClips(RecordSet.open(records, 'train'), config)
  bad = clips(3)[1]
  to_device = feed.to_device

  def poisoned(batch, **where):
    mask_R = np.where(batch['index'] == bad['example'], NAN, batch['mask'])
    return to_device({**batch, 'mask': mask_R.astype(np.float32)}, **where)

  monkeypatch.setattr(feed, 'to_device', poisoned)
  run, said = tmp_path / 'run', []
  train = functools.partial(
    loop.train,
    config,
    run,
    devices=jax.devices()[:2],
    progress=lambda done, total, line: said.append(line),
  )
  assert train().step == 13
  before, after = stored(run, 2), stored(run, 3)
  assert before.pop('opt').keys() == after['opt'].keys()
  step = after.pop('opt')
  assert before == after
  with contextlib.closing(Checkpoints(run)) as saved:
    moments = stored(run, 2)['opt']
    assert [p for p in step if step[p] != moments[p]] == ['step']
    assert saved.read_json(13, 'data')['log']['skipped'] == 1
  assert stored(run, 4)['params'] != after['params']
  logged = lines(run / 'metrics.jsonl')
  assert [line['train/skipped'] for line in logged] == [0, 0] + [1] * 11
  named = lines(run / 'spikes.jsonl')
  assert named[0]['step'] == 3
  assert bad['video'] in named[0]['videos']
  assert named[0]['loss'] is None
  assert any('was skipped' in line and bad['video'] in line for line in said)
  losses = {line['step']: line.get('train_clip/loss') for line in logged}
  for line in named[1:]:
    assert line['loss'] == losses[line['step']] > 0.4 * line['median']
    assert line['seeds'] == [[0, 2 * line['step'] - 2 + j] for j in (0, 1)]
  assert len(named) > 1
  whole = stored(run, 13)
  for gone in range(8, 14):  # as if killed after step 7
    shutil.rmtree(run / f'checkpoints/{gone}')
  assert train().step == 13
  assert stored(run, 13) == whole
  assert lines(run / 'spikes.jsonl') == named
