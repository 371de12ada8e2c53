"""Things to play with in JupyterLab: a multicast, a prompt, a what-if, the runs that are kept.

Each module has a pure part (a value in, text or a picture out) and widgets that only make the value. A widget
shows its first state at once, also where there is no browser (papermill, nbval), and what cannot work is
one line in it.
"""
