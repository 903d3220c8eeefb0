"""How long an export for TensorFlow Serving takes, and how much it writes, beside TensorFlow's and transformers' ways.

    python benchmarks/serving_export.py [--repeats 3] [--only ours]

The model is a BERT classifier of 22.7 M parameters (random weights, the size of MiniLM) with a WordPiece tokenizer of
some 25,000 pieces. Ours has signatures for texts, pairs and ids, and includes its check in another process, which the
others do not have. Each way runs in a process of its own.
"""

from __future__ import annotations

import argparse
import itertools
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

WAYS = ["ours", "model.save", "save_pretrained"]


def build():
    """The model and its tokenizer."""
    import tokenizers
    import transformers

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(chr(code) for code in range(33, 127))]
    letters = "abcdefghijklmnopqrstuvwxyz"
    whole = ["".join(parts) for parts in itertools.product("bcdfghjklmn", "aeiou", letters[:20], "aeioulnrst")]
    ends = ["".join(parts) for parts in itertools.product(letters, letters, "aeiou")]
    words += [*whole, *(f"##{piece}" for piece in [*letters, *ends, *whole])]
    backend = tokenizers.Tokenizer(
        tokenizers.models.WordPiece({word: index for index, word in enumerate(words)}, unk_token="[UNK]")
    )
    backend.normalizer = tokenizers.normalizers.BertNormalizer()
    backend.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    backend.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, model_max_length=512, pad_token="[PAD]", unk_token="[UNK]"
    )
    config = transformers.BertConfig(
        vocab_size=30522, hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536
    )
    model = transformers.TFBertForSequenceClassification(config)
    model.build_in_name_scope()
    return model, tokenizer


def measure(way: str) -> dict[str, float]:
    """Seconds and MB of one way, in this process."""
    model, tokenizer = build()
    with tempfile.TemporaryDirectory() as name:
        started = time.perf_counter()
        if way == "ours":
            from tf_hfwb import export_for_serving

            export_for_serving(model, name, processing_class=tokenizer)
        elif way == "model.save":
            model.save(name, save_format="tf")
        else:
            model.save_pretrained(name, saved_model=True)
        seconds = time.perf_counter() - started
        size = sum(file.stat().st_size for file in pathlib.Path(name).rglob("*") if file.is_file())
    return {"seconds": seconds, "MB": size / 1e6}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", choices=WAYS)
    parser.add_argument("--measure", choices=WAYS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure)))
        return
    print(f"{'way':20}{'seconds':>10}{'MB':>8}")
    for way in [arguments.only] if arguments.only else WAYS:
        runs = []
        for _ in range(arguments.repeats):
            command = [sys.executable, __file__, "--measure", way]
            finished = subprocess.run(command, capture_output=True, text=True, check=True)
            runs.append(json.loads(finished.stdout.splitlines()[-1]))
        middle = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        print(f"{way:20}{middle['seconds']:10.1f}{middle['MB']:8.0f}", flush=True)


if __name__ == "__main__":
    main()
