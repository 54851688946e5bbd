"""The local page of `mass3d serve`: one example becomes the segmentations of a cohort.

Everything it does is files in a project folder that the verbs write and read, and every job is a
verb that runs in a process of its own. Nothing here imports torch.
"""
