"""What the rows of TimeSformer's tables share: weights and what is unsaid."""

from collections.abc import Mapping, Sequence
from typing import Any

from vidmodels.analysis.paper_rows import Row

IN_1K, IN_21K, SCRATCH = 'imagenet-1k', 'imagenet-21k', 'scratch'
# Files of ViT-B/16 with these weights.
FILES = {
  IN_1K: 'jx_vit_base_p16_224-80ecf9dd.pth',
  IN_21K: 'B_16-i21k-*.npz of the ViT paper or AugReg',
  SCRATCH: '',
}
PRETRAINING = ('start', 'init_expects', 'init_files')  # fields that follow
# The paper does not speak of these.
UNSAID = ('dtype', 'augment.flip', 'optim.nesterov', 'model.drop_path')
# Clips of the paper's three models, and what follows from the size.
HIGH = {
  'clip.frames': 16,
  'clip.stride': 16.0,
  'clip.size': 448,
  'augment.short_side': (448, 512),
  'views.centre_scale': 1.0,
}
LONG = {'clip.frames': 96, 'clip.stride': 4.0}


def run(
  name: str,
  words: str,
  *,
  start: str = IN_21K,
  overrides: Mapping[str, Any] | None = None,
  unsaid: tuple[str, ...] = (),
  **fields: Any,
) -> Row:
  """A run of the paper; `words` as 'base,k400,joint'.

  `start` may be a row of another table, as in `Row`; then the recipe says what
  it expects.
  """
  file = {'init_files': FILES[start]} if start in FILES else {}
  return Row(
    name=name,
    recipe=f'timesformer:{words},paper',
    start=start,
    overrides={**file, **(overrides or {})},
    unsaid=(*UNSAID, *unsaid),
    **fields,
  )


SCHEMES = {'Divided Space-Time': 'divided', 'Joint Space-Time': 'joint'}


def scheme_costs(
  field: str, values: Sequence[int], unit: str
) -> tuple[Row, ...]:
  """The two curves of Figure 3: cost of both schemes by a field of the clip."""
  return tuple(
    run(
      f'{name}, {value} {unit}',
      f'base,k400,{word}',
      overrides={field: value},
      differs_from=''
      if word == 'divided'
      else f'Divided Space-Time, {value} {unit}',
      differs_in=('model.attention',),
      x=value,
      series=name,
    )
    for name, word in SCHEMES.items()
    for value in values
  )
