"""VidTr on Kinetics, SSv2, Charades, UCF-101 and HMDB-51.

  --config=vidtr:SIZE,SET,MODEL   e.g. vidtr:compact-s,ssv2
  --config=vidtr:SIZE,SET,paper   as the paper prints it

SIZE is s (default), m, l, compact-s or compact-m; SET is k400 (default), k700,
ssv2, charades, ucf101 or hmdb51; MODEL is a model of Table 5 in place of
VidTr-S: vanilla, space, axial, cubic-4, cubic-2, square-32, t2t or vit-l.
Paper: arXiv 2104.11746.

`released` (default) has the optimiser, schedule, clips, crops and views of the
release: plain momentum SGD, a tenth of the rate after epochs 25 and 40 of 50,
no warm-up, nothing but flips and crops. C-VidTr-S pools in layers 1, 3 and 5.

`paper` has batch 384 for VidTr-S, at the same rate, clips whose frames lie as
far apart in training as in tests, 10 x 3 views on SSv2 too, pools of Table 1,
which are in layers 1, 2 and 4, and the model of section 3: 8 heads, GELU,
projections of time and of space, positions added to tokens, norms before and
after, both kinds of class tokens in C-VidTr. No published file has 8 heads:
with --config.model.heads=12 it starts from those of ViT-B. The paper prints no
other batch, no momentum and no size of a crop's frame: those stay the
release's.

Only Kinetics was released. SSv2 has one frame of each of T equal segments, the
paper's TSN styled loader. Charades has windows of 128 frames, with size l the
32 x 4 that the paper prints, and Kinetics' schedule; each of its classes is a
yes or no by itself (binary cross entropy, mAP), as the paper names no loss.
K700, UCF-101 and HMDB-51 start from Kinetics-400 weights, the last two for 6
epochs; their rate is not published. `released` tests SSv2 on one clip, whose
segments span the video, and 3 crops. Difference from the release: it validates
on a random clip, here `val_clip` is the first of the test's clips.

C-VidTr in a single pass is vidtr:compact-s with --config.clip.sampling=segment
and --config.clip.stride=1.0 --config.views.temporal=1, and any number of
--config.clip.frames; the model drops some of them and keeps the others.

All others start from ImageNet-21k weights, t2t from T2T-ViT's of ImageNet-1k.
"""

from typing import Any

from vidmodels import config
from vidmodels.models.vidtr import AS_WRITTEN
from vidmodels.typing import InputError


def _compact(layers, **kept):
  """C-VidTr as released: joint after the last layer that pools."""
  return dict(
    attention='merged',
    pool='top_k',
    pool_layers=layers,
    **kept,
  )


