"""The one exception of this package."""


class ClusterError(Exception):
    """The cluster cannot be started or used; the text says what is wrong and what to do."""
