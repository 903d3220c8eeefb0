"""Tokenizers as TensorFlow graphs: the same ids as the fast tokenizer, for any text.

* ``texts_in_graph.py``: from texts to padded ids.
* ``wordpiece.py``, ``byte_level.py``, ``unigram.py``: BERT's, GPT-2's and SentencePiece's way to split words.
* ``normalization.py``: the normalizers of SentencePiece's tokenizers.
* ``code_points.py``: what a tokenizer does to each character; ``prefix_tree.py``: which strings begin at a place.
* ``tokenizer_agreement.py``: whether the graph's ids are the tokenizer's; ``unsupported.py``: the error of tokenizers
  that have no graph.
"""
