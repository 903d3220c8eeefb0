"""A prediction table: a few samples of an evaluation set with their inputs, labels and the model's predictions.

* ``predicted_samples.py``: the whole table.
* ``sample_choice.py``: which samples, the same at every evaluation.
* ``tokenized_samples.py``: a raw ``datasets.Dataset`` as the model's inputs; ``raw_columns.py``: which of its columns;
  ``label_values.py``: missing labels and sets of classes.
* ``decoded_texts.py``, ``table_images.py``: token ids and pixels as texts and images.
* ``table_task.py``: the base class of tasks. One file for each task: ``classification.py``,
  ``token_classification.py``, ``question_answering.py``, ``language_models.py``, and ``keras_models.py`` for plain
  Keras models on arrays, ``raw_samples.py`` for tasks of KerasHub.
"""
