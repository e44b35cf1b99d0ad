"""What other trainers call our fields, for messages about unknown ones.

  next_move('optim.learning_rate', fields)  # "try 'optim.lr'"

Nothing here is accepted as a name: it only makes a refusal helpful.
"""

import difflib
from collections.abc import Collection

# Field -> names that other toolboxes have for it, lower case.
USUAL = {
  'optim.lr': 'learning_rate base_lr init_lr initial_lr peak_lr max_lr lr0 blr',
  'optim.final_lr': 'min_lr end_lr lr_min eta_min',
  'optim.warmup': (
    'warmup_epochs warmup_steps warmup_iters num_warmup_steps warm_up'
  ),
  'optim.warmup_lr': 'warmup_start_lr warmup_init_lr',
  'optim.epochs': 'num_epochs max_epochs n_epochs epoch num_train_epochs',
  'optim.steps': (
    'num_steps max_steps total_steps train_steps n_steps iterations iters '
    'max_iters num_train_steps step'
  ),
  'optim.weight_decay': 'wd weightdecay l2 decay',
  'optim.name': 'optimizer optimiser opt optim_name optimizing_method',
  'optim.schedule': 'scheduler lr_schedule lr_policy lr_scheduler sched',
  'optim.milestones': 'lr_steps decay_steps step_epochs',
  'optim.factors': 'gamma lr_factors',
  'optim.b1': 'beta1 betas',
  'optim.b2': 'beta2',
  'optim.eps': 'epsilon adam_eps',
  'optim.clip_norm': (
    'clip_grad grad_clip gradient_clip_val max_grad_norm clip_grad_norm '
    'max_norm gradient_clip clip_gradient'
  ),
  'optim.ema': 'ema_decay model_ema use_ema',
  'optim.decays': 'decay_skip no_weight_decay no_decay decay_mult',
  'optim.layer_decay': 'llrd layerwise_decay layer_wise_decay lr_layer_decay',
  'optim.rates': 'lr_mult lr_multipliers paramwise_cfg head_lr backbone_lr',
  'optim.train': 'linear_probe',
  'optim.freeze': (
    'frozen freeze_backbone freeze_encoder frozen_stages freeze_layers '
    'trainable'
  ),
  'batch': (
    'batch_size batchsize bs global_batch_size train_batch_size '
    'samples_per_gpu videos_per_gpu per_device_train_batch_size'
  ),
  'accumulate': (
    'accum accum_steps grad_accum gradient_accumulation_steps update_freq '
    'accumulate_grad_batches update_interval accum_iter'
  ),
  'dtype': (
    'precision fp16 bf16 amp mixed_precision half use_amp compute_dtype'
  ),
  'seed': 'random_seed rng_seed manual_seed',
  'clip.frames': (
    'num_frames n_frames nframes clip_len clip_length num_segments t '
    'clip_duration sequence_length'
  ),
  'clip.stride': (
    'frame_interval sampling_rate sample_rate frame_stride frame_step '
    'temporal_stride interval'
  ),
  'clip.size': (
    'img_size image_size imgsz crop_size resolution input_size '
    'train_crop_size resize height width_px'
  ),
  'clip.fps': 'target_fps frame_rate',
  'clip.sampling': 'sampler sampling_rule sampling_mode',
  'data.dir': (
    'data_dir data_path dataset data_root root path train_data dataset_dir '
    'records'
  ),
  'data.train': 'train_split',
  'data.test': 'test_split val_split val eval_split',
  'data.threads': 'num_workers workers n_workers num_threads',
  'data.mean': 'img_mean image_mean',
  'data.std': 'img_std image_std',
  'init_from': (
    'pretrained pretrain init checkpoint_path load_from finetune weights ckpt '
    'pretrained_path pretrained_model checkpoint_file_path resume_from '
    'init_file'
  ),
  'augment.flip': 'hflip flip_prob random_flip flip_ratio horizontal_flip',
  'augment.short_side': (
    'jitter_scales scale_range resize_range min_side short_side_size'
  ),
  'augment.jitter': 'color_jitter colour_jitter',
  'augment.erase': 'reprob random_erasing random_erase erasing',
  'augment.rand_n': 'rand_aug randaug randaugment rand_augment',
  'augment.auto': 'auto_augment autoaugment aa',
  'loss.label_smoothing': 'smoothing label_smooth',
  'mix.mixup': 'mixup_alpha mix_up',
  'mix.cutmix': 'cutmix_alpha cut_mix',
  'views.size': 'test_crop_size test_size eval_size',
  'views.temporal': (
    'num_clips num_views test_num_segment num_ensemble_views temporal_views '
    'num_temporal_views'
  ),
  'views.spatial': (
    'num_crops test_num_crop num_spatial_crops spatial_crops three_crop crops'
  ),
  'views.batch': 'eval_batch_size test_batch_size val_batch_size',
  'checkpoint.every': (
    'save_every save_freq save_steps save_interval checkpoint_every '
    'checkpoint_period save_period ckpt_every checkpoint_steps'
  ),
  'checkpoint.keep': 'max_to_keep keep_checkpoints save_total_limit',
  'log.every': 'log_every log_interval log_freq logging_steps print_freq',
  'log.validate': (
    'eval_every eval_freq val_freq eval_steps validate_every eval_interval '
    'val_interval eval_period validation'
  ),
  'log.tensorboard': 'use_tensorboard tb wandb use_wandb',
  'mesh.data': 'gpus num_gpus devices n_gpus num_devices tpus',
  'mesh.fsdp': 'shard sharding zero',
  'mesh.tensor': 'tensor_parallel model_parallel tp',
  'mesh.context': 'context_parallel sequence_parallel cp sp ulysses',
  'model.width': 'dim hidden_size embed_dim d_model hidden_dim embedding_dim',
  'model.widths': 'dims embed_dims width dim hidden_size embed_dim',
  'model.layers': 'depth depths num_layers n_layers num_hidden_layers blocks',
  'model.heads': 'num_heads n_heads num_attention_heads',
  'model.patch': 'patch_size',
  'model.drop_path': 'drop_path_rate stochastic_depth droppath',
  'model.dropout': 'drop drop_rate dropout_rate dropout_ratio',
  'model.attention': 'attention_type attn attn_type',
  'model.remat': (
    'gradient_checkpointing grad_checkpoint checkpointing use_checkpoint'
  ),
}
# Names of what is no field, and what to do instead.
INSTEAD = {
  'num_classes n_classes nb_classes classes class_names num_labels labels': (
    'the classes are those of the records; try leaving it out'
  ),
  'workdir work_dir output_dir out_dir save_dir log_dir output logdir': (
    'the folder of a run is no field; try --workdir=FOLDER'
  ),
  'resume auto_resume resume_training': (
    'a run resumes by itself; try the same command with the same --workdir'
  ),
}
_FIELD_OF = {
  usual: [field for field, names in USUAL.items() if usual in names.split()]
  for usual in ' '.join(USUAL.values()).split()
}
_INSTEAD_OF = {
  usual: text for names, text in INSTEAD.items() for usual in names.split()
}


def next_move(name: str, known: Collection[str]) -> str:
  """What to try instead of the unknown field `name`; '' if nothing is near.

  `known` are the fields that there are, 'section.field' each. The last part of
  a name counts most: 'model.batch_size' means the batch.
  """
  section, _, leaf = name.lower().replace('-', '_').rpartition('.')
  if leaf in _INSTEAD_OF:
    return _INSTEAD_OF[leaf]
  same = [field for field in known if field.rpartition('.')[2] == leaf]
  usual = [field for field in _FIELD_OF.get(leaf, ()) if field in known]
  for candidates in (same, usual):
    inside = [c for c in candidates if c.rpartition('.')[0] == section]
    if candidates:
      return f'try {(inside or candidates)[0]!r}'
  leaves = {field.rpartition('.')[2]: field for field in known}
  inside = [f for f in known if section and f.startswith(f'{section}.')]
  near = difflib.get_close_matches(name, inside or known, 1, 0.5)
  if not near or section not in ('', near[0].rpartition('.')[0]):
    by_leaf = difflib.get_close_matches(leaf, leaves, 1, 0.7)
    near = [leaves[by_leaf[0]]] if by_leaf else near
  return f'try {near[0]!r}' if near else ''
