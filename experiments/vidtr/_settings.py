"""What several tables of VidTr share: settings, and how costs were counted."""

from typing import Any

from vidmodels.analysis.paper_rows import Row, top

# The paper's GFLOPs leave out everything that attention does, its projections
# too, and are cut off, not rounded: 89.8 is printed as 89. Most count one class
# token, where separable attention has one a frame and one a place.
ATTENTION = r'attn(/|$)'
CUT = 'the printed figure is cut off, not rounded'
TOKENS = (
  'the printed figure counts a single class token, the model has one for every '
  'frame and every place'
)
SHORT = f'{TOKENS}; that gives {{}}, and what is missing is unknown'
UNKNOWN = 'no reading of the text or of the released code gives this figure'

# 64 devices with 6 clips of VidTr-S each (section 3.3); the batch of the other
# sizes is not printed.
BATCH = {'batch': 384}
# Charades' class list comes with its files.
CHARADES = 157
# Ten clips of three crops, which section 3.3 says of every data set.
THIRTY = {'views.temporal': 10, 'views.spatial': 3}

# Fields in which the released code is not the network that the paper describes;
# of which of the two the figures are is not known. Here it is the code's.
UNSAID = (
  'model.heads',
  'model.activation',
  'model.projections',
  'model.positions',
  'model.norms',
)
# In the description of C-VidTr all layers are separable.
UNSAID_COMPACT = (*UNSAID, 'model.attention', 'model.pool_softmax')
NETWORK = (
  'The network is that of the released code. The paper describes it with 8 '
  'heads, GELU, separate projections for time and space, positions added to '
  'the tokens, and norms after the residuals too; the printed GFLOPs hold for '
  'both, as they leave attention out (see `readings`). Clips for training are '
  'taken as the code takes them. Batch 384 of VidTr-S is printed.'
)


def compact(layers: tuple[int, ...], keep: tuple[int, ...]) -> dict[str, Any]:
  """Fields of C-VidTr with so many frames left after each of those layers.

  As released: one class token apart, and joint attention after the last pool.
  """
  return {
    'model.pool_layers': layers,
    'model.pool_keep': keep,
    'model.pool_drop': (),
  }


# C-VidTr-S in Table 1; the released one pools in layers 1, 3 and 5.
COMPACT_S = compact((1, 2, 4), (6, 4, 2))
COMPACT_M = compact((1, 2, 4), (8, 4, 2))


def pooled(
  layers: tuple[int, int],
  top1: float,
  gmacs: float,
  counted: float,
  **more: Any,
) -> Row:
  """A row of Table 5e or 5f: two layers, after which 4 and then 2 frames stay.

  `counted` is what the authors' code needs.
  """
  name = f'[{layers[0]},{layers[1]}]'
  return Row(
    name=name,
    recipe='vidtr:compact-s,k400',
    overrides=compact(layers, (4, 2)),
    figures=top(top1),
    gmacs=gmacs,
    macs_without=ATTENTION,
    reference_gmacs=counted,
    unsaid=UNSAID_COMPACT,
    differs_from='' if name == SKIPS_ONE else SKIPS_ONE,
    differs_in=('model.pool_layers',),
    **more,
  )


SKIPS_ONE = '[1,3]'
