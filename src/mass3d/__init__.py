"""mass3d: from a folder of unlabelled 3D scans to a one-shot segmentation."""
