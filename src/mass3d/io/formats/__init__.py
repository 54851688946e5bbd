"""File formats that are not DICOM: NIfTI, NRRD, MetaImage, and what they have to hold."""
