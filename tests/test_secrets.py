"""No secret leaves the process: in names, by form, and of whole trainings that are full of them."""

from __future__ import annotations

import dataclasses
import enum
import json
import logging
import os
import pathlib
import pickle
import time
import traceback

import pytest
from helpers import needs, nightly, records

from tf_hfwb import WandbModelCheckpoint
from tf_hfwb.errors import NotACheckpointError, ServerError, SettingError
from tf_hfwb.secret_masking import cause, mask, mask_text
from tf_hfwb.tracking.artifact_lookup import directory_of
from tf_hfwb.trainer.arguments.training_arguments import TFTrainingArguments

pytestmark = pytest.mark.core

KEY = "0123456789abcdef" * 2 + "01234567"
WORD = "s3cr3t-w0rd"  # Which no form tells.


class Choice(enum.Enum):
    TOKEN = "hf_" + "a" * 34


@dataclasses.dataclass
class Account:
    hub_token: str = WORD
    number: int = 3


@dataclasses.dataclass
class Arguments(TFTrainingArguments):
    hub_token: str | None = None


NAMED = [
    *("hub_token", "hubToken", "HUB-TOKEN", "HF_TOKEN", "token", "auth_token", "accessToken", "csrf_token", "password"),
    *("db_password", "Password2", "passwd", "pwd", "passphrase", "secret", "client_secret", "AWS_SECRET_ACCESS_KEY"),
    *("api_key", "apiKey", "x-api-key", "APIKey", "private-key", "ssh_key", "wandb_key", "authorization", "http_auth"),
    *("oauth2", "credentials", "cookie", "Set-Cookie", "bearer", "session_id", "session", "jwt", "refresh_token"),
]

ORDINARY = {
    "pad_token": "[PAD]",
    "unk_token": "unk",
    "image_token": "<image>",
    "my_token": "<s>",
    "max_tokens": 5,
    "num_tokens": 3,
    "bos_token_id": 1,
    "token_type_ids": "a",
    "include_tokens_per_second": True,
    "use_auth_token": True,
    "push_to_hub_token": None,
    "tokenizer": "bert",
    "author": "me",
    "keyboard": "q",
    "monkey": "m",
    "key": "k",
    "table_key": "samples",
    "session": 5,
    "passes": "3",
    "label2id": {"password": 1234, "api_key": 2},
    "_commit_hash": KEY,
    "train_dataset/fingerprint": KEY,
    "revision": KEY,
    "run": {"id": KEY},
    "_name_or_path": f"/cache/models--a/snapshots/{KEY}/x",
    "requirement": f"git+https://example.org/a@{KEY}",
    "command": f"git checkout {KEY}",
    "model": "sk-learn-text-classification",
    "remote": "ssh://git@example.org/a/b",
    "url": "http://127.0.0.1:8080/a@b",
    "text": "Basic classification, bearer instruments; key=value, lr=1",
}

FORMED = {
    "Hugging Face": "hf_" + "a" * 34,
    "W&B": KEY,
    "W&B, local": f"local-{KEY}",
    "W&B, v1": "wandb_v1_" + "Ab1" * 20,
    "AWS": "AKIA" + "A1" * 8,
    "GitHub": "ghp_" + "a1" * 18,
    "GitHub, fine": "github_pat_" + "a1" * 20,
    "Google": "AIza" + "b" * 35,
    "Google, OAuth": "ya29.a0Abc-def",
    "OpenAI": "sk-proj-" + "Z1" * 24,
    "Anthropic": "sk-ant-api03-" + "x" * 40,
    "Slack": "xoxb-1234567890-abc",
    "JWT": "eyJhbGciOiJI.eyJzdWIiOiIx.abc",
    "PEM": "-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----",
}

TEXTS = {
    "a database": f"postgres://me:{WORD}@host/d",
    "with an @": f"http://me:{WORD}@{WORD}@host/d",
    "with a /": f"https://me:{WORD}/{WORD}@host/d",
    "a token alone": f"https://{WORD}@host/d",
    "a command line": f"train.py --hub_token {WORD} --lr 1 --password='{WORD} a'",
    "a query": f"https://host/p?token={WORD}&a=1&Signature={WORD}&sig={WORD}&X-Amz-Credential={WORD}",
    "JSON": f'{{"password": "{WORD}", "hub_token": "{WORD}"}}',
    "a namespace": f"Namespace(hub_token='{WORD}', lr=1)",
    "a header": f"Authorization: {WORD}\nok",
    "a bearer": f"Bearer {WORD}1234567",
    "basic": "Basic dXNlcjpzM2NyM3QtdzByZA==",
}


