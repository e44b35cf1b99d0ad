"""DualFormer on Kinetics, HMDB-51, UCF-101 and Diving-48 (arXiv 2112.04674).

  --config=dualformer:SIZE,SET   e.g. dualformer:small,ucf101

SIZE is tiny (default), small or base; SET is k400 (default), k600, hmdb51,
ucf101 or diving48. Optimiser, schedule, clips and views are those of the
released configurations. They differ from the paper's: for tiny on Kinetics it
prints 2.5 epochs of warm-up, for the small sets a batch of 64, 16 epochs,
Kinetics' weight decay and drop path and, for tiny, a single test crop. No
configuration was released for tiny on HMDB-51 and Diving-48, which have the
paper's settings, 16 frames among them, nor for base on a small set, where the
paper has nothing either and small's values stand.

All but the head and the position encodings learns at a tenth of the rate, as
the paper says too. The cosine moves on once an epoch; the warm-up multiplies it
at every step. Where the release adds up the gradients of 2 or 4 batches, the
rate is that of the last one: `late` is below 0.

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
  size, dataset = config.choose(arg, size=SIZES, set=SETS)
  kinetics = dataset in KINETICS
  long = kinetics or dataset == 'diving48'
  # What was not released for tiny is as the paper says.
  as_paper = size == 'tiny' and dataset in ('hmdb51', 'diving48')
  table = ON_KINETICS if kinetics else ON_DIVING
  if not long and not as_paper:
    table = FINE_TUNED
  drop_path, weight_decay, warmup = table[size]
  parts = 1 if as_paper else PARTS.get(size if kinetics else dataset, 1)
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
    spatial=1 if kinetics or as_paper else 3,
    long_side='round',
    centre='floor',
    average='probs',
  )
  lr = 5e-4 if (size, dataset) == ('base', 'k600') else 1e-3
  c.optim.update(
    name='adamw',
    lr=lr,
    epochs=30.0 if long and not as_paper else 16.0,
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
    # All but positions and head learn at a tenth of the rate.
    rates=(('/peg/|^(token_)?head/', 1.0), ('', 0.1)),
  )
  c.log.validate_scale = 256 / 224
  c.batch = 64 if long or as_paper else 128
  twins = f"timm's twins_svt_{TWINS[size]} (the authors' own is not published)"
  c.init_expects, c.init_files = 'imagenet-1k', twins
  if not kinetics:
    c.init_expects = 'k400'
    c.init_files = f"the authors' Kinetics-400 file of {size}"
  elif (size, dataset) == ('base', 'k600'):
    c.init_expects = 'imagenet-21k'
  return c
