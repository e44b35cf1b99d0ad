"""TimeSformer on five data sets (arXiv 2102.05095).

  --config=timesformer:CLIP,SET,ATTENTION,SIZE,...   e.g. timesformer:long,ssv2
  --config=timesformer:CLIP,SET,...,paper            as the paper prints it

CLIP is base (default: 8 frames), high or long, or, at the base's rate of one
frame in 32, 32x32, 64x32 or 96x32; SET is k400 (default), k600, ssv2, diving48
or howto100m; ATTENTION is divided (default), joint, space, local_global, axial,
space_time or parallel; SIZE is b16 (default), b32, s16, s32, l16 or l32;
space_pos or no_pos leaves out the table of times, or all.

`released` (default) has the optimiser, schedule, clips, crops and views of the
released code: SGD with Nesterov momentum, all parameters decay, batch 64, no
warm-up. Its one test view over time is the start of the video. `long` on SSv2
has 64 frames. Nothing was released for Diving-48 and HowTo100M, for other sizes
than b16 and for the last four kinds of attention: they have Kinetics' settings.

`paper` has batch 16, one test clip from the middle, averages of probabilities,
and 96 frames for `long` on SSv2. It fixes nothing else that differs: it names a
frame rate for SSv2 too, by which most videos are shorter than a clip, so there
the release's segments stay. The model is the release's, which has the printed
sizes; `temporal_class_key`, `class_copies` and `head_hidden` are what the
paper's text has otherwise.

32x32, 64x32 and 96x32 span 34 to 102 seconds: they are HowTo100M's.

Some things differ from both. Frames are resized as floats, as released, and
then rounded to levels, which moves a pixel by half of one at most. `val_clip`
is the centre of the test's clip, where the release draws clip and crop. AVI
files with B-frames are read in the order in which they are shown; the release's
clips of them are out of order. SSv2's frames are RGB, those of the released
weights were BGR, extracted at 30 a second (`prepare --fps=30`) from videos of
12. HowTo100M is tested on as many clips as cover a video of mean length, spread
over each; the paper takes as many as cover each.

It starts from ImageNet-21k weights; high and long on SSv2, and Diving-48, from
ImageNet-1k's, HowTo100M from K400's. The paper has base on SSv2 from both.
"""

from vidmodels import config
from vidmodels.typing import InputError

# Appendix A of the paper: T frames at a rate, in frames at 30 fps.
CLIPS = {
  'base': dict(frames=8, rate=32, size=224),
  'high': dict(frames=16, rate=16, size=448),
  'long': dict(frames=96, rate=4, size=224),
  '32x32': dict(frames=32, rate=32, size=224),
  '64x32': dict(frames=64, rate=32, size=224),
  '96x32': dict(frames=96, rate=32, size=224),
}
SSV2_FRAMES = {'base': 8, 'high': 16, 'long': 64}  # segments, no stride
# Table 8: clips that cover a video of HowTo100M, by their frames.
HOWTO100M_VIEWS = {8: 48, 32: 12, 64: 6, 96: 4}
# Floats are resized, to sizes computed in double precision.
PIXELS = dict(resize='float', long_side='floor_double')
SHORT_SIDES = {224: (256, 320), 448: (448, 512)}
SETS = ('k400', 'k600', 'ssv2', 'diving48', 'howto100m')
ATTENTIONS = (
  'divided',
  'joint',
  'space',
  'local_global',
  'axial',
  'space_time',
  'parallel',
)
S, L = dict(width=384, heads=6), dict(width=1024, heads=16, layers=24)
SIZES = {
  'b16': {},
  'b32': dict(patch=32),
  's16': S,
  's32': dict(patch=32, **S),
  'l16': L,
  'l32': dict(patch=32, **L),
}
POSITIONS = {'all_pos': 'space_time', 'space_pos': 'space', 'no_pos': 'none'}
# Weights that a run starts from, and a file of them.
VIT = ('imagenet-21k', '{}-i21k-*.npz of the ViT paper or AugReg')
IN_1K = ('imagenet-1k', 'jx_vit_base_p16_224-80ecf9dd.pth')
K400 = ('k400', 'TimeSformer_divST_8x32_224_K400.pyth')
# Fields in which `paper` and `released` differ: where the paper says its value,
# and what of the release has the other.
SOURCES = {
  'batch': ('appendix A', 'GLOBAL_BATCH_SIZE in config/defaults.py'),
  'clip.frames': (
    'section 4.2, TimeSformer-L',
    'configs/SSv2/TimeSformer_divST_64_224.yaml',
  ),
  'clip.sampling': (
    'section 4: a clip in the middle',
    'datasets/kinetics.py and decoder.py: from the start',
  ),
  'views.average': (
    'appendix A: softmax scores',
    'utils/meters.py: sums of logits',
  ),
}
PUBLISHED = (
  '',
  'high,k600',
  'long,ssv2',
  'base,k400,joint',
  'base,k400,space',
  'base,ssv2,local_global',
  'base,ssv2,axial',
  'base,ssv2,no_pos',
  'base,k400,b32',
  'base,k400,l16',
  'high,diving48',
  '96x32,howto100m',
  *('high,k400', 'long,k400', 'base,k600', 'long,k600'),
  *('base,ssv2', 'high,ssv2', 'base,diving48', 'long,diving48'),
  *('base,howto100m', '32x32,howto100m', '64x32,howto100m'),
  *('base,k400,local_global', 'base,k400,axial'),
  *('base,ssv2,joint', 'base,ssv2,space'),
  *('base,k400,no_pos', 'base,k400,space_pos', 'base,ssv2,space_pos'),
  *('base,k400,s16', 'base,ssv2,s16', 'base,ssv2,l16', 'base,ssv2,b32'),
  *('base,k400,space_time', 'base,ssv2,space_time'),
  *('base,k400,parallel', 'base,ssv2,parallel'),
)


