"""A small TimeSformer for your own videos, on a laptop.

  --config=small:SIZE   e.g. small:scratch

SIZE is tiny (default), which starts from the weights of an image model,
ViT-Ti/16, and sees 112 x 112 pixels, or scratch, which is smaller, starts at
random and sees 64 x 64. Both see 8 frames that span the video, however long it
is, and read `records`, splits `train` and `val`; the number of classes is that
of the records. Nothing is mirrored: if left and right mean the same, prepare
with `--flip free` and set --config.augment.flip=0.5.

No paper trains this. Of 320 videos, tiny's 15 epochs take about 50 minutes of
one core, scratch's 30 epochs 16 (extrapolated from ten steps of a server's
CPU).
"""

from typing import Any

from vidmodels import config

SIZES: dict[str, dict[str, Any]] = {
  'tiny': dict(width=192, heads=3),
  'scratch': dict(layers=4, width=96, heads=3, patch=8, fresh='scratch'),
}
PUBLISHED = ('', 'scratch')


def get_config(arg: str = ''):
  (size,) = config.choose(arg, size=SIZES)
  c = config.skeleton(family='timesformer', **SIZES[size])
  c.data.update(dir='records', test='val', mean=(0.5,) * 3, std=(0.5,) * 3)
  c.data.threads = 2
  tiny = size == 'tiny'
  c.clip.update(frames=8, sampling='segment', size=112 if tiny else 64)
  c.augment.update(short_side=(128, 144) if tiny else (72, 84), flip=0.0)
  c.views.update(temporal=2, spatial=3)
  c.optim.update(
    name='adamw',
    lr=3e-4 if tiny else 1e-3,
    epochs=15.0 if tiny else 30.0,
    schedule='cosine',
    warmup=1.0 if tiny else 3.0,
    weight_decay=0.05,
    decays=(('bias|scale|pos|class_token', 0.0),),
    clip_norm=1.0,
  )
  c.batch = 16
  c.dtype = 'float32'  # which CPUs are faster with
  c.log.every = 20
  c.checkpoint.every = 200
  if tiny:
    c.init_expects = 'imagenet-21k'
    c.init_files = "Ti_16-i21k-*.npz of AugReg, timm's vit_tiny_patch16_224"
  return c
