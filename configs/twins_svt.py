"""Twins-SVT on single frames: the baseline without time under DualFormer.

  --config=twins_svt:SIZE,SET         e.g. twins_svt:base,ucf101
  --config=twins_svt:SIZE,SET,paper   as DualFormer's paper prints it

SIZE is small (default), base or large; SET is k400 (default), k600, hmdb51,
ucf101 or diving48. Every frame is scored by itself and the scores are averaged,
so the order of frames does not matter. No paper and no release has it on video:
the settings are DualFormer's for models of the same widths on Kinetics, on 8
frames. `paper` has that paper's 16 epochs and one of warm-up on the small sets,
where `released` (default) has Kinetics' 30 and 2.5. Start from public weights:
--config.init_from=FILE, timm's twins_svt_small, _base or _large.
"""

from typing import Any

from vidmodels import config

SIZES: dict[str, dict[str, Any]] = {
  'small': dict(drop_path=0.1),
  'base': dict(
    widths=(96, 192, 384, 768),
    layers=(2, 2, 18, 2),
    heads=(3, 6, 12, 24),
    drop_path=0.2,
  ),
  'large': dict(
    widths=(128, 256, 512, 1024),
    layers=(2, 2, 18, 2),
    heads=(4, 8, 16, 32),
    drop_path=0.3,
  ),
}
SETS = ('k400', 'k600', 'hmdb51', 'ucf101', 'diving48')
# Fields in which `paper` and `released` differ, as in configs/dualformer.py.
SOURCES = {
  'optim.epochs': ('section 4.1', 'nothing; those of Kinetics'),
  'optim.warmup': ('section 4.1', 'nothing; those of Kinetics'),
}
PUBLISHED = ('', 'base,ucf101')


def get_config(arg: str = ''):
  size, dataset, word = config.choose(
    arg, size=SIZES, set=SETS, word=config.WORDS
  )
  short = word == 'paper' and dataset not in ('k400', 'k600')
  c = config.skeleton(family='twins_svt', **SIZES[size])
  c.data.update(config.dataset_fields(dataset))
  c.data.update(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
  c.clip.update(frames=8, sampling='mmaction', stride=8.0)
  c.augment.update(crop='area', short_side=(256, 256), long_side='round')
  c.views.update(
    temporal=4, spatial=1, long_side='round', centre='floor', average='probs'
  )
  c.optim.update(
    name='adamw',
    lr=1e-3,
    epochs=16.0 if short else 30.0,
    schedule='cosine',
    rate_by='epoch',
    warmup=1.0 if short else 2.5,
    warmup_lr=1e-4,
    warmup_to='scaled',
    weight_decay=0.05 if size == 'large' else 0.02,
    decays=(('/peg/', 0.0),),
    rates=(('/peg/|^head/', 1.0), ('', 0.1)),
  )
  c.log.validate_scale = 256 / 224
  c.batch = 64
  c.init_expects, c.init_files = 'imagenet-1k', f"timm's twins_svt_{size}"
  return c
