"""Training loops, targets and augmentation.

What cellpose 3.1 does on the way that would falsify an experiment, and how it is kept out here:

- ``labels_to_flows`` without a device fails where there is no GPU: :mod:`.targets` names the CPU.
- ``train_seg(normalize=False)`` changes a module-wide default for all later calls: images are
  scaled before, by :mod:`helpers.data.preprocess`, and ``train_seg`` is not called.
- ``min_train_masks=5`` silently drops patches with few objects, so that a coreset is no longer the
  one that was chosen: :mod:`.loop` drops none, and tests count the patches.
- ``nimg_per_epoch`` other than the number of images samples with replacement: a mixer shows
  every patch equally often.
- Every epoch reseeds numpy with its own number, so that "runs" differ by their weights alone: here
  one seed sets weights, order and augmentation, and another seed changes all three.
- The first epoch trains at a learning rate of exactly zero: ``learning_rate_at`` starts above it.
- Test losses are zero in most epochs, and the last of the saved models overwrites its namesake: the
  loop keeps the loss of every step and one checkpoint that resumes exactly.
- ``CPnet.load_model`` on the CPU turns average into maximum pooling and skips keys that do not
  match: :func:`helpers.models.cpnet.load_weights` refuses both.
- The diameter in memory and the one in the saved file differ after training: no diameter is used.
- ``CellposeModel`` with a path that does not exist downloads a model instead: the network is built
  directly.
"""
