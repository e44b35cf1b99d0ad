"""Validation measures single clips with the averaged weights."""

import json

import fake
import jax.nn
import numpy as np
import pytest
import tiny

from vidmodels.evaluate import run
from vidmodels.train import loop, trained


def test_validation_is_what_evaluation_says_of_one_view(tmp_path):
  records = fake.write(tmp_path / 'records')
  fake.write(records, 'test', videos=5)
  workdir = tmp_path / 'run'
  config = tiny.config(
    records,
    log__validate=2,
    clip__sampling='pyslowfast',
    clip__fps=30.0,
    views__short_side=19,
    views__centre='floor',
    optim__steps=2,
    optim__ema=0.5,
    views__batch=3,
    model__layers=1,
  )
  loop.train(config, workdir)
  lines = (workdir / 'metrics.jsonl').read_text().splitlines()
  found = [line for line in map(json.loads, lines) if 'val_clip/top1' in line]
  assert [line['step'] for line in found] == [2]

  losses = {}
  for weights in ('ema', 'params'):
    model = trained.load(workdir, weights=weights)
    report = run.evaluate(
      model,
      dir=records,
      split='test',
      views=tiny.views(config, temporal=1, spatial=1),
      out=tmp_path / weights,
    )
    scores = np.load(report.scores)
    log_p = jax.nn.log_softmax(scores['logits'][:, 0])
    losses[weights] = -np.mean(
      [p[k] for p, k in zip(log_p, scores['label'], strict=True)]
    )
    if weights == 'ema':
      assert found[0]['val_clip/top1'] == pytest.approx(report.metrics['top1'])
  assert found[0]['val_clip/loss'] == pytest.approx(losses['ema'], abs=1e-5)
  assert abs(losses['ema'] - losses['params']) > 1e-3
