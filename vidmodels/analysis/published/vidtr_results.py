"""VidTr's accuracies: arXiv 2104.11746, and the settings of its release.

Ten clips of three crops everywhere, which the paper says once, for SSv2 too.
Its C-VidTr-S pools in layers 1, 2 and 4, the released one in 1, 3 and 5.
Ensembles with I3D have no recipe and no row here.
"""

from collections.abc import Mapping
from typing import Any

from vidmodels.analysis.published import CountedModel, PublishedRun, top
from vidmodels.analysis.published import vidtr_tables as tables

# Frames and stride of a clip.
S, M, L = (8, 8.0), (16, 4.0), (32, 2.0)
IN_21K = 'imagenet-21k'
TRAINED = {
  'optim.name': 'sgd',
  'optim.lr': 0.01,
  'optim.epochs': 50.0,
  'optim.milestones': (25.0, 40.0),
  'optim.warmup': 0.0,
  'optim.weight_decay': 1e-5,
  'augment.flip': 0.5,
}
# The released files' batches are those of all their GPUs.
RELEASED = {**TRAINED, 'optim.nesterov': False, 'dtype': 'float32'}
# C-VidTr-M's frames that go, which are as many as those that stay.
C_M: dict[str, Any] = {'pool_keep': (), 'pool_drop': (8, 4, 2)}


def _run(
  source: str,
  part: CountedModel,
  clip: tuple[int, float],
  *figures: float,
  dataset: str = 'k400',
  start: str = IN_21K,
  trained: Mapping[str, Any] = TRAINED,
  **model: Any,
) -> PublishedRun:
  """A row of the paper; SSv2 has segments and no stride."""
  setting: dict[str, Any] = {
    'clip.frames': clip[0],
    'clip.size': 224,
    'views.temporal': 10,
    'views.spatial': 3,
    'init_expects': start,
  }
  if dataset != 'ssv2':
    setting['clip.stride'] = clip[1]
  metric = {'map': figures[0]} if dataset == 'charades' else top(*figures)
  return PublishedRun(
    origin='paper',
    source=source,
    dataset=dataset,
    family='vidtr',
    model={**part.model, **model},
    setting=setting,
    trained=trained,
    figures=metric,
  )


def _others(
  part: CountedModel, clip: tuple[int, float], **figures: float
) -> list[PublishedRun]:
  """A row of Table 6: K700 starts from Kinetics-400, UCF and HMDB too."""
  runs = []
  for name, value in figures.items():
    start = IN_21K if name in ('ssv2', 'charades') else 'k400'
    trained: dict[str, Any] = {**TRAINED}
    if name == 'ssv2':
      trained['augment.flip'] = 0.0
    elif name in ('ucf101', 'hmdb51'):
      trained = {'optim.name': 'sgd', 'optim.epochs': 6.0}
    own = (32, 4.0) if name == 'charades' else clip
    runs.append(
      _run(
        'Table 6', part, own, value, dataset=name, start=start, trained=trained
      )
    )
  return runs


def _released(
  part: CountedModel, clip: tuple[int, float], batch: int, **model: Any
) -> PublishedRun:
  """A released configuration, whose accuracy is the paper's."""
  return PublishedRun(
    origin='release',
    source='its configuration',
    dataset='k400',
    family='vidtr',
    model={**part.model, **model},
    setting={
      'clip.frames': clip[0],
      'clip.stride': clip[1],
      'clip.size': 224,
      'views.temporal': 10,
      'views.spatial': 3,
      'init_expects': IN_21K,
    },
    trained={**RELEASED, 'batch': batch},
  )


def _pooled(source: str, layers: tuple[int, ...], top1: float) -> PublishedRun:
  """A row of Table 5e or 5f."""
  return _run(source, tables.compact(layers, (4, 2)), S, top1)


AVERAGE, CONV = (tables.compact((1, 2, 4), pool=p) for p in ('average', 'conv'))
SPACE, AXIAL = (tables.vidtr(attention=a) for a in ('space', 'axial'))
C_S_RELEASED: dict[str, Any] = {
  'pool_layers': (1, 3, 5),
  'pool_keep': (),
  'pool_drop': (2, 2, 2),
}
# fmt: off
RUNS = (
  _run('Table 2', tables.S, S, 77.7, 93.3, trained={**TRAINED, 'batch': 384}),
  _run('Table 2', tables.M, M, 78.6, 93.5),
  _run('Table 2', tables.L, L, 79.1, 93.9),
  _run('Table 2', tables.VANILLA, S, 77.5, 93.2),
  _run('Tables 1 and 3', tables.C_S, S, 75.7),
  _run('Tables 1 and 3', tables.C_M, M, 76.7, **C_M),
  *_others(tables.M, M, k700=69.5, ssv2=61.9, ucf101=96.6, hmdb51=74.4),
  *_others(tables.L, L, k700=70.2, charades=43.5, ssv2=63.0, ucf101=96.7,
           hmdb51=74.4),
  _run('Table 5a', tables.CUBIC_4, S, 73.1),
  _run('Table 5a', tables.CUBIC_2, S, 75.5),
  _run('Table 5a', tables.SQUARE, S, 71.2),
  _run('Table 5b', SPACE, S, 74.7),
  _run('Table 5b', tables.VANILLA, S, 77.5),
  _run('Table 5b', tables.S, S, 77.7),
  _run('Table 5b', AXIAL, S, 72.3),
  _run('Table 5c', tables.T2T, S, 76.3, start='imagenet-1k'),
  _run('Table 5c', tables.LARGE, S, 77.5),
  _run('Table 5d', AVERAGE, S, 74.9, 91.6),
  _run('Table 5d', CONV, S, 75.4, 92.3),
  _run('Table 5d', tables.C_S, S, 75.7, 92.2),
  _pooled('Table 5e', (0, 2), 72.9),
  _pooled('Table 5e', (1, 3), 74.9),
  _pooled('Table 5e', (2, 4), 74.9),
  _pooled('Table 5e', (6, 8), 75.3),
  _pooled('Table 5f', (1, 2), 73.9),
  _pooled('Table 5f', (1, 4), 75.0),
  _pooled('Table 5f', (1, 5), 75.2),
  _released(tables.S, S, 24),
  _released(tables.M, M, 24),
  _released(tables.L, L, 8),
  _released(tables.C_S, S, 64, **C_S_RELEASED),
  _released(tables.C_M, M, 64, **C_M),
)
# fmt: on
