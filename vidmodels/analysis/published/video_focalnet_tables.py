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


def _part(**model: Any) -> CountedModel:
  return CountedModel(family='video_focalnet', model=model, clip=(8, 224, 224))


ROWS = (
  PaperRow(
    config='T',
    source='Table 1',
    parts=(_part(),),
    gmacs=63,
    reference_params=49_553_272,
    reference_gmacs=63.00,
  ),
  PaperRow(
    config='S',
    source='Table 1',
    parts=(_part(layers=(2, 2, 18, 2)),),
    gmacs=124,
    reference_params=88_735_168,
    reference_gmacs=124.33,
  ),
  PaperRow(
    config='B',
    source='Tables 1, 2, 3, 5 and 6',
    parts=(_part(layers=(2, 2, 18, 2), width=128),),
    gmacs=149,
    reference_params=157_389_216,
    reference_gmacs=220.65,
    why=UNKNOWN,
  ),
)
