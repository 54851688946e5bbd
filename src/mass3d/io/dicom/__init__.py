"""DICOM: files -> slices -> series -> one volume on a regular grid, without names of patients."""
