"""I3D, the network that VidTr is averaged with, on Kinetics and Charades.

  --config=i3d:VARIANT,DEPTH,SET         e.g. i3d:heavy,r101
  --config=i3d:VARIANT,DEPTH,SET,paper   as the papers beside it print it

VARIANT is light (default), heavy or slowfast; DEPTH is r50 (default) or r101;
SET is k400 (default), k600, k700 or charades. Light and heavy are mmaction2's:
32 frames of which every second one is taken, steps at epochs 40 and 80 of 100.
Slowfast is SlowFast's I3D 8 x 8: every eighth of 64 frames, a cosine over 196
epochs with 34 of warm-up, norms not decayed. mmaction2 starts from an image
ResNet.

mmaction2 has no R101; here it is the R50's recipe. SlowFast's R101 differs from
its R50 in its depth alone. Neither was released for K700 or Charades. K700 has
the recipe of Kinetics-400. Charades takes every fourth frame, as VidTr's Table
6 prints, and has the rates, batch and loss of SlowFast's own SlowFast network
there: steps at epochs 41 and 49 of 57, 4 of warm-up, and of all views each
class's highest score. Both start from Kinetics-400 weights. All this is
`released` (default).

`paper`: two of the papers train I3D. VidTr's averages its own network with one
of 8 frames, at the cost of `heavy`; the frames lie in 64 as VidTr-S's do, which
it does not say, nor anything of training. On Charades it prints 32 x 4 frames,
as in `released`. TimeSformer's compares itself with 8 x 8, which is `slowfast`:
it starts from an image network and trains for 118 epochs at a rate of .01, a
tenth of it from epochs 44 and 88 on. Of `light` they print nothing else.

All train on crops of 224 pixels and test on three of 256. Difference from the
release: SlowFast takes exact statistics from 200 batches before a test; here
they are the running ones.

SlowFast's starts at random on K400 and K600.
"""

from typing import Any

from vidmodels import config
from vidmodels.models import i3d

KEEPS_FRAMES = dict(stem_stride=1, pool_stride=1)
VARIANTS: dict[str, dict[str, Any]] = {
  'light': {},
  'heavy': KEEPS_FRAMES,
  'slowfast': dict(zero_last=True, head_window=7, **KEEPS_FRAMES),
}
# Frames that the first convolution of each block sees.
REACHES: dict[str, dict[str, Any]] = {
  'r50': {'light': i3d.LIGHT, 'heavy': i3d.HEAVY},
  'r101': {'light': i3d.LIGHT_101, 'heavy': i3d.HEAVY_101},
}
SETS = ('k400', 'k600', 'k700', 'charades')
# Fields in which `paper` and `released` differ: where a paper says its value,
# and what of the release has the other.
_VIDTR, _MMACTION = 'VidTr, section 1', 'configs/recognition/i3d of mmaction2'
_ZOO = 'configs/Kinetics of SlowFast'
_TIMESFORMER = 'TimeSformer, appendix A'
SOURCES = {
  'clip.frames': (
    f'{_VIDTR}: 8 frames',
    'configs/recognition/i3d of mmaction2',
  ),
  'clip.stride': ('VidTr, Table 1: as VidTr-S', _MMACTION),
  'init_expects': (f'{_TIMESFORMER}: a 2D ImageNet CNN', f'{_ZOO}: nothing'),
  'init_files': (f'{_TIMESFORMER}: a 2D ImageNet CNN', f'{_ZOO}: nothing'),
  'optim.lr': (_TIMESFORMER, _ZOO),
  'optim.epochs': (_TIMESFORMER, _ZOO),
  'optim.schedule': (_TIMESFORMER, _ZOO),
  'optim.milestones': (_TIMESFORMER, f'{_ZOO}: a cosine'),
  'optim.factors': (_TIMESFORMER, f'{_ZOO}: a cosine'),
  'optim.warmup': (f'{_TIMESFORMER}: none', _ZOO),
  'optim.warmup_lr': (f'{_TIMESFORMER}: none', _ZOO),
}
PUBLISHED = (
  '',
  'heavy',
  'slowfast',
  'slowfast,r101',
  'heavy,k600',
  'heavy,k700',
  'heavy,r101,charades',
)


def get_config(arg: str = ''):
  variant, depth, dataset, word = config.choose(
    arg, variant=VARIANTS, depth=REACHES, set=SETS, word=config.WORDS
  )
  reach = REACHES[depth]['heavy' if variant == 'heavy' else 'light']
  c = config.skeleton(family='i3d', reach=reach, **VARIANTS[variant])
  c.data.update(config.dataset_fields(dataset))
  c.views.update(
    temporal=10, spatial=3, size=256, short_side=256, average='probs'
  )
  c.optim.update(name='sgd', weight_decay=1e-4)
  c.batch = 64
  if variant == 'slowfast':
    c.clip.update(frames=8, sampling='pyslowfast_pyav', stride=8.0, fps=30.0)
    pixels = dict(resize='float', long_side='floor_double')
    c.augment.update(short_side=(256, 320), short_draw='rounded', **pixels)
    c.augment.last_offset = False
    c.views.update(**pixels)
    c.optim.update(
      lr=0.1,
      epochs=196.0,
      schedule='cosine',
      warmup=34.0,
      warmup_lr=0.01,
      decays=(('norm/', 0.0),),
    )
  else:
    c.init_expects, c.init_files = (
      'imagenet-1k',
      f"torchvision's resnet{depth[1:]}",
    )
    c.data.update(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    c.clip.update(frames=32, sampling='mmaction', stride=2.0)
    c.views.update(long_side='round', centre='floor')
    # The corners and the middle; squares of 256 pixels, or of .8 of that.
    c.augment.update(
      crop='multi_scale',
      short_side=(256, 256),
      long_side='round',
      scales=(1.0, 0.8),
      scale_gap=0,
      places=5,
    )
    c.optim.update(
      lr=0.01,
      nesterov=False,
      epochs=100.0,
      schedule='step',
      milestones=(40.0, 80.0),
      factors=(0.1, 0.01),
      clip_norm=40.0,
    )
  if word == 'paper' and variant == 'heavy' and dataset != 'charades':
    c.clip.update(frames=8, stride=8.0)
  elif word == 'paper' and variant == 'slowfast':
    c.init_expects = 'imagenet-1k'
    c.init_files = f"torchvision's resnet{depth[1:]}"
    c.optim.update(
      lr=0.01,
      epochs=118.0,
      schedule='step',
      milestones=(44.0, 88.0),
      factors=(0.1, 0.01),
      warmup=0.0,
      warmup_lr=0.0,
    )
  if dataset in ('k700', 'charades'):
    c.init_expects = 'k400'
    c.init_files = f'the Kinetics-400 file of {variant}'
  if dataset == 'charades':
    c.clip.stride = 4.0
    c.views.average = 'max'
    c.batch = 16
    c.optim.update(
      lr=0.0375,
      epochs=57.0,
      schedule='step',
      warmup=4.0,
      warmup_lr=0.0001,
      milestones=(41.0, 49.0),
      factors=(0.1, 0.01),
      nesterov=True,
      clip_norm=0.0,
    )
  return c
