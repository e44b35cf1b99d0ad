"""What Video-FocalNets' tables share.

GFLOPs of the paper are multiply-adds of one view of 8 frames, which its text
never says: 16 frames take twice as many.
"""

from typing import Any

from vidmodels.analysis.paper_rows import Row, top

# The paper samples "T x tau" frames and names neither; 8 follows from the cost.
UNSAID = ('clip.stride',)

SMALL = 'table1:Video-FocalNet-S'
BASE = 'table1:Video-FocalNet-B'


def ablation(name: str, changes: dict[str, Any], base: str, **more: Any) -> Row:
  """A row of Figures 5 and 7: the small model on Kinetics-400.

  `base` is the row with nothing changed, which is Table 1's run.
  """
  default = name == base
  return Row(
    name=name,
    recipe='video_focalnet:small,k400,paper',
    overrides=changes,
    figures=top(81.4) if default else {},
    trained_as=SMALL if default else '',
    differs_from='' if default else base,
    differs_in=tuple(changes),
    unsaid=UNSAID,
    **more,
  )
