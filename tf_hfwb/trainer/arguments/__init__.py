"""``TFTrainingArguments``, and the checks of what they say.

* ``training_arguments.py``: ``TFTrainingArguments``; ``argument_fields.py``: names, types, defaults and meanings.
* ``argument_support.py``: which arguments do what they say, which have no effect, and which are refused.
* ``argument_values.py``: which values each of them accepts; ``argument_combinations.py``: which contradict each other.
* ``schedule_options.py``: what ``lr_scheduler_kwargs`` may say.
* ``compute_devices.py``: whether GPUs are used, and how they multiply.
* ``former_spellings.py``: former names of arguments; ``unknown_arguments.py``: names that do not exist;
  ``unused_arguments.py``: arguments that the data leaves without effect.
* ``argument_setters.py``: methods that set the arguments of one topic.
* ``device_members.py``: what scripts ask about devices; ``default_strategies.py``: the strategy that uses them all.
* ``worker_members.py``: what they ask about processes; ``worker_cluster.py``: the workers that ``TF_CONFIG`` names.
"""
