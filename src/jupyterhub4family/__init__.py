"""Any identity may import this: the name and version of the package, nothing else."""

__version__ = "0.1.0+dev"
