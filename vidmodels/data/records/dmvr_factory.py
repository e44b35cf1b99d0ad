"""DMVR's dataset factory over our shards, for pipelines that users have.

Our records have DMVR's keys, so its factories read the shards as they are. This
one also knows what is beside them: the number of classes, whether a video has
several, and whether it may be flipped, which DMVR does unless it is told.

Its batches cannot be resumed and depend on the moment (its shuffling is not
deterministic); `vidmodels train` does not use it.
"""

import os
from typing import Any

from vidmodels.data.records import record_set, video_record
from vidmodels.data.records.task import SINGLE
from vidmodels.typing import InputError


def factory(dir: str | os.PathLike[str], split: str) -> Any:
  """A `dmvr.video_dataset.BaseVideoDatasetFactory` over a split.

  Its `configure` takes `is_training`, `one_hot_label` and the options of
  `dmvr.modalities.add_image` (num_frames, stride, min_resize, crop_size, ...);
  its features are `image` and `label`, and with heads a `label/<head>` each
  besides, all numbered in the whole class list. An unlabelled split has no
  label. With num_test_clips the images of a batch are that many times its
  labels: DMVR repeats no label.

  Args:
    dir: a folder that `prepare` wrote or `inspect --index` indexed.
    split: one of its splits.

  Raises:
    InputError: if the split cannot be opened, DMVR is not installed whole, or
      `configure` asks for a flip that the data set forbids.
  """
  modalities, video_dataset = _library()
  found = record_set.RecordSet.open(dir, split)

  class Factory(video_dataset.BaseVideoDatasetFactory):
    def _build(self, **options: Any) -> None:
      _build(self, modalities, found, **options)

  paths = [os.fspath(found.dir / s.name) for s in found.manifest.shards]
  return Factory(paths)


def _build(
  factory: Any,
  modalities: Any,
  found: record_set.RecordSet,
  *,
  is_training: bool = True,
  one_hot_label: bool = True,
  random_flip: bool | None = None,
  **image: Any,
) -> None:
  """Says to DMVR's builders what a split has: images and labels."""
  modalities.add_image(
    factory.parser_builder,
    factory.sampler_builder,
    factory.decoder_builder,
    factory.preprocessor_builder,
    factory.postprocessor_builder,
    is_training=is_training,
    random_flip=_flip(found, random_flip),
    **image,
  )
  for key, name, several in _labels(found):
    modalities.add_label(
      factory.parser_builder,
      factory.decoder_builder,
      factory.preprocessor_builder,
      input_label_index_feature_name=key,
      output_label_index_feature_name=name,
      is_multi_label=several,
      one_hot_label=one_hot_label,
      num_classes=len(found.classes),
    )


def _library() -> tuple[Any, Any]:
  try:
    from dmvr import modalities, video_dataset
  except ImportError as e:
    raise InputError(
      f'DMVR does not import here ({e}); wanted dmvr from '
      'git+https://github.com/google-deepmind/dmvr.git and the three packages '
      'that its tokenizers import: tensorflow_text, sentencepiece (pip install '
      '"vidmodels[dmvr]" has these) and clip, which it does not list, from '
      'git+https://github.com/openai/CLIP.git'
    ) from e
  return modalities, video_dataset


def _flip(found: record_set.RecordSet, asked: bool | None) -> bool:
  """Whether DMVR may flip: it knows nothing of labels that trade places."""
  kind = found.manifest.flip.kind
  if asked and kind != 'free':
    raise InputError(
      f"random_flip=True came for a set whose flip policy is '{kind}'; DMVR "
      'would flip frames and leave the labels; wanted random_flip=False'
    )
  return kind == 'free' if asked is None else asked


def _labels(found: record_set.RecordSet) -> list[tuple[str, str, bool]]:
  """Key, feature and whether a video has any number, for each label."""
  manifest = found.manifest
  if not manifest.labelled:
    return []
  heads = [
    (video_record.HEAD.format(name), f'label/{name}', False)
    for name, _ in manifest.task.heads
  ]
  return [(video_record.LABEL, 'label', manifest.task != SINGLE), *heads]
