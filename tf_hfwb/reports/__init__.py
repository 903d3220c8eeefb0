"""One self-contained HTML page of one or several W&B runs.

* ``report_page.py``: ``write_report``, which puts the page together; its HTML, its style and its scripts are in the
  folder ``page``.
* ``run_overview.py``: the table of the runs; ``logged_values.py``: the rows of a run as one series for each name.
* ``metric_charts.py``: which series share a chart; ``value_titles.py``: what they are called;
  ``thinned_series.py``: long ones, with fewer points and all peaks; ``page_numbers.py``: numbers as the page has them.
* ``histogram_grids.py``: histograms over time; ``layer_panels.py``: those and the norms of gradients and weights;
  ``layer_names.py``: whose they are.
* ``machine_charts.py``: the use of the machine.
* ``page_tables.py``: tables, as many rows as there is room for; ``page_pictures.py``: pictures in them, embedded small.
* ``config_comparison.py``: configurations side by side; ``final_values.py``: what stands in the summaries only.
* ``checkpoint_rows.py``: the checkpoints of a run, with their metrics.
"""
