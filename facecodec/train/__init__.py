"""Training: data sets, the generator's weights, fitting to a person, and the tables of the coded path.

Reading order. *Data*: ``prepare`` goes from ``videos`` over ``takes`` (a part of a clip, really coded and
read back; ``selection`` chooses its frames) to a file that ``packing`` writes, within a ``budget``;
``records`` says what is in it, ``pack`` reads it. *Samples*: ``choice`` draws frames and reference pictures,
``geometry`` makes label maps and motion fields, ``augment`` changes colours and draws windows, ``samples``
makes batches of them (``collate``). *A run*: ``config`` (read from TOML by ``config_file``; ``presets/`` has
some), ``run`` puts model, data and task together, ``loop`` says when to step, save, validate and end
(``processes``: torchrun and signals; ``logs``: all that is shown), ``trainer`` takes a step (``ema``,
``checkpoint``). *What is trained*: a ``task``, that is ``restore_task`` or ``generator_task``, with
``losses``, ``regions``, ``identity`` and ``discriminator``; ``validate`` judges by what the decoder would
show. *One person*: ``finetune`` (with ``finetune_settings``) on the ``finetune_material`` of a video
(``finetune_video``) or of a stream (``finetune_stream``). *Tables*: ``basis`` and ``contexts``. A run needs
torch, numpy, OpenCV and safetensors alone.
"""
