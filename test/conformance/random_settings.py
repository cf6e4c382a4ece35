"""How random cases are drawn: the same ones in every run, however long one takes."""

from hypothesis import HealthCheck, settings

__all__ = ["examples"]


def examples(count):
    """Settings for `count` cases."""
    return settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        print_blob=False,
        suppress_health_check=list(HealthCheck),
    )
