"""Video-FocalNets on the sets of arXiv 2307.06947.

  --config=video_focalnet:SIZE,SET         e.g. video_focalnet:base,ssv2
  --config=video_focalnet:SIZE,SET,paper   as the paper prints it

SIZE is tiny (default), small or base; SET is k400 (default), k600, ssv2,
diving48, activitynet_untrimmed or activitynet, which trains on the annotated
segments one by one, where the paper has whole videos.

`released` (default): the configurations name a rate of 0.1 for a batch of 512
and scale it to the batch of their scripts, which is 32, 64 or 128: the rates
are those that were used. They name a weight decay of 1e-4, and by a slip decay
nothing: the list of what not to decay holds the empty string, which is in every
name. So here `decays` is 0 for everything. Warm-up leads to the peak, from
which the rate falls by .07 of it to the cosine, and every rate comes one update
late: the first one is used twice. Drop path is .2, .3 and .5, and all sets are
tested on 4 x 3 views.

`paper` has the batch of 512 with its rate of 0.1 (Table 4; the text prints
1.6e-3), a drop path of .1, clips of frames a stride apart, SSv2 on 1 x 3 views,
and Diving48 not mirrored. How many frames, how far apart, the release says: 8,
4 apart. The paper prints no weight decay and no clipping, and of the model it
says several things, of which only the release's fit its figures: those stay.

It starts from focalnet_{tiny,small,base}_srf of ImageNet-1K, which `init_from`
takes; on SSv2, Diving48 and ActivityNet the paper starts from Kinetics-400
weights. Differences to the release:

* Mixup and cutmix, of which every batch has one, draw one share a step; the
  release draws one for the 8 clips of each GPU.
* The 4 clips of a test are the same every time, four places in each segment;
  the release draws them anew, which moves its accuracy by .3.
"""

from vidmodels import config

SIZES = {
  'tiny': dict(layers=(2, 2, 6, 2), width=96, drop_path=0.2),
  'small': dict(layers=(2, 2, 18, 2), width=96, drop_path=0.3),
  'base': dict(layers=(2, 2, 18, 2), width=128, drop_path=0.5),
}
SETS = (
  *('k400', 'k600', 'ssv2', 'diving48'),
  *('activitynet', 'activitynet_untrimmed'),
)
# Fields in which `paper` and `released` differ: where the paper says its value,
# and what of the release has the other.
SOURCES = {
  'batch': ('Table 4', 'the scripts: 8 clips on 4, 8 or 16 GPUs'),
  'optim.lr': ('Table 4', 'BASE_LR, scaled by main.py'),
  'optim.lr_batch': ('section 4.1: the rate is of 512', 'main.py'),
  'optim.warmup_lr': ('of 512 clips, as released', 'WARMUP_LR, scaled'),
  'optim.final_lr': ('of 512 clips, as released', 'MIN_LR, scaled'),
  'model.drop_path': ('Table 4', 'DROP_PATH_RATE'),
  'clip.sampling': ('section 4.1: T frames, a stride apart', 'build.py'),
  'augment.flip': ('Table 4', 'the configuration of diving48'),
  'views.temporal': ('section 4.1: 1 x 3 on SSv2', 'main.py: 4 x 3'),
}
PUBLISHED = (
  '',
  'small',
  'base',
  'base,k600',
  'base,ssv2',
  'base,diving48',
  'base,activitynet',
  'base,activitynet_untrimmed',
)
# Clips a step in the released scripts, 8 a GPU; 4 GPUs but for these.
BATCHES = {('small', 'k400'): 64, ('base', 'ssv2'): 128}
# Peak rate, and the one that warm-up starts from and the cosine ends at.
RATES = {
  32: (0.00625, 6.25e-5),
  64: (0.0125, 1.25e-4),
  128: (0.025, 2.5e-4),
  512: (0.1, 1e-3),
}


def get_config(arg: str = ''):
  size, dataset, word = config.choose(
    arg, size=SIZES, set=SETS, word=config.WORDS
  )
  c = config.skeleton(family='video_focalnet', **SIZES[size])
  c.data.update(config.dataset_fields(dataset))
  c.data.update(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
  c.clip.update(frames=8, sampling='mmaction_segment', stride=4.0, size=224)
  # Three pairs of SSv2's classes tell left from right.
  c.augment.update(
    crop='area',
    short_side=(256, 256),
    long_side='round',
    flip=0.0 if dataset == 'ssv2' else 0.5,
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
  c.batch = BATCHES.get((size, dataset), 32)
  if word == 'paper':
    c.batch, c.model.drop_path = 512, 0.1
    c.clip.sampling = 'dense'
    if dataset == 'ssv2':
      c.views.temporal = 1
    elif dataset == 'diving48':
      c.augment.flip = 0.0
  peak, low = RATES[c.batch]
  c.optim.update(
    name='sgd',
    lr=peak,
    lr_batch=c.batch,
    epochs=120.0,
    schedule='cosine',
    warmup=20.0,
    warmup_lr=low,
    warmup_to='peak',
    final_lr=low,
    late=1.0,
    momentum=0.9,
    nesterov=True,
    weight_decay=1e-4,
    decays=(('.', 0.0),),
    clip_norm=5.0,
    clip_at='microbatch',
  )
  c.loss.label_smoothing = 0.1
  c.mix.update(mixup=0.8, cutmix=1.0, switch=0.5)
  c.init_expects, c.init_files = 'imagenet-1k', f'focalnet_{size}_srf.pth'
  if dataset not in ('k400', 'k600'):
    c.init_expects = 'k400'
    c.init_files = f"the authors' Kinetics-400 file of {size}"
  return c
