"""X-ViT on Kinetics, Something-Something V2 and EPIC-Kitchens-100.

  --config=xvit:SET,SIZE,FRAMES,...   e.g. xvit:ssv2,b32,8
  --config=xvit:SET,...,paper         as the paper prints it

SET is k400 (default), k600, ssv2 or epic100; SIZE is b16 (default), b32 or l32;
FRAMES is 16 (default, as released), 8 or 32; `average` takes frames together by
their mean in place of temporal attention, `summary` adds summary tokens. Paper:
arXiv 2106.05968.

`released` (default) has the optimiser, schedule, clips and views of the
released code: SGD with Nesterov momentum, a cosine to 0 after five epochs of
warm-up, batch 64; Kinetics is tested on 1 x 3 views, SSv2 on 2 x 3. Nothing was
released for EPIC; it has SSv2's settings, with two heads: 97 verbs and 300
nouns. Other sizes and numbers of frames are the paper's Tables 5 to 8 and have
the settings of their data set.

`paper` tests everything on 1 x 3 views. It describes no training but the
weights of the start, and not how many channels and frames it mixes on Kinetics:
the release's values stay. So does its model, of which `mix_layout`, `ta_query`,
`ta_head` and `time_rows` are what the paper's text has otherwise.

AutoAugment changes whole frames before the crop is cut, and turns one clip in
31 black, as in the release. Kinetics has mixup. Each of EPIC's heads has a loss
of its own; they are added, as the paper does not say how to combine them. Other
differences from the release: geometry is bilinear, where the release draws
bilinear or bicubic for every frame; the crops of Kinetics are shrunk without
antialiasing, the release's with it (one level of 255 on average where 256
pixels become 224); mixup draws one share a step, where the release draws one
for each GPU. Tests, and SSv2's training, resize floats as released and then
round to levels, which moves a pixel by half of one at most.

It starts from ImageNet-21k weights. The released SSv2 file started from K600.
"""

from typing import Any

from vidmodels import config

SIZES: dict[str, dict[str, int]] = {
  'b16': {},
  'b32': dict(patch=32),
  'l32': dict(patch=32, layers=24, width=1024, heads=16),  # ViT-L
}
FRAMES = {'16': 16, '8': 8, '32': 32}
# The two released files: Kinetics mixes a quarter of the channels, among eight
# frames; SSv2 half of them, among all.
KINETICS = dict(mix_share=0.25, segment=8)
SSV2 = dict(mix_share=0.5, segment=0)
SETS: dict[str, dict[str, Any]] = {
  'k400': KINETICS,
  'k600': KINETICS,
  'ssv2': SSV2,
  'epic100': dict(groups=(97, 300), **SSV2),  # section 4.1: verbs and nouns
}
SWITCHES: dict[str, dict[str, Any]] = {
  'average': dict(ta_layers=0),
  'summary': dict(summary=True),
}
# Floats are resized, to sizes computed in double precision.
PIXELS = dict(resize='float', long_side='floor_double')
# ImageNet-21k weights of each size.
FILES = {
  'b16': 'jx_vit_base_patch16_224_in21k-e5005f0a.pth',
  'b32': 'B_32-i21k-*.npz',
  'l32': 'ViT-L_32.npz',
}
# Fields in which `paper` and `released` differ: where the paper says its value,
# and what of the release has the other.
SOURCES = {
  'views.temporal': ('section 4.1: 1 x 3 views', 'ssv2_16x16.yaml'),
}
PUBLISHED = (
  '',
  'k600',
  'ssv2',
  'k400,8',
  'ssv2,8',
  'ssv2,32',
  'ssv2,8,b32',
  'ssv2,8,l32',
  'ssv2,8,average',
  'k400,8,summary',
  'epic100',
  *('k600,8', 'epic100,8', 'k400,8,average', 'k400,8,average,summary'),
  *('ssv2,8,summary', 'ssv2,8,average,summary'),
)


def get_config(arg: str = ''):
  dataset, size, frames, word, *switches = config.choose(
    arg,
    set=SETS,
    size=SIZES,
    frames=FRAMES,
    word=config.WORDS,
    attention=('', 'average'),
    summary=('', 'summary'),
  )
  fields = {**SIZES[size], **SETS[dataset]}
  for switch in filter(None, switches):
    fields |= SWITCHES[switch]
  c = config.skeleton(family='xvit', **fields)
  c.data.update(config.dataset_fields(dataset), mean=(0.5,) * 3, std=(0.5,) * 3)
  kinetics = dataset in ('k400', 'k600')
  T = c.clip.frames = FRAMES[frames]
  if kinetics:
    # 256 of the video's own frames, at any rate, as the release runs.
    c.clip.update(sampling='pyslowfast', stride=256 / T)
    # Pillow's bilinear rounds to the nearest level too.
    c.augment.update(crop='multi_scale', short_side=(0, 0), resize='float')
  else:
    c.clip.sampling = 'pyslowfast_segment'
    c.augment.update(short_side=(256, 320), short_draw='inverse', erase=0.5)
    c.augment.update(last_offset=False, **PIXELS)
  # Three pairs of SSv2's classes tell left from right.
  c.augment.update(auto='v0', flip=0.5 if kinetics else 0.0)
  passes = 1 if kinetics or word == 'paper' else 2
  c.views.update(temporal=passes, spatial=3, average='logits', **PIXELS)
  c.optim.update(
    name='sgd',
    lr=0.03,
    epochs=30.0 if kinetics else 35.0,
    schedule='cosine',
    warmup=5.0,
    warmup_lr=0.01 if kinetics else 0.003,
    weight_decay=1e-5 if kinetics else 1e-4,
    decays=((r'^head.*/bias$', 0.0),),  # all other biases decay
  )
  c.loss.label_smoothing = 0.3 if kinetics else 0.0
  c.mix.mixup = 0.4 if kinetics else 0.0
  c.batch = 64
  c.init_expects, c.init_files = 'imagenet-21k', FILES[size]
  return c
