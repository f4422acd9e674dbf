"""The experiments of the Grad-CAM paper (arXiv 1610.02391): the data they run on, what they measure, and how results are shown."""
