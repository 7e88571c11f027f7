"""A lesson run again on somebody's own purchase log, as ``python -m crmlab rerun`` does it.

`plan` takes the wishes apart and checks them against the log before anything runs; `lesson` makes the notebook; `kernel` is what
that notebook uses to open the log and to keep counts, tables and figures; `output` writes what a reader gets; `manifest` says
how it was made, and what moved if it is made again; `run` does one after the other.
"""

from crmlab.course.rerun.kernel import begin, log
from crmlab.course.rerun.plan import again_words
from crmlab.course.rerun.plan import from_words as planned
from crmlab.course.rerun.run import again, run

__all__ = ["again", "again_words", "begin", "log", "planned", "run"]
