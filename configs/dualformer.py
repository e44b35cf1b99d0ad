"""DualFormer on Kinetics, HMDB-51, UCF-101 and Diving-48 (arXiv 2112.04674).

  --config=dualformer:SIZE,SET         e.g. dualformer:small,ucf101
  --config=dualformer:SIZE,SET,paper   as the paper prints it

SIZE is tiny (default), small or base; SET is k400 (default), k600, hmdb51,
ucf101 or diving48.

`released` (default) has the optimiser, schedule, clips and views of the
released configurations. None was released for tiny on HMDB-51 and Diving-48 and
for base on a small set: tiny has the settings of UCF-101 and small's on
Diving-48, with its own drop path and weight decay, and base has small's.

`paper` has a batch of 64 everywhere; a rate of 1e-3 for the head and 1e-4 for
all else, position encodings too; 30 epochs with 2.5 of warm-up on Kinetics, 16
with one on the small sets; Kinetics' weight decay and drop path on all; and a
single test crop, where Table 3 also tests small on three. It prints nothing of
normalisation, of the betas and of what does not decay. The model is the
release's, which has the sizes that Table 2 prints; the pyramid of Table 1 has
not. The paper trains tiny and small on Kinetics with labels for tokens; these
need a teacher, see below.

As released all but the head and the position encodings learns at a tenth of the
rate. The cosine moves on once an epoch; the warm-up multiplies it at every
step. Where the release adds up the gradients of 2 or 4 batches, the rate is
that of the last one: `late` is below 0.

Differences from the release: it takes batch statistics of each GPU alone. The
small sets are normalised by other means and deviations than the Kinetics
weights they start from, there and here.

Tiny on UCF-101 sees 16 frames. The release builds new kernels for them, which
its Kinetics file cannot fill, so they start at random. Here the kernels stay
those of 32 frames, which fits the paper's FLOPs. For the release's, set
--config.model.built='(16, 224, 224)'.

Token labelling: --config.model.token_head=true and a trained base model as
--config.loss.teacher=WORKDIR. The release has it for tiny (with a batch of 128)
and small on Kinetics-400; which of its files were trained so is not known.

All start from an image model that is not published: base on K600 from
ImageNet-21k's weights, the others on Kinetics from ImageNet-1k's, the small
sets from K400's.
"""

from vidmodels import config

SIZES = {
  'tiny': {},
  'small': dict(
    widths=(96, 192, 384, 768), layers=(2, 2, 18, 2), heads=(3, 6, 12, 24)
  ),
  'base': dict(
    widths=(128, 256, 512, 1024), layers=(2, 2, 18, 2), heads=(4, 8, 16, 32)
  ),
}
SETS = ('k400', 'k600', 'hmdb51', 'ucf101', 'diving48')
KINETICS = ('k400', 'k600')
# Fields in which `paper` and `released` differ: where the paper says its value,
# and what of the release has the other.
_FILE = 'configs/recognition/dualformer'
SOURCES = {
  'batch': ('section 4.1', f'{_FILE}: videos_per_gpu, 8 GPUs'),
  'optim.lr': ('section 4.1', f'{_FILE}: base, k600_22k'),
  'optim.rates': (
    'section 4.1: head and backbone',
    'mmcv takes the longest key, pos_block',
  ),
  'optim.warmup_lr': (
    'a tenth of the rate of section 4.1',
    f'{_FILE}: base, k600_22k, warmup_ratio',
  ),
  'optim.epochs': ('section 4.1', f'{_FILE}: small, diving48'),
  'optim.warmup': ('section 4.1', f'{_FILE}: tiny, k400_1k'),
  'optim.weight_decay': ('section 4.1', _FILE),
  'model.drop_path': ('section 4.1', f'{_FILE}: drop_path_rate'),
  'views.spatial': ('section 4.1', f'{_FILE}: ThreeCrop'),
}
PUBLISHED = (
  '',
  'small,k400',
  'base,k400',
  'base,k600',
  'small,diving48',
  'small,hmdb51',
  'small,ucf101',
  'tiny,ucf101',
  'tiny,hmdb51',
  'tiny,diving48',
)
# Drop path, weight decay and epochs of warm-up.
ON_KINETICS = {
  'tiny': (0.1, 0.02, 3.0),
  'small': (0.2, 0.02, 2.5),
  'base': (0.3, 0.05, 2.5),
}
FINE_TUNED = {
  'tiny': (0.2, 0.05, 1.0),
  'small': (0.3, 0.1, 1.0),
  'base': (0.3, 0.1, 1.0),
}
ON_DIVING = {size: (*ON_KINETICS[size][:2], 1.0) for size in SIZES}
# Batches whose gradients the release adds up, where it does.
PARTS = {'small': 2, 'base': 2, 'hmdb51': 4, 'ucf101': 4}
# Of Twins-SVT, whose shapes are those of DualFormer's own image models.
TWINS = {'tiny': 'small', 'small': 'base', 'base': 'large'}