def test_secrets_are_known_by_their_names_and_by_their_form():
    for name in NAMED:
        assert mask({name: WORD}) == {name: f"<{name.upper()}>"}
        assert mask({"a": [{"b": {name: (WORD, 1)}}]}) == {"a": [{"b": {name: [f"<{name.upper()}>", 1]}}]}
    for name, value in ORDINARY.items():
        assert mask({name: value}) == {name: value}
    for name, value in FORMED.items():
        assert mask({"x": value}) == {"x": "<X>"}, name
        assert mask({"x": f"a {value} b"}) == {"x": "a <SECRET> b"}, name
        assert value not in str(mask({value: 1, "x": {value}, "y": [pathlib.Path(value)]})), name
    for name, text in TEXTS.items():
        for value in (text, text.encode(), Account(text)):
            assert WORD not in str(mask({"x": value})), name
        assert "dXNl" not in mask_text(text), name
        assert mask_text(mask_text(text)) == mask_text(text), name
    others = {"choice": Choice.TOKEN, "account": Account(), "credentials": {"a": WORD}, "pin_password": 12345}
    assert mask(others) == {
        "choice": "<CHOICE>",
        "account": {"hub_token": "<HUB_TOKEN>", "number": 3},
        "credentials": {"a": "<CREDENTIALS>"},
        "pin_password": "<PIN_PASSWORD>",
    }
    assert mask(["--hub_token", WORD, "--lr", "1"]) == ["--hub_token", "<HUB_TOKEN>", "--lr", "1"]
    assert len(mask({FORMED["AWS"]: 1, FORMED["Google"]: 2})) == 2


