"""Runs of W&B as they were recorded, to be looked at: on this machine or on the server, of this package or of others.

* ``record_lookup.py``: ``find_runs``: which runs a folder, a file or a name means.
* ``run_record.py``: ``RunRecord``: one run, with its rows, tables and media; ``record_source.py``: what it asks of the
  place where the run is. ``local_record.py``: a run in folders on this machine; ``folder_steps.py``: how the rows of
  several folders follow each other; ``server_record.py``: a run on the server.
* ``recorded_table.py``: a logged table; ``recorded_histogram.py``: a logged histogram; ``value_texts.py``: histograms,
  tables and media in a few words.
* ``record_entries.py``: a run as entries for other dashboards; ``run_conversion.py``: runs written for one.
"""