def get_config(arg: str = ''):
  size, dataset, word = config.choose(
    arg, size=SIZES, set=SETS, word=config.WORDS
  )
  kinetics = dataset in KINETICS
  long = kinetics or dataset == 'diving48'
  table = ON_KINETICS if kinetics else ON_DIVING if long else FINE_TUNED
  drop_path, weight_decay, warmup = table[size]
  epochs, batch = 30.0 if long else 16.0, 64 if long else 128
  crops = 1 if kinetics else 3
  lr = 5e-4 if (size, dataset) == ('base', 'k600') else 1e-3
  full_rate = '/peg/|^(token_)?head/'
  if word == 'paper':
    full_rate = '^(token_)?head/'
    drop_path, weight_decay, _ = ON_KINETICS[size]
    epochs, warmup = (30.0, 2.5) if kinetics else (16.0, 1.0)
    batch, crops, lr = 64, 1, 1e-3
  parts = PARTS.get(size if kinetics else dataset, 1)
  c = config.skeleton(family='dualformer', drop_path=drop_path, **SIZES[size])
  c.data.update(config.dataset_fields(dataset))
  if kinetics:
    c.data.update(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
  else:
    means = (104 / 255, 117 / 255, 128 / 255)  # Caffe's, there in BGR order
    c.data.update(mean=means, std=(1 / 255,) * 3)
  short = size == 'tiny' and not kinetics
  c.clip.update(
    frames=16 if short else 32,
    sampling='mmaction',
    stride=2.0 if kinetics else 4.0,
  )
  c.augment.update(crop='area', short_side=(256, 256), long_side='round')
  c.views.update(
    temporal=4,
    spatial=crops,
    long_side='round',
    centre='floor',
    average='probs',
  )
  c.optim.update(
    name='adamw',
    lr=lr,
    epochs=epochs,
    schedule='cosine',
    rate_by='epoch',
    warmup=warmup,
    warmup_lr=lr / 10,
    warmup_to='scaled',
    late=1 / parts - 1,
    weight_decay=weight_decay,
    # As it ran: the release's rule for norms has no effect, since a longer name
    # wins.
    decays=(('/peg/', 0.0),),
    # All but the head, and as released the positions, at a tenth of the rate.
    rates=((full_rate, 1.0), ('', 0.1)),
  )
  c.log.validate_scale = 256 / 224
  c.batch = batch
  twins = f"timm's twins_svt_{TWINS[size]} (the authors' own is not published)"
  c.init_expects, c.init_files = 'imagenet-1k', twins
  if not kinetics:
    c.init_expects = 'k400'
    c.init_files = f"the authors' Kinetics-400 file of {size}"
  elif (size, dataset) == ('base', 'k600'):
    c.init_expects = 'imagenet-21k'
  return c
