"""An image ViT on frames: the baseline of video models that sees no motion.

  --config=vit:SIZE,SET         e.g. vit:s16,ssv2
  --config=vit:SIZE,SET,paper   as TimeSformer's paper prints it

SIZE is b16 (default), b32, s16, s32 or l16, or deit_s16 or deit_b16 for DeiT's
two tokens; SET is k400 (default), k600 or ssv2. No paper trains this model on
video. Optimiser, schedule, clip and crop are those of TimeSformer (arXiv
2102.05095), so that the two can be compared: `released` (default) is trained as
its release, `paper` with what its paper prints otherwise. TimeSformer's
space-only attention averages tokens before the last norm, where this averages
the frames' logits. It should start from ImageNet weights. DeiT's distilled
token learns from the labels alone: there is no teacher here. Pixels are scaled
as for Google's and Hugging Face's weights; DeiT's were trained with ImageNet's
mean and deviation.
"""

from typing import Any

from vidmodels import config

S = dict(width=384, heads=6)
SIZES: dict[str, dict[str, Any]] = {
  'b16': {},
  'b32': dict(patch=32),
  's16': S,
  's32': dict(patch=32, **S),
  'l16': dict(width=1024, heads=16, layers=24),
  'deit_s16': dict(distilled=True, drop_path=0.1, **S),
  'deit_b16': dict(distilled=True, drop_path=0.1),
}
SETS = ('k400', 'k600', 'ssv2')
IMAGENET = dict(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
HALF = dict(mean=(0.5,) * 3, std=(0.5,) * 3)
PIXELS = dict(resize='float', long_side='floor_double')
# Fields in which `paper` and `released` differ, as in configs/timesformer.py.
SOURCES = {
  'batch': ('appendix A', 'GLOBAL_BATCH_SIZE in config/defaults.py'),
  'clip.sampling': (
    'section 4: a clip in the middle',
    'datasets/kinetics.py and decoder.py: from the start',
  ),
  'views.average': (
    'appendix A: softmax scores',
    'utils/meters.py: sums of logits',
  ),
}
PUBLISHED = ('', 's16,ssv2', 'l16', 'deit_b16')


def get_config(arg: str = ''):
  size, dataset, word = config.choose(
    arg, size=SIZES, set=SETS, word=config.WORDS
  )
  c = config.skeleton(family='vit', **SIZES[size])
  c.data.update(config.dataset_fields(dataset))
  c.data.update(**IMAGENET if size.startswith('deit') else HALF)
  if dataset == 'ssv2':
    c.clip.update(frames=8, sampling='pyslowfast_segment')
  else:
    c.clip.update(frames=8, stride=32.0, fps=30.0, sampling='pyslowfast_pyav')
  c.augment.update(short_side=(256, 320), last_offset=False, **PIXELS)
  c.augment.short_draw = 'inverse' if dataset == 'ssv2' else 'rounded'
  # Three pairs of SSv2's classes tell left from right.
  c.augment.flip = 0.0 if dataset == 'ssv2' else 0.5
  c.views.update(
    temporal=1, spatial=3, centre_scale=256 / 224, average='logits', **PIXELS
  )
  c.optim.update(
    name='sgd',
    lr=0.005,
    epochs=15.0,
    schedule='step',
    milestones=(11.0, 14.0),
    factors=(0.1, 0.01),
    weight_decay=1e-4,
  )
  c.batch = 64
  if word == 'paper':
    c.batch, c.views.average = 16, 'probs'
    if dataset != 'ssv2':
      c.clip.sampling = 'uniform'  # a single view is the middle
  letter, patch = size.removeprefix('deit_')[0].upper(), size[-2:]
  c.init_expects = 'imagenet-21k'
  c.init_files = f'{letter}_{patch}-i21k-*.npz of the ViT paper or AugReg'
  if size.startswith('deit'):
    c.init_expects = 'imagenet-1k'
    c.init_files = f'the distilled DeiT-{letter}'
  return c
