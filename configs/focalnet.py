"""FocalNet frame by frame: what Video-FocalNets are without time.

  --config=focalnet:SIZE,FIELD         e.g. focalnet:base,lrf
  --config=focalnet:SIZE,FIELD,paper   as the paper prints it

SIZE is tiny (default), small or base; FIELD is srf (default) or lrf, with two
or three focal levels. Design (a) of arXiv 2307.06947: frames are scored apart
and their logits averaged. No such configuration was released: it is trained as
Video-FocalNets are on Kinetics-400, `released` (default) or as in `paper`, and
configs/video_focalnet.py says what either is.
"""

from vidmodels import config

SIZES = {
  'tiny': dict(layers=(2, 2, 6, 2), width=96, drop_path=0.2),
  'small': dict(layers=(2, 2, 18, 2), width=96, drop_path=0.3),
  'base': dict(layers=(2, 2, 18, 2), width=128, drop_path=0.5),
}
LEVELS = {'srf': (2, 2, 2, 2), 'lrf': (3, 3, 3, 3)}
# Fields in which `paper` and `released` differ: where the paper says its value,
# and what of the release has the other.
SOURCES = {
  'batch': ('Table 4', 'the scripts: 8 clips on 4 GPUs'),
  'optim.lr': ('Table 4', 'BASE_LR, scaled by main.py'),
  'optim.lr_batch': ('section 4.1: the rate is of 512', 'main.py'),
  'optim.warmup_lr': ('of 512 clips, as released', 'WARMUP_LR, scaled'),
  'optim.final_lr': ('of 512 clips, as released', 'MIN_LR, scaled'),
  'model.drop_path': ('Table 4', 'DROP_PATH_RATE'),
  'clip.sampling': ('section 4.1: T frames, a stride apart', 'build.py'),
}
PUBLISHED = ('', 'small', 'base', 'base,lrf')


def get_config(arg: str = ''):
  size, field, word = config.choose(
    arg, size=SIZES, field=LEVELS, word=config.WORDS
  )
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
  c.batch, peak, low = 32, 0.00625, 6.25e-5
  if word == 'paper':
    c.batch, peak, low = 512, 0.1, 1e-3
    c.model.drop_path, c.clip.sampling = 0.1, 'dense'
  c.optim.update(
    name='sgd',
    lr=peak,
    lr_batch=c.batch,
    epochs=120.0,
    schedule='cosine',
    warmup=20.0,
    warmup_lr=low,
    final_lr=low,
    clip_norm=5.0,
  )
  c.loss.label_smoothing = 0.1
  c.mix.update(mixup=0.8, cutmix=1.0, switch=0.5)
  c.init_expects, c.init_files = 'imagenet-1k', f'focalnet_{size}_{field}.pth'
  return c
