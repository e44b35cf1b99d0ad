"""FocalNet frame by frame: what Video-FocalNets are without time.

  --config=focalnet:SIZE,FIELD   e.g. focalnet:base,lrf

SIZE is tiny (default), small or base; FIELD is srf (default) or lrf, with two
or three focal levels. Design (a) of arXiv 2307.06947: frames are scored apart
and their logits averaged. It is trained as Video-FocalNets are on Kinetics-400;
configs/video_focalnet.py lists the differences from the release. No such
configuration was released.
"""

from vidmodels import config

SIZES = {
  'tiny': dict(layers=(2, 2, 6, 2), width=96, drop_path=0.2),
  'small': dict(layers=(2, 2, 18, 2), width=96, drop_path=0.3),
  'base': dict(layers=(2, 2, 18, 2), width=128, drop_path=0.5),
}
LEVELS = {'srf': (2, 2, 2, 2), 'lrf': (3, 3, 3, 3)}
PUBLISHED = ('', 'small', 'base', 'base,lrf')


def get_config(arg: str = ''):
  size, field = config.choose(arg, size=SIZES, field=LEVELS)
  c = config.skeleton(family='focalnet', levels=LEVELS[field], **SIZES[size])
  c.data.update(config.dataset_fields('k400'))
  c.data.update(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
  c.clip.update(frames=8, sampling='mmaction_segment', stride=4.0, size=224)
  c.augment.update(
    crop='area',
    short_side=(256, 256),
    long_side='round',
    flip=0.5,
    jitter=0.8,
    jitter_each='frame',
    grey=0.2,
  )
  c.views.update(
    temporal=4,
    spatial=3,
    short_side=224,
    long_side='round',
    centre='floor',
    average='probs',
  )
  c.log.validate_scale = 256 / 224
  c.batch = 32
  c.optim.update(
    name='sgd',
    lr=0.00625,
    lr_batch=32,
    epochs=120.0,
    schedule='cosine',
    warmup=20.0,
    warmup_lr=6.25e-5,
    final_lr=6.25e-5,
    clip_norm=5.0,
  )
  c.loss.label_smoothing = 0.1
  c.mix.update(mixup=0.8, cutmix=1.0, switch=0.5)
  c.init_expects, c.init_files = 'imagenet-1k', f'focalnet_{size}_{field}.pth'
  return c
