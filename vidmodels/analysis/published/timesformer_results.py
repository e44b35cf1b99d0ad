"""TimeSformer's accuracies: arXiv 2102.05095, and the README of its release.

The paper tests one clip of the middle of a video, its code and the recipes one
from the start. The README says nothing of the weights that its runs started
from; the code's default is jx_vit_base_p16_224-80ecf9dd.
"""

from typing import Any

from vidmodels.analysis.published import PublishedRun, top

CLIPS: dict[str, tuple[int, float, int]] = {  # frames, stride, pixels
  'base': (8, 32.0, 224),
  'high': (16, 16.0, 448),
  'long': (96, 4.0, 224),
  'long of the release': (64, 0.0, 224),  # of SSv2, which has no stride
  '32': (32, 32.0, 224),
  '64': (64, 32.0, 224),
  '96': (96, 32.0, 224),
}
IN_21K, IN_1K = 'imagenet-21k', 'imagenet-1k'
SGD = {
  'optim.name': 'sgd',
  'optim.lr': 0.005,
  'optim.epochs': 15.0,
  'optim.milestones': (11.0, 14.0),
  'optim.warmup': 0.0,
  'optim.momentum': 0.9,
  'optim.weight_decay': 1e-4,
}
COVERS = 'as many as cover the video'


def _run(
  origin: Any,
  source: str,
  clip: str,
  dataset: str,
  figures: dict[str, float],
  start: str = '',
  **model: Any,
) -> PublishedRun:
  """One run; what is said of training is the same for all of one origin."""
  frames, stride, size = CLIPS[clip]
  setting: dict[str, Any] = {
    'clip.frames': frames,
    'clip.size': size,
    'views.temporal': COVERS if dataset == 'howto100m' else 1,
    'views.spatial': 3,
  }
  if stride and dataset != 'ssv2':  # SSv2's frames are those of segments
    setting['clip.stride'] = stride
  if start:
    setting['init_expects'] = start
  sides = (448, 512) if size == 448 else (256, 320)
  trained = {**SGD, 'batch': 16, 'augment.short_side': sides}
  if origin == 'release':
    flip = 0.0 if dataset == 'ssv2' else 0.5
    trained |= {'batch': 64, 'dtype': 'float32', 'augment.flip': flip}
  return PublishedRun(
    origin=origin,
    source=source,
    dataset=dataset,
    family='timesformer',
    model=model,
    setting=setting,
    trained=trained,
    figures=figures,
  )


def _paper(
  source: str,
  clip: str,
  dataset: str,
  start: str,
  *figures: float,
  **model: Any,
) -> PublishedRun:
  """A row of the paper."""
  return _run('paper', source, clip, dataset, top(*figures), start, **model)


def _schemes(attention: str, k400: float, ssv2: float) -> list[PublishedRun]:
  """A row of Table 1."""
  return [
    _paper('Table 1', 'base', name, IN_21K, top1, attention=attention)
    for name, top1 in (('k400', k400), ('ssv2', ssv2))
  ]


def _positions(positions: str, k400: float, ssv2: float) -> list[PublishedRun]:
  """A row of Table 4."""
  return [
    _paper('Table 4', 'base', name, IN_21K, top1, positions=positions)
    for name, top1 in (('k400', k400), ('ssv2', ssv2))
  ]


def _released(clip: str, dataset: str, *figures: float) -> PublishedRun:
  """A row of the README."""
  return _run('release', 'README', clip, dataset, top(*figures))


# fmt: off
RUNS = (
  *_schemes('space', 76.9, 36.6),
  *_schemes('joint', 77.4, 58.5),
  *_schemes('divided', 78.0, 59.5),
  *_schemes('local_global', 75.9, 56.3),
  *_schemes('axial', 73.5, 56.2),
  _paper('Table 5', 'base', 'k400', IN_21K, 78.0, 93.7),
  _paper('Table 5', 'high', 'k400', IN_21K, 79.7, 94.4),
  _paper('Table 5', 'long', 'k400', IN_21K, 80.7, 94.7),
  _paper('Table 3', 'base', 'k400', IN_1K, 75.8),
  _paper('Table 3', 'high', 'k400', IN_1K, 77.8),
  _paper('Table 3', 'long', 'k400', IN_1K, 78.1),
  _paper('Table 6', 'base', 'k600', IN_21K, 79.1, 94.4),
  _paper('Table 6', 'high', 'k600', IN_21K, 81.8, 95.8),
  _paper('Table 6', 'long', 'k600', IN_21K, 82.2, 95.6),
  _paper('Tables 3 and 7', 'base', 'ssv2', IN_1K, 59.5),
  _paper('Tables 3 and 7', 'high', 'ssv2', IN_1K, 62.2),
  _paper('Tables 3 and 7', 'long', 'ssv2', IN_1K, 62.4),
  _paper('Table 3', 'high', 'ssv2', IN_21K, 62.5),
  _paper('Table 3', 'long', 'ssv2', IN_21K, 62.3),
  _paper('Table 7', 'base', 'diving48', IN_1K, 74.9),
  _paper('Table 7', 'high', 'diving48', IN_1K, 78.0),
  _paper('Table 7', 'long', 'diving48', IN_1K, 81.0),
  *_positions('none', 75.4, 45.8),
  *_positions('space', 77.8, 52.5),
  *_positions('space_time', 78.0, 59.5),
  _paper('Table 8', 'base', 'howto100m', 'k400', 56.8),
  _paper('Table 8', '32', 'howto100m', 'k400', 61.2),
  _paper('Table 8', '64', 'howto100m', 'k400', 62.2),
  _paper('Table 8', '96', 'howto100m', 'k400', 62.6),
  _released('base', 'k400', 77.9, 93.2),
  _released('high', 'k400', 79.6, 94.0),
  _released('long', 'k400', 80.6, 94.7),
  _released('base', 'k600', 79.1, 94.4),
  _released('high', 'k600', 81.8, 95.8),
  _released('long', 'k600', 82.2, 95.6),
  _released('base', 'ssv2', 59.1, 85.6),
  _released('high', 'ssv2', 61.8, 86.9),
  _released('long of the release', 'ssv2', 62.0, 87.5),
)
# fmt: on
