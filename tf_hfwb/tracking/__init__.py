"""The one seam to Weights & Biases: only this folder imports wandb.

* ``tracker.py``: the run, opened at the first event or taken over from the user, written by one worker.
* ``run_identity.py``: which run a training belongs to; ``user_runs.py``: runs that somebody else opens or ends.
* ``run_history.py``: what the history of a run says already; ``rescued_rows.py``: rows that the client's log lacks.
* ``row_batching.py``: many rows in one message to the client; ``run_tables.py``, ``wandb_histogram.py``: media in rows.
* ``artifact_names.py``: names and references; ``artifact_logging.py``: directories as artifacts;
  ``artifact_journal.py``: what was logged, so that names resolve without a server.
* ``artifact_downloads.py``: artifacts into a cache here; ``artifact_contents.py``: what a manifest may say;
  ``private_folder.py``: a cache that nobody else writes to.
* ``pending_uploads.py``: what is not uploaded yet; ``sync.py``: bring it there later.
* ``registry.py``: the model registry, and versions that nobody needs any more.
* ``wandb_server.py``: what the server knows; ``wandb_service.py``: the client's process; ``exit_codes.py``: the exit
  code of this one.
"""

from tf_hfwb.tracking.tracker import Tracker, current_tracker, open_tracker

__all__ = ["Tracker", "current_tracker", "open_tracker"]
