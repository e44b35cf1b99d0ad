"""Video-FocalNets' Tables 1, 2, 3, 5 and 6 (arXiv 2307.06947).

GFLOPs of the paper are multiply-adds of one view of 8 frames, which its text
never says: 16 frames take twice as many. Parameters are not printed.
"""

from typing import Any

from vidmodels.analysis.published import CountedModel, PaperRow

UNKNOWN = (
  'no reading of the text or of the released code gives 149: with dense '
  'convolutions over time, as the published weights have, it is 221, with '
  'depthwise ones 142'
)


def _row(
  config: str,
  source: str,
  gmacs: float,
  params: int,
  counted: float,
  *,
  why: str = '',
  **model: Any,
) -> PaperRow:
  """One row; `params` and `counted` are what the authors' code has."""
  part = CountedModel('video_focalnet', model)
  code = (params, counted)
  return PaperRow(config, source, (part,), '', gmacs, *code, why=why)


DEEP = (2, 2, 18, 2)
ROWS = (
  _row('T', 'Table 1', 63, 49_553_272, 63.00),
  _row('S', 'Table 1', 124, 88_735_168, 124.33, layers=DEEP),
  _row(
    'B',
    'Tables 1, 2, 3, 5 and 6',
    149,
    157_389_216,
    220.65,
    layers=DEEP,
    width=128,
    why=UNKNOWN,
  ),
)
