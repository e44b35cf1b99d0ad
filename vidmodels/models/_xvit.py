"""Which fields of X-ViT go together, and what they say of its mixing."""

from flax import linen as nn

from vidmodels.nn import space_time_mixing
from vidmodels.nn.attention import split_heads
from vidmodels.typing import InputError

# One dict of fields for each thing that a field may say, for tests.
VARIANTS = (
  {'mix': 'none'},
  {'mix': 'x'},
  {'mix': 'key'},
  {'mix': 'value'},
  {'mix_window': 0},
  {'mix_window': 2},
  {'mix_window': 2, 'mix_boundary': True},
  {'mix_share': 0.0},
  {'mix_share': 0.25},
  {'mix_share': 1.0},
  {'mix_layout': 'per_head'},
  {'mix_layers': 'first_half'},
  {'mix_layers': 'second_half'},
  {'mix_layers': 'odd'},
  {'mix_layers': '1,0'},
  {'segment': 2},
  {'summary': True},
  {'mix': 'none', 'summary': True, 'ta_layers': 0},
  {'ta_layers': 0},
  {'ta_layers': 3, 'ta_heads': 4, 'ta_hidden': 8},
  {'ta_layers': 0, 'average': 'probs', 'groups': (2, 3)},
  {'groups': (2, 3)},
  {'time_rows': 0},
  {'pos_resize': 'nearest'},
  {'pos_resize': 'bilinear'},
  {'fresh': 'scratch'},
  {'qkv_bias': False},
)
# What nothing reads where nothing is mixed.
MIXING = (
  'mix_layers',
  'mix_share',
  'mix_window',
  'mix_boundary',
  'mix_layout',
  'segment',
)


def make_mixing(model: nn.Module) -> space_time_mixing.Mixing | None:
  """How the layers that mix do so."""
  if model.mix == 'none':
    return None
  _, d = split_heads(model.width, model.heads)
  moved = space_time_mixing.channel_moves(
    d if model.mix_layout == 'per_head' else model.width,
    share=model.mix_share,
    window=model.mix_window,
    boundary=model.mix_boundary,
  )
  return space_time_mixing.Mixing(
    moved, model.mix, model.mix_layout, model.segment
  )


def check_fields(model: nn.Module) -> None:
  """Raises InputError for fields that contradict each other or are idle."""
  split_heads(model.width, model.heads)
  if model.mix == 'none':
    _idle(model, MIXING, 'mix="none"')
  for name in ('mix_share', 'mix_window'):  # nothing of a frame, of no frame
    if not getattr(model, name):
      others = tuple(field for field in ('mix', *MIXING) if field != name)
      _idle(model, others, f'{name}=0')
  if model.ta_layers:
    split_heads(model.width, model.ta_heads or model.heads)
    _idle(model, ('average',), f'ta_layers={model.ta_layers}')
  else:
    _idle(model, ('ta_heads', 'ta_hidden'), 'ta_layers=0')
  if model.mix_boundary and model.mix_window < 2:
    raise InputError(
      f'mix_boundary leaves out what lies inside the window, and mix_window is '
      f'{model.mix_window}; give a window of at least 2'
    )
  if model.mix == 'x' and model.mix_layout == 'per_head':
    raise InputError(
      'mix="x" mixes tokens before they have heads; mix_layout="per_head" '
      'means nothing there; leave it at "flat"'
    )
  if model.mix != 'none':
    make_mixing(model)
    space_time_mixing.mixing_layers(model.mix_layers, model.layers)


def check_groups(model: nn.Module) -> None:
  """Raises InputError for groups that are not the classes of the data.

  Apart from other contradictions: a recipe is checked before its data is known.
  """
  groups = model.groups
  if groups and (sum(groups) != model.classes or min(groups) < 1):
    raise InputError(
      f'groups {groups} are {sum(groups)} answers of {model.classes} classes; '
      'wanted the classes of each head, which add up to those of the data'
    )


def _idle(model: nn.Module, fields: tuple[str, ...], reason: str) -> None:
  for name in fields:
    value, default = getattr(model, name), getattr(type(model), name)
    if value != default:
      raise InputError(
        f'{name} is {value!r} and nothing reads it with {reason}; leave it at '
        f'{default!r}'
      )
