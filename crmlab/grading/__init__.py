"""For the lecturer: sheets for marks, with data of each student's own, and their marking in a sandbox.

``python -m crmlab handout`` and ``python -m crmlab grade`` are the two commands; docs/instructor.md says how a class is run.
"""
