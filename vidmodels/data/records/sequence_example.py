"""The protobuf messages Example and SequenceExample, without TensorFlow."""

import functools
from typing import Any

from google.protobuf import (
  descriptor_pb2,
  descriptor_pool,
  message_factory,
)


@functools.cache
def messages() -> Any:
  """The message classes, as attributes, from a descriptor pool of their own.

  TensorFlow registers the same names in protobuf's default pool; a second
  registration there would end the process that loads both.
  """
  pool = descriptor_pool.DescriptorPool()
  pool.Add(_schema())
  names = ('SequenceExample', 'Example')
  classes = {
    name: message_factory.GetMessageClass(
      pool.FindMessageTypeByName(f'tensorflow.{name}')
    )
    for name in names
  }
  return type('Messages', (), classes)


def _schema() -> descriptor_pb2.FileDescriptorProto:
  """tensorflow/core/example/{feature,example}.proto, field for field."""
  file = descriptor_pb2.FileDescriptorProto(
    name='vidmodels/sequence_example.proto',
    package='tensorflow',
    syntax='proto3',
  )
  kinds = descriptor_pb2.FieldDescriptorProto
  for name, kind in (
    ('BytesList', kinds.TYPE_BYTES),
    ('FloatList', kinds.TYPE_FLOAT),
    ('Int64List', kinds.TYPE_INT64),
  ):
    file.message_type.add(name=name).field.add(
      name='value', number=1, type=kind, label=kinds.LABEL_REPEATED
    )
  feature = file.message_type.add(name='Feature')
  feature.oneof_decl.add(name='kind')
  for number, name in enumerate(('bytes', 'float', 'int64'), 1):
    feature.field.add(
      name=f'{name}_list',
      number=number,
      type=kinds.TYPE_MESSAGE,
      type_name=f'.tensorflow.{name.capitalize()}List',
      label=kinds.LABEL_OPTIONAL,
      oneof_index=0,
    )
  feature_list = file.message_type.add(name='FeatureList')
  _add(feature_list, 'feature', 1, 'Feature', repeated=True)
  _add_map(file.message_type.add(name='Features'), 'feature', 'Feature')
  _add_map(
    file.message_type.add(name='FeatureLists'), 'feature_list', 'FeatureList'
  )
  _add(file.message_type.add(name='Example'), 'features', 1, 'Features')
  sequence = file.message_type.add(name='SequenceExample')
  _add(sequence, 'context', 1, 'Features')
  _add(sequence, 'feature_lists', 2, 'FeatureLists')
  return file


def _add(
  parent: descriptor_pb2.DescriptorProto,
  name: str,
  number: int,
  kind: str,
  *,
  repeated: bool = False,
) -> None:
  kinds = descriptor_pb2.FieldDescriptorProto
  parent.field.add(
    name=name,
    number=number,
    type=kinds.TYPE_MESSAGE,
    type_name=f'.tensorflow.{kind}',
    label=kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL,
  )


def _add_map(
  parent: descriptor_pb2.DescriptorProto, name: str, kind: str
) -> None:
  """Adds `map<string, kind> name = 1`, as protoc spells it out."""
  camel = ''.join(part.capitalize() for part in name.split('_'))
  entry = parent.nested_type.add(name=f'{camel}Entry')
  entry.options.map_entry = True
  entry.field.add(
    name='key',
    number=1,
    type=descriptor_pb2.FieldDescriptorProto.TYPE_STRING,
    label=descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL,
  )
  _add(entry, 'value', 2, kind)
  _add(parent, name, 1, f'{parent.name}.{entry.name}', repeated=True)
