"""X-ViT on Kinetics, Something-Something V2 and EPIC-Kitchens-100.

  --config=xvit:SET,SIZE,FRAMES,...   e.g. xvit:ssv2,b32,8

SET is k400 (default), k600, ssv2 or epic100; SIZE is b16 (default), b32 or l32;
FRAMES is 16 (default, as released), 8 or 32; `average` takes frames together by
their mean in place of temporal attention, `summary` adds summary tokens. Paper:
arXiv 2106.05968. The paper does not describe training, so optimiser, schedule,
clips and views are those of the released code: SGD with Nesterov momentum, a
cosine to 0 after five epochs of warm-up, batch 64. SSv2 with 16 frames is
tested on 2 x 3 views, as released, where the paper has 1 x 3. Nothing was
released for EPIC; it has SSv2's settings, with two heads: 97 verbs and 300
nouns. The largest size and other numbers of frames are the paper's Tables 5 to
8. These, EPIC and all others that were not released have the paper's 1 x 3
views.

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
)


def get_config(arg: str = ''):
  dataset, size, frames, *switches = config.choose(
    arg,
    set=SETS,
    size=SIZES,
    frames=FRAMES,
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
  released = (dataset, size, frames, *switches) == ('ssv2', 'b16', '16', '', '')
  c.views.update(temporal=2 if released else 1, spatial=3, average='logits')
  c.views.update(**PIXELS)
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
