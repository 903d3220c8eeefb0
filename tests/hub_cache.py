"""What the pages load from the Hugging Face Hub, as if it had been downloaded before: small, and of the same form.

The Hub's own client finds it in its cache, so code that names a model or a data set runs as it is printed. Models have
random weights and few of them; the data sets are a few sentences over and over.
"""

from __future__ import annotations

import json
import pathlib

COMMIT = "0" * 40
WORDS = "the a film is was not very good bad funny dull and but story acting it that i like do we with of . , ! ' s"
REVIEWS = [
    ("the story is good and the acting is very good .", 1),
    ("a dull film , and not funny .", 0),
    ("i like it very much !", 1),
    ("the acting was bad , but that is not it .", 0),
    ("we do not like the story .", 0),
    ("funny and good .", 1),
]


def fill(home: str) -> None:
    """Write the cache below a directory, which ``HF_HOME`` names."""
    root = pathlib.Path(home)
    _write_models(root / "hub")
    train, test = _rows(1200), _rows(300)
    _write_dataset(
        root / "datasets", "cornell-movie-review-data/rotten_tomatoes", train=train, validation=test, test=test
    )


def _rows(number: int) -> dict[str, list]:
    rows = [REVIEWS[n % len(REVIEWS)] for n in range(number)]
    return {"text": [text for text, _ in rows], "label": [label for _, label in rows]}


def _write_models(hub: pathlib.Path) -> None:
    import transformers as t

    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *dict.fromkeys(WORDS.split())]
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    vocab += [piece for letter in letters for piece in (letter, f"##{letter}") if piece not in vocab]
    vocab_file = hub / "vocab.txt"
    hub.mkdir(parents=True)
    vocab_file.write_text("\n".join(vocab) + "\n")
    size, positions = len(vocab), 64
    distilbert = t.DistilBertConfig(
        vocab_size=size, max_position_embeddings=positions, dim=16, n_layers=1, n_heads=2, hidden_dim=16
    )
    bert = t.BertConfig(
        vocab_size=size,
        max_position_embeddings=positions,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
    )
    for name, model_class, config, tokenizer_class in (
        ("distilbert-base-uncased", t.TFDistilBertForMaskedLM, distilbert, t.DistilBertTokenizerFast),
        ("bert-base-uncased", t.TFBertForMaskedLM, bert, t.BertTokenizerFast),
    ):
        repository = hub / f"models--{name.replace('/', '--')}"
        snapshot = repository / "snapshots" / COMMIT
        snapshot.mkdir(parents=True)
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text(COMMIT)
        model = model_class(config)
        model.build_in_name_scope()
        model.save_pretrained(snapshot, safe_serialization=True)
        tokenizer_class(str(vocab_file), model_max_length=positions).save_pretrained(snapshot)


def _write_dataset(datasets_home: pathlib.Path, repository: str, **splits: dict[str, list]) -> None:
    """As ``datasets`` leaves it behind when it has loaded it once: ``owner___name/config/version/hash``."""
    import datasets

    owner, name = repository.split("/")
    directory = datasets_home / f"{owner}___{name}" / "default" / "0.0.0" / COMMIT
    directory.mkdir(parents=True)
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["neg", "pos"])})
    info = {"config_name": "default", "dataset_name": name, "builder_name": "parquet", "splits": {}}
    for split, rows in splits.items():
        table = datasets.Dataset.from_dict(rows, features=features)
        with datasets.arrow_writer.ArrowWriter(
            path=str(directory / f"{name}-{split}.arrow"), features=features
        ) as writer:
            writer.write_table(table.data.table)
            writer.finalize()
        info["splits"][split] = {"name": split, "num_examples": len(table), "dataset_name": name}
    info["features"] = json.loads(json.dumps(features.to_dict()))
    (directory / "dataset_info.json").write_text(json.dumps(info))
