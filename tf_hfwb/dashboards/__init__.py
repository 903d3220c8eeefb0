"""Dashboards on this machine: what a training logs, written where TensorBoard or trackio finds it.

Nothing here knows of TensorFlow, Keras or W&B.

* ``log_entries.py``: what is logged: rows, tables, configurations; ``entry_writer.py``: what a writer is;
  ``entry_queue.py``: from a training to its writers, whose failures do not stop it.
* ``tensorboard_writer.py``: TensorBoard's event files; ``tensorboard_events.py``: entries as events.
* ``trackio_writer.py``: trackio's runs; ``trackio_storage.py``: where they are kept; ``trackio_values.py``: entries as
  trackio stores them; ``trackio_private.py``: every private name of trackio that is used.
* ``installed_dashboards.py``: what can be used; ``markdown_tables.py``: tables as text; ``pictures.py``:
  files of pictures; ``plain_values.py``: what JSON can hold; ``dashboard_servers.py``: the servers of dashboards.
"""
