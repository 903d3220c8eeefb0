"""The command ``tf-hfwb``.

* ``command_line.py``: ``main``, which finds the subcommand and reports errors.
* ``show_command.py``, ``table_command.py``, ``report_command.py``, ``checkpoints_command.py``, ``link_command.py``,
  ``export_command.py``, ``sync_command.py``: a subcommand each. Its ``add_to`` declares the arguments; what it needs is
  imported when it runs, so that ``--help`` stays fast.
* ``run_choice.py``: the run that a command is about; ``row_choice.py``: which rows of a table, and in which order;
  ``table_formats.py``: a table in a terminal, as CSV, JSON and Markdown.
* ``terminal_text.py``: words that others chose, for a terminal.
"""

from tf_hfwb.cli.command_line import main

__all__ = ["main"]
