"""DualFormer's accuracies: arXiv 2112.04674, and the settings of its release.

The paper labels tokens to train the tiny and the small model on Kinetics; which
of the released files were trained so is not known.
"""

from collections.abc import Mapping
from typing import Any

from vidmodels.analysis.published import PublishedRun, dualformer_tables, top
from vidmodels.analysis.published.dualformer_tables import BASE, SMALL

SIZES: dict[str, dict[str, Any]] = {'T': {}, 'S': SMALL, 'B': BASE}
CLIPS = {'32x2': (32, 2.0), '16x4': (16, 4.0), '32x4': (32, 4.0)}
# Drop path and weight decay of the paper, which also says the same for all
# data sets.
REGULAR = {'T': (0.1, 0.02), 'S': (0.2, 0.02), 'B': (0.3, 0.05)}
# Not by `from`: a file with ROWS in it is a file of tables.
MODELS = {
  row.config: dict(row.parts[0].model) for row in dualformer_tables.ROWS
}


def _setting(clip: str, crops: int, start: str) -> dict[str, Any]:
  frames, stride = CLIPS[clip]
  setting: dict[str, Any] = {
    'clip.frames': frames,
    'clip.stride': stride,
    'clip.size': 224,
    'views.temporal': 4,
    'views.spatial': crops,
  }
  return {**setting, 'init_expects': start} if start else setting


def _paper(
  source: str,
  size: str,
  clip: str,
  start: str,
  figures: Mapping[str, float],
  *,
  dataset: str = 'k400',
  crops: int = 1,
  model: dict[str, Any] | None = None,
) -> PublishedRun:
  """A row of the paper."""
  drop_path, weight_decay = REGULAR[size]
  kinetics = dataset in ('k400', 'k600')
  trained = {
    'batch': 64,
    'optim.name': 'adamw',
    'optim.lr': 1e-3,
    'optim.epochs': 30.0 if kinetics else 16.0,
    'optim.warmup': 2.5 if kinetics else 1.0,
    'optim.weight_decay': weight_decay,
    'model.drop_path': drop_path,
  }
  if kinetics and source == 'Table 2' and size != 'B':
    trained['model.token_head'] = True
  return PublishedRun(
    origin='paper',
    source=source,
    dataset=dataset,
    family='dualformer',
    model=SIZES[size] if model is None else model,
    setting=_setting(clip, crops, start),
    trained=trained,
    figures=figures,
  )


def _small_sets(
  size: str, clip: str, crops: int, start: str, *top1: float
) -> list[PublishedRun]:
  """A row of Table 3: Diving-48, HMDB-51 and UCF-101."""
  return [
    _paper('Table 3', size, clip, start, top(value), dataset=name, crops=crops)
    for name, value in zip(('diving48', 'hmdb51', 'ucf101'), top1, strict=True)
  ]


def _ablation(
  source: str, config: str, *figures: float, clip: str = '32x2'
) -> PublishedRun:
  """A row of Tables 4 to 8, whose model is that of the row of its cost."""
  model, figured = MODELS[config], top(*figures)
  return _paper(source, 'T', clip, 'imagenet-1k', figured, model=model)


def _released(
  size: str,
  dataset: str,
  clip: str,
  crops: int,
  drop_path: float,
  weight_decay: float,
  epochs: float,
  warmup: float,
  batch: int,
  lr: float = 1e-3,
) -> PublishedRun:
  """A released configuration; its precision is apex O1's."""
  return PublishedRun(
    origin='release',
    source='its configuration',
    dataset=dataset,
    family='dualformer',
    model=SIZES[size],
    setting=_setting(clip, crops, ''),
    trained={
      'batch': batch,
      'optim.name': 'adamw',
      'optim.lr': lr,
      'optim.epochs': epochs,
      'optim.warmup': warmup,
      'optim.weight_decay': weight_decay,
      'model.drop_path': drop_path,
      'augment.flip': 0.5,
      'dtype': 'float16',
    },
  )


IN_1K, IN_21K = 'imagenet-1k', 'imagenet-21k'
# fmt: off
RUNS = (
  _paper('Table 2', 'T', '32x2', IN_1K, top(79.5, 94.1)),
  _paper('Table 2', 'S', '32x2', IN_1K, top(80.6, 94.9)),
  _paper('Table 2', 'B', '32x2', IN_1K, top(81.1, 95.0)),
  _paper('Table 2', 'B', '32x2', IN_21K, top(82.9, 95.5)),
  _paper('Table 2', 'B', '32x2', IN_21K, top(85.2, 96.6), dataset='k600'),
  *_small_sets('T', '16x4', 1, IN_1K, 75.4, 74.6, 96.3),
  *_small_sets('T', '16x4', 1, 'k400', 75.9, 75.0, 96.6),
  *_small_sets('S', '32x4', 1, 'k400', 81.2, 76.2, 97.4),
  *_small_sets('S', '32x4', 3, 'k400', 81.8, 76.4, 97.5),
  _ablation('Table 4', 'T LL,LL,LL,LL', 78.4, 93.3),
  _ablation('Table 4', 'T GG,GG,GG,GG', 77.6, 93.2),
  _ablation('Table 4', 'T LL,LL,LG,LG', 78.8, 93.5),
  _ablation('Table 4', 'T LG,LG,LL,LL', 79.3, 94.0),
  _ablation('Table 4', 'T LG1 everywhere (4,4,4)', 78.4, 93.4),
  _ablation('Table 4', 'T LG2 everywhere (8,7,7)', 79.3, 93.9),
  _ablation('Table 5', 'T window 4x7x7, 16x4', 78.0, 93.2, clip='16x4'),
  _ablation('Table 5', 'T 16x4', 78.4, 93.3, clip='16x4'),
  _ablation('Table 5', 'T window 4x7x7, 32x2', 79.1),
  _ablation('Table 5', 'T window 16x7x7', 79.7),
  _ablation('Table 5', 'T window 8x14x14', 79.7),
  _ablation('Table 6', 'T downsample AvgPool', 78.7),
  _ablation('Table 6', 'T downsample Conv', 79.5),
  _ablation('Table 7', 'T no position', 78.9),
  _ablation('Table 7', 'T absolute position', 79.2),
  _ablation('Table 7', 'T relative position', 79.3),
  _ablation('Table 8', 'T temporal pool 1,1,1 patch (4,4,4)', 78.5),
  _ablation('Table 8', 'T temporal pool 2,1,1', 78.7),
  _ablation('Table 8', 'T temporal pool 1,2,1', 78.8),
  _ablation('Table 8', 'T temporal pool 1,1,2', 79.2),
  _released('T', 'k400', '32x2', 1, 0.1, 0.02, 30.0, 3.0, 64),
  _released('S', 'k400', '32x2', 1, 0.2, 0.02, 30.0, 2.5, 64),
  _released('B', 'k400', '32x2', 1, 0.3, 0.05, 30.0, 2.5, 64),
  _released('B', 'k600', '32x2', 1, 0.3, 0.05, 30.0, 2.5, 64, lr=5e-4),
  _released('S', 'diving48', '32x4', 3, 0.2, 0.02, 30.0, 1.0, 64),
  _released('S', 'hmdb51', '32x4', 3, 0.3, 0.1, 16.0, 1.0, 128),
  _released('S', 'ucf101', '32x4', 3, 0.3, 0.1, 16.0, 1.0, 128),
  _released('T', 'ucf101', '16x4', 3, 0.2, 0.05, 16.0, 1.0, 128),
)
# fmt: on
