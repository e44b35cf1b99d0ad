"""TimeSformer on Kinetics and Something-Something V2 (arXiv 2102.05095).

  --config=timesformer:CLIP,SET,ATTENTION   e.g. timesformer:long,ssv2

CLIP is base (default), high or long; SET is k400 (default), k600 or ssv2;
ATTENTION is divided (default), joint or space. The numbers are those of the
released code: SGD with Nesterov momentum, all parameters decay, batch 64 (the
paper prints 16), no warm-up. Released SSv2 weights were trained on BGR frames;
this recipe trains on RGB.

The paper's top-1 (1 x 3 views) for base, high and long: K400 78.0, 79.7, 80.7;
SSv2 59.5, 62.2, 62.4. It starts from ImageNet-21k weights; from scratch these
recipes do not get there.
"""

from vidmodels import config
from vidmodels.typing import InputError

# Appendix A of the paper and the released settings: T x stride at 30 fps.
CLIPS = {
  'base': dict(frames=8, stride=32 / 30, size=224),
  'high': dict(frames=16, stride=16 / 30, size=448),
  'long': dict(frames=96, stride=4 / 30, size=224),
}
SSV2_FRAMES = {'base': 8, 'high': 16, 'long': 64}  # segments, no stride
SHORT_SIDES = {224: (256, 320), 448: (448, 512)}
SETS = ('k400', 'k600', 'ssv2')
ATTENTIONS = ('divided', 'joint', 'space')


def get_config(arg: str = ''):
  clip, dataset, attention = choose(arg)
  c = config.skeleton(family='timesformer', attention=attention)
  c.data.dir = f'records/{dataset}'
  c.clip.update(CLIPS[clip], unit='second')
  if dataset == 'ssv2':
    c.clip.update(
      frames=SSV2_FRAMES[clip], sampling='segment', stride=1.0, unit='frame'
    )
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
