"""The course: building its notebooks and pages, and checking a student's answers.

Only what a notebook needs is offered here; the commands (``python -m crmlab help``) use the submodules.
"""

__all__ = ["Exercise", "Sheet"]


def __getattr__(name):
    # Lazy, since the set-up command imports this package before anything is installed.
    if name == "Exercise":
        from crmlab.course.check import Exercise

        return Exercise
    if name == "Sheet":
        from crmlab.course.sheet import Sheet

        return Sheet
    raise AttributeError(f"module 'crmlab.course' has no attribute {name!r}")
