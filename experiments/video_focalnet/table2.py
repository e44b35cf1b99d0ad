"""Video-FocalNets, Table 2: Kinetics-600."""

from vidmodels.analysis.paper_rows import PaperTable, Row, top

from ._settings import BASE, UNSAID

OTHERS = {
  'SlowFast R101-NL': 81.8,
  'X3D-XXL': 81.9,
  'TimeSformer-L': 82.2,
  'MFormer-HR': 82.7,
  'ViViT-L FE': 82.9,
  'MTV-B': 83.6,
  'MTV-B (320p)': 84.0,
  'Video-Swin-B': 84.0,
  'Uniformer-B': 84.5,
  'MoViNet-A6': 84.8,
  'MViTv1-B': 83.8,
  'MViTv2-B': 85.5,
}

TABLE = PaperTable(
  source='Video-FocalNets, Table 2',
  title='the base model on Kinetics-600',
  rows=(
    *(Row(name=name, figures=top(top1)) for name, top1 in OTHERS.items()),
    Row(
      name='Video-FocalNet-B',
      recipe='video_focalnet:base,k600,paper',
      figures=top(86.7),
      differs_from=BASE,
      differs_in=('data.dir',),
      unsaid=UNSAID,
    ),
  ),
)
