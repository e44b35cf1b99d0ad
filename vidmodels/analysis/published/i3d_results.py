"""I3D-R50's accuracies on Kinetics-400: mmaction2's and SlowFast's tables.

Both train on crops of 224 pixels and test on 256, which a recipe does not.
"""

from typing import Any

from vidmodels.analysis.published import PublishedRun, top
from vidmodels.analysis.published.vidtr_tables import HEAVY, STRIDES


def _run(
  source: str,
  clip: tuple[int, float],
  start: str,
  trained: dict[str, Any],
  top1: float,
  **model: Any,
) -> PublishedRun:
  return PublishedRun(
    origin='release',
    source=source,
    dataset='k400',
    family='i3d',
    model=model,
    setting={
      'clip.frames': clip[0],
      'clip.stride': clip[1],
      'clip.size': 'trained 224, tested 256',
      'views.temporal': 10,
      'views.spatial': 3,
      'init_expects': start,
    },
    trained={
      'batch': 64,
      'optim.name': 'sgd',
      'optim.weight_decay': 1e-4,
      'dtype': 'float32',
      **trained,
    },
    figures=top(top1),
  )


SLOW = dict(zero_last=True, head_window=7, **STRIDES)
MM = {'optim.lr': 0.01, 'optim.epochs': 100.0, 'optim.clip_norm': 40.0}
ZOO = {'optim.lr': 0.1, 'optim.epochs': 196.0, 'optim.warmup': 34.0}
# fmt: off
RUNS = (
  _run('mmaction2, light', (32, 2.0), 'imagenet-1k', MM, 73.47),
  _run('mmaction2, heavy', (32, 2.0), 'imagenet-1k', MM, 76.21, **HEAVY,
       **STRIDES),
  _run('SlowFast model zoo', (8, 8.0), '', ZOO, 73.5, **SLOW),
)
# fmt: on
