"""The one seam to Weights & Biases: only this folder imports wandb.

A run:

* ``tracker.py``: what others use of a run: rows, artifacts, flush, finish; ``process_tracker.py``: the open run's;
  ``dashboard_tracker.py``: dashboards beside a run, or in its place.
* ``run_opening.py``: ``wandb.init``; ``credentials.py``: where the client finds a key; ``run_facts.py``: a run's folder
  and identity; ``run_links.py``: where it is, in words; ``run_jobs.py``: the threads that write to it;
  ``row_batching.py``: many rows in one message.
* ``run_history.py``: what the history of a run says already; ``recent_rows.py``: its last rows, without all of it;
  ``run_log.py``: the client's file of a run; ``log_items.py``: what is in it, item by item; ``log_inspection.py``: the
  same by the client's own program; ``row_deduplication.py``: no row is written twice; ``written_rows.py``: what this
  process has written.
* ``row_log.py``: all rows of a training, for its checkpoints.
* ``run_end.py``: the end of a run, and how long it waits; ``service_watchdog.py``: the limit of that;
  ``exit_codes.py``: how the process ends.
* ``lost_rows.py``: rows that the client cannot take; ``lost_rows_file.py``: the file in which they are kept.
* ``run_identity.py``: which run a training belongs to; ``user_runs.py``: runs that somebody else opens or ends.
* ``sweeps.py``: runs of a sweep, which a W&B server chooses.
* ``run_tables.py``, ``run_charts.py``, ``wandb_histogram.py``: media in rows.

Artifacts:

* ``artifact_names.py``: names and references; ``artifact_logging.py``: directories as artifacts;
  ``artifact_journal.py``: what was logged, so that names resolve without a server; ``artifact_lookup.py``: a name's
  directory.
* ``artifact_downloads.py``: artifacts into a cache here; ``file_download.py``: one of their files;
  ``artifact_contents.py``: what a manifest may say; ``private_folder.py``: a cache that nobody else writes to.
* ``pending_uploads.py``: what is not uploaded yet; ``sync.py``: uploads it later; ``local_run.py``: a run on this
  machine.
* ``registry.py``: the model registry; ``retention.py``: which versions stay on the server.

The client and the server:

* ``wandb_server.py``: what the server knows; ``server_run.py``: one run as it is there; ``wandb_private.py``: every
  private name of the client that is used.
"""

from tf_hfwb.tracking.process_tracker import current_tracker, open_tracker
from tf_hfwb.tracking.tracker import Tracker

__all__ = ["Tracker", "current_tracker", "open_tracker"]
