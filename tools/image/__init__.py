"""Container images made without a registry or a container engine."""
