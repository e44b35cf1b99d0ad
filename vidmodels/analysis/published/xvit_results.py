"""X-ViT's accuracies: arXiv 2106.05968, and the README of its release.

The paper describes no training but the weights that it starts from, and neither
a stride nor how much is mixed on Kinetics. It tests one clip and three crops
everywhere.
"""

from collections.abc import Mapping
from typing import Any, Literal

from vidmodels.analysis.published import PublishedRun, top
from vidmodels.analysis.published.xvit_tables import L32

# Of the released files; the paper's SSv2 models have all frames in a segment.
KINETICS: dict[str, Any] = dict(mix_share=0.25, segment=8)
UNSAID = ('mix_share', 'segment')
SSV2_TRAINED = {
  'batch': 64,
  'optim.name': 'sgd',
  'optim.lr': 0.03,
  'optim.epochs': 35.0,
  'optim.warmup': 5.0,
  'optim.warmup_lr': 0.003,
  'optim.weight_decay': 1e-4,
  'augment.flip': 0.0,
  'augment.erase': 0.5,
  'dtype': 'float32',
}
KINETICS_TRAINED = {
  **SSV2_TRAINED,
  'optim.epochs': 30.0,
  'optim.warmup_lr': 0.01,
  'optim.weight_decay': 1e-5,
  'augment.flip': 0.5,
  'augment.erase': 0.0,
  'mix.mixup': 0.4,
  'loss.label_smoothing': 0.3,
}


def _run(
  origin: Literal['paper', 'release'],
  source: str,
  dataset: str,
  figures: Mapping[str, float],
  *,
  frames: int = 8,
  views: tuple[int, int] = (1, 3),
  start: str = 'imagenet-21k',
  unsaid: tuple[str, ...] = (),
  trained: Mapping[str, Any] | None = None,
  **model: Any,
) -> PublishedRun:
  setting: dict[str, Any] = {
    'clip.frames': frames,
    'clip.size': 224,
    'views.temporal': views[0],
    'views.spatial': views[1],
    **({'init_expects': start} if start else {}),
  }
  return PublishedRun(
    origin=origin,
    source=source,
    dataset=dataset,
    family='xvit',
    model=model,
    unsaid=unsaid,
    setting=setting,
    trained=trained or {},
    figures=figures,
  )


def _kinetics(
  source: str, dataset: str, frames: int, *figures: float, **model: Any
) -> PublishedRun:
  """A row of the paper on Kinetics."""
  figured = top(*figures)
  return _run(
    'paper', source, dataset, figured, frames=frames, unsaid=UNSAID, **model
  )


def _ssv2(source: str, *figures: float, **more: Any) -> PublishedRun:
  """A row of the paper on SSv2."""
  return _run('paper', source, 'ssv2', top(*figures), **more)


def _averaged(source: str, *figures: float, **model: Any) -> PublishedRun:
  """A row of Tables 1 and 2a, which average frames."""
  return _ssv2(source, *figures, ta_layers=0, **model)


def _epic(frames: int, action: float, verb: float, noun: float) -> PublishedRun:
  """A row of Table 8."""
  figures = {'action_top1': action, 'verb_top1': verb, 'noun_top1': noun}
  return _run(
    'paper', 'Table 8', 'epic100', figures, frames=frames, groups=(97, 300)
  )


def _k600(views: tuple[int, int], *figures: float) -> PublishedRun:
  """The released model of Kinetics-600."""
  return _run(
    'release', 'README and k600_16x16', 'k600', top(*figures), frames=16,
    views=views, start='', trained=KINETICS_TRAINED, **KINETICS,
  )  # fmt: skip


# fmt: off
RUNS = (
  _kinetics('Table 6', 'k400', 8, 78.5, 93.7),
  _kinetics('Table 6', 'k400', 16, 80.2, 94.7),
  _kinetics('Table 4', 'k600', 8, 82.5, 95.4),
  _kinetics('Table 4', 'k600', 16, 84.5, 96.3),
  _ssv2('Table 7', 64.4, 89.3),
  _ssv2('Table 7', 66.2, 90.6, frames=16),
  _ssv2('Table 7', 67.2, 90.8, frames=16, start='k600'),
  _ssv2('Table 7', 66.4, 90.7, frames=32),
  _epic(8, 41.5, 66.7, 53.3),
  _epic(16, 44.3, 68.7, 56.4),
  _ssv2('Table 5', 60.5, 87.4, patch=32),
  _ssv2('Table 5', 61.8, 88.3, **L32),
  _averaged('Table 1', 45.2, 71.4, mix_window=0),
  _averaged('Table 1', 62.5, 87.8),
  _averaged('Table 1', 60.5, 86.4, mix_window=2),
  _averaged('Table 1', 60.4, 86.2, mix_window=2, mix_boundary=True),
  _averaged('Table 2a', 61.7, mix_layers='first_half'),
  _averaged('Table 2a', 61.6, mix_layers='second_half'),
  _averaged('Table 2a', 61.2, mix_layers='odd'),
  _averaged('Table 2a', 62.6),
  _averaged('Table 2b', 62.4),
  _ssv2('Table 2b', 64.4),
  _ssv2('Table 2b', 64.5, ta_layers=2),
  _ssv2('Table 2b', 64.5, ta_layers=3),
  _ssv2('Table 2c', 56.6, mix='none'),
  _ssv2('Table 2c', 63.1, mix='x'),
  _ssv2('Table 2c', 63.1, mix='key'),
  _ssv2('Table 2c', 62.5, mix='value'),
  _ssv2('Table 2c', 64.4),
  _ssv2('Table 2d', 64.3, mix_share=0.25),
  _ssv2('Table 2d', 64.4),
  _ssv2('Table 2d', 62.5, mix_share=1.0),
  _ssv2('Table 3', 63.7, ta_layers=0, summary=True),
  _ssv2('Table 3', 63.4, summary=True),
  _kinetics('Table 3', 'k400', 8, 78.7, ta_layers=0, summary=True),
  _kinetics('Table 3', 'k400', 8, 78.0, summary=True),
  _k600((1, 3), 84.51, 96.26),
  _k600((2, 3), 84.71, 96.39),
  _run('release', 'k400_16x16, no weights', 'k400', {}, frames=16, start='',
       trained=KINETICS_TRAINED, **KINETICS),
  # The README prints 32x2 views, surely 3 x 2.
  _run('release', 'README and ssv2_16x16', 'ssv2', top(67.19, 91.0), frames=16,
       views=(2, 3), start='k600', trained=SSV2_TRAINED),
)
# fmt: on
