"""Video-FocalNets' accuracies: arXiv 2307.06947, and its release's settings.

The README has the paper's figures. The paper names no frames; its printed costs
are those of 8. It does not say on how many views it tests Diving48 and
ActivityNet.
"""

from typing import Any

from vidmodels.analysis.published import PublishedRun, top

SIZES: dict[str, dict[str, Any]] = {
  'T': {},
  'S': dict(layers=(2, 2, 18, 2)),
  'B': dict(layers=(2, 2, 18, 2), width=128),
}
TRAINED = {
  'optim.name': 'sgd',
  'optim.epochs': 120.0,
  'optim.warmup': 20.0,
  'loss.label_smoothing': 0.1,
  'mix.mixup': 0.8,
  'augment.jitter': 0.8,
}
# Drop path of the release, and the batch and the rate of its scripts.
DROP_PATHS = {'T': 0.2, 'S': 0.3, 'B': 0.5}
BATCHES = {('S', 'k400'): 64, ('B', 'ssv2'): 128}


def _run(
  origin: Any,
  source: str,
  size: str,
  dataset: str,
  views: tuple[int, int] | None,
  trained: dict[str, Any],
  figures: dict[str, float],
) -> PublishedRun:
  kinetics = dataset in ('k400', 'k600')
  setting: dict[str, Any] = {'clip.frames': 8, 'clip.size': 224}
  if views:
    setting |= {'views.temporal': views[0], 'views.spatial': views[1]}
  if origin == 'paper':
    setting['init_expects'] = 'imagenet-1k' if kinetics else 'k400'
  return PublishedRun(
    origin=origin,
    source=source,
    dataset=dataset,
    family='video_focalnet',
    model=SIZES[size],
    setting=setting,
    trained={**TRAINED, **trained},
    figures=figures,
  )


def _paper(
  source: str,
  size: str,
  dataset: str,
  figures: dict[str, float],
  views: tuple[int, int] | None = (4, 3),
) -> PublishedRun:
  """A row of the paper, trained as Table 4 says."""
  trained: dict[str, Any] = {'batch': 512, 'model.drop_path': 0.1}
  if dataset != 'activitynet_untrimmed':  # not in Table 4
    trained['augment.flip'] = 0.5 if dataset in ('k400', 'k600') else 0.0
  return _run('paper', source, size, dataset, views, trained, figures)


def _released(size: str, dataset: str) -> PublishedRun:
  """A released configuration; its precision is apex O1's."""
  trained: dict[str, Any] = {
    'batch': BATCHES.get((size, dataset), 32),
    'model.drop_path': DROP_PATHS[size],
    'augment.flip': 0.0 if dataset == 'ssv2' else 0.5,
    'optim.clip_norm': 5.0,
    'dtype': 'float16',
  }
  source = 'its configuration'
  return _run('release', source, size, dataset, (4, 3), trained, {})


WHOLE = 'activitynet_untrimmed'
# fmt: off
RUNS = (
  _paper('Table 1', 'T', 'k400', top(79.8)),
  _paper('Table 1', 'S', 'k400', top(81.4)),
  _paper('Table 1', 'B', 'k400', top(83.6)),
  _paper('Table 2', 'B', 'k600', top(86.7)),
  _paper('Table 3', 'B', 'ssv2', top(71.1), (1, 3)),
  _paper('Table 5', 'B', 'diving48', top(90.8), None),
  _paper('Table 6', 'B', WHOLE, {'hit1': 89.8}, None),
  *(_released(size, 'k400') for size in SIZES),
  *(_released('B', name) for name in ('k600', 'ssv2', 'diving48', WHOLE)),
)
# fmt: on