# Frames, what the model is as released, and as Table 1 has it; the batch of
# all the released file's GPUs.
SIZES = {
  's': (8, {}, {}, 24),
  # The release adds positions in every layer if there are 16 frames.
  'm': (16, dict(positions='every'), {}, 24),
  'l': (32, {}, {}, 8),
  'compact-s': (
    8,
    _compact((1, 3, 5), pool_drop=(2, 2, 2)),
    dict(pool_layers=(1, 2, 4), pool_keep=(6, 4, 2)),
    64,
  ),
  'compact-m': (
    16,
    _compact((1, 2, 4), pool_drop=(8, 4, 2)),
    dict(pool_layers=(1, 2, 4), pool_keep=(8, 4, 2)),
    64,
  ),
}
ABLATIONS: dict[str, dict[str, Any]] = {  # Tables 5a to 5c, on VidTr-S
  'vanilla': dict(attention='joint'),
  'space': dict(attention='space'),
  'axial': dict(attention='axial'),
  'cubic-4': dict(patch_frames=4),
  'cubic-2': dict(patch_frames=2),
  'square-32': dict(patch=32),
  't2t': dict(stem='t2t', layers=14, width=384, heads=6, mlp_ratio=3.0),
  'vit-l': dict(layers=24, width=1024, heads=16),
}
SETS = ('k400', 'k700', 'ssv2', 'charades', 'ucf101', 'hmdb51')
_SPLIT, _COMPACT = 'vidtr_split.py', 'vidtr_compact.py'
# Fields in which `paper` and `released` differ: where the paper says its value,
# and what of the release has the other.
SOURCES = {
  'batch': ('section 3.3: 64 GPUs of 6 clips', 'vidtr_s.yaml: 8 GPUs of 3'),
  'clip.sampling': ('Table 1: uniformly sampled', 'the Kinetics loader'),
  'views.temporal': (
    'section 3.3: 30 crops',
    'nothing; one pass spans a video',
  ),
  'model.heads': ('section 3.1', 'vidtr_*.yaml'),
  'model.activation': ('section 3.3', f"{_SPLIT}: activation='relu'"),
  'model.projections': ('Eqs. 5 to 8', 'multihead_attention.py'),
  'model.positions': ('section 3.1', f'{_SPLIT}: in the attention branch'),
  'model.norms': ('section 3.3', _SPLIT),
  'model.attention': ('section 3.2', _COMPACT),
  'model.pool_layers': ('Table 1', 'LAYER_POOL in cvidtr_s.yaml'),
  'model.pool_keep': ('Table 1', 'cvidtr_*.yaml name what is dropped'),
  'model.pool_drop': ('Table 1 names what is kept', 'NUMBER_OF_KEYS'),
  'model.pool_softmax': ('Eq. 4: one softmax', 'multihead_attention.py: two'),
}
PUBLISHED = (
  '',
  'm',
  'l',
  'compact-s',
  'compact-m',
  'm,k700',
  'm,ssv2',
  'l,charades',
  'l,hmdb51',
  *('l,k700', 'l,ssv2', 'm,ucf101', 'l,ucf101', 'm,hmdb51'),
  'paper',
  'compact-s,paper',
  *ABLATIONS,
)
# Of image models: the weights, and a file of them.
START = ('imagenet-21k', 'vit_inflate.pth, or ViT-B_16.npz')
OTHER_STARTS = {
  'square-32': ('imagenet-21k', 'B_32-i21k-*.npz'),
  't2t': ('imagenet-1k', "T2T-ViT-14's 81.5_T2T_ViT_14.pth.tar"),
  'vit-l': ('imagenet-21k', 'ViT-L_16.npz'),
}
# Frames that a clip is taken from.
SPAN, CHARADES_SPAN = 64, 128


def get_config(arg: str = ''):
  size, dataset, model, word = config.choose(
    arg, size=SIZES, set=SETS, model=('', *ABLATIONS), word=config.WORDS
  )
  if model and size != 's':
    raise InputError(
      f'got {model!r} and {size!r}; expected {model!r} alone, as it takes the '
      'place of size s in Table 5; leave one of them out'
    )
  T, released, table, batch = SIZES[size]
  fields = ABLATIONS.get(model, released)
  if word == 'paper':
    fields = _as_written(model, table)
  c = config.skeleton(family='vidtr', **fields)
  c.data.update(
    **config.dataset_fields(dataset),
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
  )
  c.clip.frames = T
  if dataset == 'ssv2':
    c.clip.sampling = 'segment'
  else:
    span = CHARADES_SPAN if dataset == 'charades' else SPAN
    c.clip.update(sampling='vidtr', stride=span / T)
  c.augment.update(short_side=(256, 256), zoom=(1.0, 1.25))
  # Three pairs of SSv2's classes tell left from right.
  c.augment.flip = 0.0 if dataset == 'ssv2' else 0.5
  # Segments span the video in one pass.
  passes = 1 if dataset == 'ssv2' else 10
  c.views.update(temporal=passes, spatial=3, centre='floor', average='probs')
  small = dataset in ('ucf101', 'hmdb51')
  c.optim.update(
    name='sgd',
    lr=0.01,
    nesterov=False,
    epochs=6.0 if small else 50.0,
    schedule='constant' if small else 'step',
    milestones=() if small else (25.0, 40.0),
    factors=() if small else (0.1, 0.01),
    weight_decay=1e-5,
  )
  c.log.validate_scale = 256 / 224
  c.batch = batch
  c.init_expects, c.init_files = OTHER_STARTS.get(model, START)
  if small or dataset == 'k700':
    c.init_expects = 'k400'
    c.init_files = f"the authors' Kinetics-400 file of {size}"
  if word == 'paper':
    c.views.temporal = 10
    if size == 's':
      c.batch = 384
    if c.clip.sampling == 'vidtr':
      c.clip.sampling = 'dense'
  return c


def _as_written(model, table):
  """The fields of a model as section 3 has it; `table` is of C-VidTr."""
  pool = dict(pool='top_k', pool_softmax=False) if table else {}
  own = ABLATIONS.get(model, {})
  fields = {**AS_WRITTEN, **pool, **table, **own}
  if own.get('attention') in ('joint', 'space'):
    del fields['projections']  # there is one kind of attention
  return fields