def get_config(arg: str = ''):
  clip, dataset, attention, size, positions, word = config.choose(
    arg,
    clip=CLIPS,
    set=SETS,
    attention=ATTENTIONS,
    size=SIZES,
    positions=POSITIONS,
    word=config.WORDS,
  )
  c = config.skeleton(
    family='timesformer',
    attention=attention,
    positions=POSITIONS[positions],
    **SIZES[size],
  )
  c.data.update(config.dataset_fields(dataset))
  T, rate, c.clip.size = CLIPS[clip].values()
  if dataset == 'ssv2':
    c.clip.update(frames=_segments(clip), sampling='pyslowfast_segment')
  else:
    sampling = 'uniform' if dataset == 'howto100m' else 'pyslowfast_pyav'
    c.clip.update(frames=T, stride=float(rate), fps=30.0, sampling=sampling)
  c.augment.update(short_side=SHORT_SIDES[c.clip.size], **PIXELS)
  c.augment.update(
    short_draw='inverse' if dataset == 'ssv2' else 'rounded', last_offset=False
  )
  # Three pairs of SSv2's classes tell left from right.
  c.augment.flip = 0.0 if dataset == 'ssv2' else 0.5
  views = HOWTO100M_VIEWS.get(T, 1) if dataset == 'howto100m' else 1
  c.views.update(temporal=views, spatial=3, average='logits', **PIXELS)
  c.views.centre_scale = c.augment.short_side[0] / c.clip.size
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
  if dataset == 'howto100m':
    c.init_expects, c.init_files = K400
  elif dataset == 'diving48' or (dataset == 'ssv2' and clip != 'base'):
    c.init_expects, c.init_files = IN_1K
  else:
    letter, patch = size[0].upper(), size[1:]
    c.init_expects, c.init_files = VIT[0], VIT[1].format(f'{letter}_{patch}')
  if word == 'paper':
    _as_printed(c, T)
  return c


def _as_printed(c, frames: int) -> None:
  """Changes what the paper prints otherwise; SOURCES says where."""
  c.batch = 16
  c.views.average = 'probs'
  if c.clip.sampling == 'pyslowfast_segment':
    c.clip.frames = frames
  else:
    c.clip.sampling = 'uniform'  # a single view is the middle


def _segments(clip: str) -> int:
  """Frames of a clip of SSv2."""
  if clip not in SSV2_FRAMES:
    raise InputError(
      f'got clip {clip!r} for ssv2, which is sampled in segments; expected one '
      f'of {", ".join(SSV2_FRAMES)}'
    )
  return SSV2_FRAMES[clip]
