"""PyTorch companion to 'Aligning machine and human visual representations across abstraction levels'."""

__version__ = "0.1.0"
