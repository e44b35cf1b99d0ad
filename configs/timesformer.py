"""TimeSformer on Kinetics and Something-Something V2 (arXiv 2102.05095).

  --config=timesformer:CLIP,SET,ATTENTION   e.g. timesformer:long,ssv2

CLIP is base (default), high or long; SET is k400 (default), k600 or ssv2;
ATTENTION is divided (default), joint or space. Optimiser, schedule, clip and
crop are those of the released code: SGD with Nesterov momentum, all parameters
decay, batch 64 (the paper prints 16), no warm-up. Four things differ. One test
view over time is the middle of the video (as the paper says; the release takes
its start). SSv2's segments are of equal length, the release's are rounded from
one frame fewer; its short side is uniform, the release's inverse is; its frames
are RGB, those of the released weights were BGR.

The paper's top-1 (1 x 3 views) for base, high and long: K400 78.0, 79.7, 80.7;
SSv2 59.5, 62.2, 62.4. It starts from ImageNet-21k weights; from scratch these
recipes do not get there.
"""

from vidmodels import config
from vidmodels.typing import InputError

# Appendix A of the paper: T frames at a rate, in frames at 30 fps. The release
# spreads them over the whole window, first and last frame included, so that
# 8 x 32 takes every 36.4th frame and not every 32nd.
CLIPS = {
  'base': dict(frames=8, rate=32, size=224),
  'high': dict(frames=16, rate=16, size=448),
  'long': dict(frames=96, rate=4, size=224),
}
SSV2_FRAMES = {'base': 8, 'high': 16, 'long': 64}  # segments, no stride
SHORT_SIDES = {224: (256, 320), 448: (448, 512)}
SETS = ('k400', 'k600', 'ssv2')
PUBLISHED = (
  '',
  'high,k600',
  'long,ssv2',
  'base,k400,joint',
  'base,k400,space',
)
ATTENTIONS = ('divided', 'joint', 'space')


def get_config(arg: str = ''):
  clip, dataset, attention = choose(arg)
  c = config.skeleton(family='timesformer', attention=attention)
  c.data.dir = f'records/{dataset}'
  T, rate, c.clip.size = CLIPS[clip].values()
  if dataset == 'ssv2':
    c.clip.update(frames=SSV2_FRAMES[clip], sampling='segment')
  else:
    stride = (T * rate - 1) / (T - 1) / 30
    c.clip.update(frames=T, stride=stride, unit='second')
  c.augment.short_side = SHORT_SIDES[c.clip.size]
  # Three pairs of SSv2's classes tell left from right.
  c.augment.flip = 0.0 if dataset == 'ssv2' else 0.5
  c.views.update(temporal=1, spatial=3, average='logits')
  c.optim.update(
    name='sgd',
    lr=0.005,
    epochs=15.0,
    schedule='step',
    milestones=(11.0, 14.0),
    factors=(0.1, 0.01),
    weight_decay=1e-4,
  )
  c.batch = 64
  return c


def choose(arg: str) -> tuple[str, str, str]:
  """The clip, set and attention that `arg` names, in any order."""
  chosen = {'clip': 'base', 'set': 'k400', 'attention': 'divided'}
  kinds = {'clip': CLIPS, 'set': SETS, 'attention': ATTENTIONS}
  for word in filter(None, arg.split(',')):
    kind = next((k for k, names in kinds.items() if word in names), None)
    if kind is None:
      raise InputError(
        f'timesformer has no variant {word!r}; give some of '
        f'{", ".join((*CLIPS, *SETS, *ATTENTIONS))}'
      )
    chosen[kind] = word
  return tuple(chosen.values())
