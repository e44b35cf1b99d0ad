"""DMVR's dataset factory over our shards, for pipelines that users have.

  factory = dmvr_factory.factory('records', 'train').configure(num_frames=8)
  dataset = factory.make_dataset(batch_size=4)

Our records have DMVR's keys, so its factories read the shards as they are. This
one also knows what is beside them: the number of classes, whether a video has
several, and whether it may be flipped, which DMVR does by default.

Its batches cannot be resumed and depend on the moment (its shuffling is not
deterministic); `vidmodels train` does not use it.
"""

import os
from typing import Any

from vidmodels.data.records import record_set, video_record
from vidmodels.data.records.task import SINGLE
from vidmodels.typing import AnyPath, InputError


def factory(dir: AnyPath, split: str) -> Any:
  """A `dmvr.video_dataset.BaseVideoDatasetFactory` over a split.

  Its `configure` takes `is_training`, `one_hot_label` and the options of
  `dmvr.modalities.add_image` (num_frames, stride, min_resize, crop_size, ...);
  a flip that the data set forbids is an InputError. Its features are `image`
  and `label`, with heads also one `label/<head>` each, all numbered in the
  whole class list. An unlabelled split has no label. With num_test_clips, a
  batch has that many times more images than labels: DMVR does not repeat
  labels.
  """
  try:
    from dmvr import modalities, video_dataset
  except ImportError as e:
    raise InputError(
      f'got no DMVR: it does not import here ({e}); expected dmvr from '
      'git+https://github.com/google-deepmind/dmvr.git and the three packages '
      'that its tokenizers import; try tensorflow_text and sentencepiece (pip '
      'install "vidmodels[dmvr]" has these) and clip, which it does not list, '
      'from git+https://github.com/openai/CLIP.git'
    ) from e
  records = record_set.RecordSet.open(dir, split)
  # Any: the package is not installed where types are checked.
  base: Any = video_dataset.BaseVideoDatasetFactory

  class Factory(base):
    def _build(
      self,
      *,
      is_training: bool = True,
      one_hot_label: bool = True,
      random_flip: bool | None = None,
      **image: Any,
    ) -> None:
      """Tells DMVR's builders what a split has: images and labels."""
      modalities.add_image(
        self.parser_builder,
        self.sampler_builder,
        self.decoder_builder,
        self.preprocessor_builder,
        self.postprocessor_builder,
        is_training=is_training,
        random_flip=_allow_flip(records, random_flip),
        **image,
      )
      for key, name, several in _label_features(records):
        modalities.add_label(
          self.parser_builder,
          self.decoder_builder,
          self.preprocessor_builder,
          input_label_index_feature_name=key,
          output_label_index_feature_name=name,
          is_multi_label=several,
          one_hot_label=one_hot_label,
          num_classes=len(records.classes),
        )

  return Factory(
    [os.fspath(records.dir / shard.name) for shard in records.manifest.shards]
  )


def _allow_flip(records: record_set.RecordSet, flip: bool | None) -> bool:
  """Whether DMVR may flip; it cannot swap labels."""
  kind = records.manifest.flip.kind
  if flip and kind != 'free':
    raise InputError(
      f"got random_flip=True for a set whose flip policy is '{kind}': DMVR "
      'would flip frames and leave the labels; expected random_flip=False'
    )
  return kind == 'free' if flip is None else flip


def _label_features(
  records: record_set.RecordSet,
) -> list[tuple[str, str, bool]]:
  """Key, feature, and whether a video may have several, for each label."""
  task = records.manifest.task
  features = [(video_record.LABEL, 'label', task != SINGLE)]
  for name, _ in task.heads:
    features.append((video_record.HEAD.format(name), f'label/{name}', False))
  return features if records.manifest.labelled else []
