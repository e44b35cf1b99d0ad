"""A metric that is not ours, as the one file that a stranger writes."""

import pathlib

import pytest

METRIC = '''
"""top2: the share of videos whose right class is among the two best."""

from vidmodels.evaluate.metrics import Metric, heads, label_rank

KINDS = ('single',)


def prepare(scores):
  for score_RK, label_R in heads(scores).values():
    rank_R = label_rank(score_RK, label_R)
    yield Metric(name='top2', right_R=rank_R < 2)
'''


def add(folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
  """Puts 'top2' beside our files."""
  from vidmodels.evaluate import metrics

  (folder / 'metrics').mkdir(parents=True)
  (folder / 'metrics' / 'top_two.py').write_text(METRIC)
  paths = [*metrics.__path__, str(folder / 'metrics')]
  monkeypatch.setattr(metrics, '__path__', paths)
