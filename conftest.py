"""For tests and doctests alike: answers that they give do not go into anybody's progress."""

import os
import tempfile
from pathlib import Path

os.environ["CRMLAB_PROGRESS"] = str(Path(tempfile.gettempdir()) / f"crmlab-progress-{os.getpid()}.json")
