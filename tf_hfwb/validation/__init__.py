"""Checks of arguments, names and files from outside, before anything uses them.

* ``argument_checks.py``: arguments that several constructors take: whole numbers, directories, plain values.
* ``json_checks.py``: the values of a JSON file, declared once for the whole file.
* ``relative_paths.py``: file names from outside, such as those of a manifest, before they are joined to a directory.
* ``referenced_files.py``: the files that the JSON of a transformers model refers to.
* ``installed_packages.py``: packages that only some users need, as TensorFlow.
* ``new_directory.py``: a directory that is created for a purpose, and removed if that fails.
"""
