"""Video-FocalNets' Tables 1, 2, 3, 5 and 6 (arXiv 2307.06947).

GFLOPs of the paper are multiply-adds of one view of 8 frames, which its text
never says: 16 frames take twice as many. Parameters are not printed.
"""

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
  *counted: float,
  why: str = '',
  **model,
) -> PaperRow:
  """One row; `counted` are the parameters and GMACs of the authors' code."""
  part = CountedModel('video_focalnet', model)
  return PaperRow(config, source, (part,), '', gmacs, *counted, why=why)


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
