"""Video-FocalNets, Table 3: Something-Something-v2."""

from vidmodels.analysis.paper_rows import PaperTable, Row, top

from ._settings import BASE, UNSAID

OTHERS = {
  'SlowFast R50': 61.7,
  'TimeSformer-HR': 62.5,
  'VidTR': 63.0,
  'ViViT-L FE': 65.9,
  'MFormer-L': 68.1,
  'MTV-B': 67.6,
  'MTV-B (320p)': 68.5,
  'Video-Swin-B': 69.6,
  'Uniformer-B': 70.4,
  'MViTv1-B': 67.6,
  'MViTv2-B': 70.5,
}

TABLE = PaperTable(
  source='Video-FocalNets, Table 3',
  title='the base model on Something-Something-v2',
  rows=(
    *(Row(name=name, figures=top(top1)) for name, top1 in OTHERS.items()),
    Row(
      name='Video-FocalNet-B',
      recipe='video_focalnet:base,ssv2,paper',
      start=BASE,
      figures=top(71.1),
      unsaid=UNSAID,
    ),
  ),
  notes=(
    'Tested on 1 x 3 views and not mirrored, as the text says; the release '
    'tests on 4 x 3.'
  ),
)
