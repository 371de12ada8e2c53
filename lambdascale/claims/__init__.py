"""Claims: what the paper and we say, and what a run's numbers make of it.

A notebook only reports named metrics. `artifact/claims.yaml` says what is claimed of them and within which
range; a verdict is computed here and nowhere else. Pure, but for the two files that are read and written.
"""
