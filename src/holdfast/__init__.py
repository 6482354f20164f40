"""Holdfast: Kubernetes volumes whose data simply holds fast."""

__version__ = "0.1.0"
