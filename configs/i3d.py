"""I3D-R50 on Kinetics-400, the network that VidTr is averaged with.

  --config=i3d:VARIANT,SET   e.g. i3d:heavy

VARIANT is light (default), heavy or slowfast; SET is k400 (default) or k600.
Light and heavy are mmaction2's: 32 frames of which every second one is taken,
steps at epochs 40 and 80 of 100. Slowfast is SlowFast's I3D 8 x 8: every eighth
of 64 frames, a cosine over 196 epochs with 34 of warm-up, norms not decayed.
mmaction2 starts from an image ResNet-50. Differences from the releases:

* Both test on 3 crops of 256 pixels, here of the clip's own size.
* SlowFast takes exact statistics from 200 batches before a test; here they are
  the running ones.

SlowFast's starts at random.
"""

from typing import Any

from vidmodels import config

KEEPS_FRAMES = dict(stem_stride=1, pool_stride=1)
# Frames that the first convolution of each block sees; light is the default.
HEAVY = ((3,) * 3, (3,) * 4, (3,) * 6, (3,) * 3)
VARIANTS: dict[str, dict[str, Any]] = {
  'light': {},
  'heavy': dict(reach=HEAVY, **KEEPS_FRAMES),
  'slowfast': dict(zero_last=True, head_window=7, **KEEPS_FRAMES),
}
SETS = ('k400', 'k600')
PUBLISHED = ('', 'heavy', 'slowfast', 'heavy,k600')


def get_config(arg: str = ''):
  variant, dataset = config.choose(arg, variant=VARIANTS, set=SETS)
  c = config.skeleton(family='i3d', **VARIANTS[variant])
  c.data.update(config.dataset_fields(dataset))
  c.views.update(temporal=10, spatial=3, short_side=256, average='probs')
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
      decay_skip='norm/',
    )
  else:
    c.init_expects, c.init_files = 'imagenet-1k', "torchvision's resnet50"
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
  return c