def test_long_texts_are_searched_in_no_time():
    for part in (
        "a",
        "a.b-",
        "http://a:",
        "http://a@",
        "sk-",
        "sk-a-",
        "--a ",
        "x=y ",
        "Bearer ",
        "a='",
        "eyJabcdefg.",
    ):
        text = part * (100_000 // len(part))
        began = time.perf_counter()
        mask_text(text)
        assert time.perf_counter() - began < 5, part


def test_errors_and_log_lines_hold_none(caplog):
    said = f"GET https://me:{WORD}@host/?X-Amz-Signature={WORD} failed"
    error = ServerError(said)
    for text in (str(error), repr(error), repr(pickle.loads(pickle.dumps(error)))):
        assert WORD not in text
    assert WORD not in str(SettingError("hub_token", WORD, expected="none"))
    not_found = NotACheckpointError(2, said)
    assert WORD not in str(not_found)
    assert not_found.errno == 2
    logging.getLogger("tf_hfwb").warning("It says: %s", said)
    assert "It says: GET https://<SECRET>@host/" in caplog.text
    assert WORD not in caplog.text
    assert cause(OSError(said)) is None
    assert str(cause(OSError("plain"))) == "plain"


@pytest.mark.nightly
def test_the_servers_address_is_said_without_its_password(monkeypatch):
    address = f"http://me:{WORD}@127.0.0.1:9"
    settings = {"BASE_URL": address, "API_KEY": KEY, "MODE": "online", "HTTP_TIMEOUT": "1"}
    for name, value in settings.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    with pytest.raises(ServerError, match=r"Expected an answer of http://<SECRET>@127.0.0.1:9\.") as caught:
        directory_of("entity/project/model-x:final")
    printed = "".join(traceback.format_exception(caught.value))
    assert WORD not in printed
    assert KEY not in printed


def test_arguments_are_masked_wherever_they_are_shown():
    args = Arguments("out", hub_token=WORD)
    assert args.hub_token == WORD
    assert args.to_dict()["hub_token"] == "<HUB_TOKEN>"
    assert WORD not in args.to_json_string()


# Each planted once, so that what is found says where it came from.
PLANTED = {
    "a subclass's hub_token": "planted-01-of-subclass",
    "arguments: password": "planted-02-password",
    "arguments: nested api key": "planted-03-api-key",
    "arguments: a list": "hf_planted04" + "a" * 26,
    "arguments: a URL": "planted-05-of-a-url",
    "config: passwd": "planted-06-passwd",
    "config: camel": "planted-07-camel",
    "config: kebab": "planted-08-kebab",
    "config: upper": "planted-09-upper",
    "config: credentials": "planted-10-credentials",
    "config: cookie": "planted-11-cookie",
    "config: AWS": "AKIAPLANTED12ABCDEFG",
    "config: GitHub": "ghp_planted13" + "a" * 30,
    "config: OpenAI": "sk-proj-planted14" + "A1" * 20,
    "config: JWT": "eyJwbGFudGVkMTU.eyJzdWIiOiIx.planted15",
    "config: PEM": "-----BEGIN PRIVATE KEY-----\nplanted16\n-----END PRIVATE KEY-----",
    "config: a query": "planted-17-of-a-query",
    "config: a command": "planted-18-of-a-command",
    "config: bytes": "planted-19-bytes",
    "config: W&B": "1234567890" * 4,
    "config: Bearer": "planted-21-bearer-0123456789",
    "model.config": "planted-22-model-config",
    "model.config: a URL": "planted-23-model-url",
    "callback states": "planted-24-callback",
    "the command line": "planted-25-command-line",
    "log lines": "planted-26-log-line",
    "the environment": "planted-27-environment",
}

TRAINING = """
import dataclasses, json, logging, os, sys
import tiny
from helpers import classifier, samples
from tf_hfwb import TFTrainer, TFTrainingArguments, WandbMetricsLogger, WandbModelCheckpoint
from tf_hfwb.fit.step_callback import StepCallback
from tf_hfwb.tracking import current_tracker

logging.basicConfig(level=logging.INFO)
s = {name: value for name, value in json.load(open(os.environ["PLANTED"])).items()}
os.remove(os.environ["PLANTED"])


@dataclasses.dataclass
class Arguments(TFTrainingArguments):
    hub_token: str | None = None
    extras: dict = dataclasses.field(default_factory=dict)


args = Arguments(
    "bert", max_steps=2, per_device_train_batch_size=4, save_steps=1, logging_steps=1, disable_tqdm=True,
    hub_token=s["a subclass's hub_token"],
    extras={
        "db_password": s["arguments: password"],
        "service": {"apiKey": s["arguments: nested api key"]},
        "several": [s["arguments: a list"]],
        "storage": "s3://me:" + s["arguments: a URL"] + "@host/bucket",
    },
)
model = tiny.bert(hub_token=s["model.config"], source="https://me:" + s["model.config: a URL"] + "@host/m")
trainer = TFTrainer(model, args, train_dataset=tiny.classified(), processing_class=tiny.tokenizer())
trainer.train()
more = dataclasses.replace(args, max_steps=3)
again = TFTrainer(model, more, train_dataset=tiny.classified(), processing_class=tiny.tokenizer())
assert again.train(resume_from_checkpoint=True).global_step == 3  # What is masked is not needed for that.
trainer.save_model()
trainer.save_model("pytorch", weights_format="pt")
current_tracker().finish()


class Mine(StepCallback):
    participant_name = "Mine"

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        self._session.participants.add(self)

    def capture_state(self):
        return lambda: {"session_id": s["callback states"]}

    def restore_state(self, state):
        pass


config = {
    "passwd": s["config: passwd"], "authToken": s["config: camel"], "x-api-key": s["config: kebab"],
    "MY_SECRET": s["config: upper"], "credentials": {"user": "u", "value": s["config: credentials"]},
    "cookie": s["config: cookie"], "a": s["config: AWS"], "b": s["config: GitHub"], "c": s["config: OpenAI"],
    "d": s["config: JWT"], "e": s["config: PEM"], "f": "https://host/x?sig=" + s["config: a query"],
    "g": "train.py --hub_token " + s["config: a command"], "h": {"token": s["config: bytes"]},
    "i": s["config: W&B"], "j": {"header": "Bearer " + s["config: Bearer"]}, "plain": "stays",
}
logging.getLogger("tf_hfwb").warning("A line about https://me:%s@host", s["log lines"])
model, (x, y) = classifier("keras", learning_rate=0.1), samples(8)
logger = WandbMetricsLogger(1, config=config)
model.fit(x, y, batch_size=4, verbose=0, callbacks=[logger, Mine(), WandbModelCheckpoint("plain", arguments=config)])
print("done")
"""


def found(where: dict[str, bytes]) -> list[str]:
    """Which of the planted secrets is where."""
    parts = {**PLANTED, "config: PEM": "planted16"}
    return [
        f"{name}: {place}" for place, text in where.items() for name, part in parts.items() if part.encode() in text
    ]


@needs("transformers")
@pytest.mark.slow
@pytest.mark.parametrize("online", [True, nightly(False)])
def test_nothing_of_what_was_planted_leaves_a_training(server, launcher, online, tmp_path):
    planted = tmp_path / "planted.json"
    planted.write_text(json.dumps(PLANTED))
    server.heard = []
    ended = launcher.python(
        TRAINING,
        "--hub_token",
        PLANTED["the command line"],
        PLANTED=str(planted),
        MY_API_KEY=PLANTED["the environment"],
        WANDB_LOG_MODEL="checkpoint",
        WANDB_SILENT=None,
        **({} if online else {"WANDB_MODE": "offline"}),
    )
    assert "done" in ended.stdout.splitlines()
    files = {str(path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and not path.is_symlink()}
    spoken = {"stdout": ended.stdout.encode(), "stderr": ended.stderr.encode()}
    inspected = {str(path): json.dumps(records(path)).encode() for path in pathlib.Path("wandb").glob("*run-*-*")}
    heard = {f"request {number}": content for number, content in enumerate(server.heard)}
    assert len(inspected) == 2
    assert "Going on from" in ended.stderr
    assert "other data" not in ended.stderr
    assert any(name.endswith("trainer_state.json") for name in files)
    assert (len(heard) > 20) == online
    assert "A line about https://<SECRET>@host" in ended.stderr
    everything = {**files, **spoken, **inspected, **heard}
    assert any(b"stays" in content for content in (heard if online else inspected).values())
    assert found(everything) == []
    key = os.environ["WANDB_API_KEY"].encode()
    assert [name for name, content in everything.items() if key in content] == []


def test_the_value_of_a_secret_is_in_no_error_about_it():
    for value in (b"planted-in-bytes", object()):
        with pytest.raises(SettingError) as caught:
            WandbModelCheckpoint("out", arguments={"nested": {"hub_token": value}})
        assert "hub_token" in str(caught.value)
        assert "planted" not in str(caught.value)
