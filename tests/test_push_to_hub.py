"""Pushing to the Hub: the real client against a stand-in of the server on this machine."""

from __future__ import annotations

import json
import logging
import os
import pathlib

import huggingface_hub
import pytest
import tiny
import transformers
from helpers import finish, python, records
from hub_server import OWNER, TOKEN, HubServer
from huggingface_hub import constants
from huggingface_hub.utils import reset_sessions
from test_trainer import named, trainer_of

from tf_hfwb import TFTrainer, TFTrainingArguments
from tf_hfwb.checkpoint.store import Checkpoint
from tf_hfwb.errors import SettingError

MODEL_FILES = {"config.json", "model.safetensors", "tokenizer.json"}


@pytest.fixture
def hub(monkeypatch):
    with HubServer() as server:
        # The client reads these from the environment when it is imported.
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.delenv("HF_HUB_OFFLINE")
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        reset_sessions()
        yield server
        assert server.unknown == []
    reset_sessions()


def bert_trainer(**options):
    options = {"output_dir": "out", "push_to_hub": True, "max_steps": 3, "save_steps": 1, **options}
    return trainer_of(tiny.bert(), tiny.classified(), **options)


def loaded(commit, directory="pulled"):
    """The model in a commit, as somebody else gets it."""
    for name, content in commit.files.items():
        path = pathlib.Path(directory, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return transformers.TFBertForSequenceClassification.from_pretrained(directory)


def same_weights(left, right) -> bool:
    return all((one == other).all() for one, other in zip(left.get_weights(), right.get_weights(), strict=True))


# -- on demand -------------------------------------------------------------------------------------------------------


def test_a_trained_model_is_pushed_with_its_card(hub):
    trainer = bert_trainer(push_to_hub=False, eval_strategy="steps", eval_steps=1)
    assert trainer.hub_model_id is None
    trainer.train()
    answer = trainer.push_to_hub(tasks="text-classification", dataset_tags="glue", language="en")
    assert trainer.hub_model_id == f"{OWNER}/out"
    assert answer.commit_message == "End of training"
    (commit,) = hub.commits()
    assert commit.message == "End of training"
    assert {*MODEL_FILES, "README.md", "training_args.json"} <= set(commit.files)
    assert not [name for name in commit.files if name.startswith(("checkpoint-", ".", "_"))]
    assert b"language:\n- en" in commit.files["README.md"]
    assert same_weights(loaded(commit), trainer.model)


def test_a_push_that_is_not_waited_for(hub):
    trainer = bert_trainer(push_to_hub=False)
    hub.gate.clear()
    push = trainer.push_to_hub("first", blocking=False, model_name="mine")
    assert not push.done()
    hub.gate.set()
    assert push.result(60).commit_message == "first"
    assert b"# mine" in hub.commits()[0].files["README.md"]


def test_the_name_the_branch_the_token_and_privacy_of_the_repository(hub, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    trainer = bert_trainer(
        hub_model_id="team/bert", hub_token=TOKEN, hub_private_repo=True, hub_revision="trial", hub_strategy="end"
    )
    assert trainer.hub_model_id == "team/bert"
    trainer.train()
    assert hub.messages("team/bert", "trial") == []
    trainer.push_to_hub()
    assert hub.repositories["team/bert"].private
    assert hub.messages("team/bert", "trial") == ["End of training"]
    assert hub.messages("team/bert") == []
    trainer.push_to_hub("again", revision="main")
    assert hub.messages("team/bert") == ["again"]


def test_a_plain_model(hub):
    trainer = trainer_of(tiny.functional("keras"), named(), output_dir="out")
    trainer.push_to_hub()
    (commit,) = hub.commits()
    assert {"model.keras", "README.md"} <= set(commit.files)
    assert b"library_name: keras" in commit.files["README.md"]


def test_what_goes_wrong_with_a_push_on_demand_is_raised(hub):
    trainer = bert_trainer(push_to_hub=False)
    hub.failing = 500
    with pytest.raises(huggingface_hub.errors.HfHubHTTPError):
        trainer.push_to_hub()


# -- in the middle of training ---------------------------------------------------------------------------------------


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("strategy", "places"),
    [
        ("every_save", []),
        ("checkpoint", ["last-checkpoint"]),
        ("all_checkpoints", [f"checkpoint-{n}" for n in (1, 2, 3)]),
    ],
)
def test_checkpoints_are_pushed_as_the_strategy_says(hub, strategy, places):
    trainer = bert_trainer(hub_strategy=strategy, hub_always_push=True, save_total_limit=1)
    trainer.train()
    messages = [f"Training in progress, step {n}" for n in (1, 2, 3)]
    if places:
        messages = [text for message in messages for text in (message, f"{message}, checkpoint")]
    assert hub.messages() == messages
    last = hub.commits()[-1]
    assert {name.partition("/")[0] for name in last.files if "/" in name} == set(places)
    assert set(last.files) >= MODEL_FILES
    assert "manifest.json" not in last.files
    assert same_weights(loaded(last), trainer.model)
    if places:
        resumed = bert_trainer(output_dir="again", push_to_hub=False, max_steps=4)
        assert Checkpoint.open(f"pulled/{places[-1]}").verify() is None
        assert resumed.train(resume_from_checkpoint=f"pulled/{places[-1]}").global_step == 4
    assert [path.name for path in pathlib.Path("out").glob("checkpoint-*")] == ["checkpoint-3"]


@pytest.mark.nightly
def test_epochs_are_named_in_the_message(hub):
    bert_trainer(save_strategy="epoch", max_steps=-1, num_train_epochs=1).train()
    assert hub.messages() == ["Training in progress, epoch 1"]


def test_a_save_does_not_wait_for_the_push_before_and_is_left_out(hub, monkeypatch):
    trainer = bert_trainer(max_steps=4, save_total_limit=1)
    hub.gate.clear()
    pushed = trainer._uploads.push_checkpoint

    def push(path, message):
        answer = pushed(path, message)
        if "step 4" in message:
            assert pathlib.Path("out/checkpoint-1").exists()  # It is still being uploaded.
            hub.gate.set()
        return answer

    monkeypatch.setattr(trainer._uploads, "push_checkpoint", push)
    trainer.train()
    assert hub.messages() == ["Training in progress, step 1"]
    assert [path.name for path in pathlib.Path("out").glob("checkpoint-*")] == ["checkpoint-4"]


def test_the_end_pushes_only_what_is_saved(hub):
    trainer = bert_trainer(hub_strategy="end")
    trainer.train()
    assert hub.commits() == []
    trainer.save_model()
    assert hub.messages() == ["Model save"]
    trainer.save_model("elsewhere", True)
    assert hub.messages() == ["Model save"]
    trainer.save_model("elsewhere")
    assert hub.messages() == ["Model save", "Model save"]
    assert "README.md" not in os.listdir("elsewhere")


def test_push_to_hub_of_a_subclass_is_called_by_save_model(hub):
    class Own(TFTrainer):
        def push_to_hub(self, commit_message="End of training", **kwargs):
            return super().push_to_hub(commit_message=f"My {commit_message}", **kwargs)

    Own(tiny.bert(), TFTrainingArguments("out", push_to_hub=True, report_to="none")).save_model()
    assert hub.messages() == ["My Model save"]


def test_trouble_with_the_hub_does_not_stop_training_and_is_said_once_and_at_the_end(hub, caplog):
    trainer = bert_trainer(hub_always_push=True)
    hub.failing = 500
    assert trainer.train().global_step == 3
    messages = [record.getMessage() for record in caplog.records if "Hub" in record.getMessage()]
    assert len([text for text in messages if "Training goes on" in text]) == 1
    (end,) = [record.getMessage() for record in caplog.records if "3 of 3 pushes" in record.getMessage()]
    assert "trainer.push_to_hub()" in end
    caplog.clear()
    assert pathlib.Path(trainer.save_model(), "model.safetensors").exists()
    assert "Pushing to the Hub failed" in caplog.text
    hub.failing = 0
    trainer.push_to_hub()
    assert hub.messages() == ["End of training"]


# -- before training -------------------------------------------------------------------------------------------------


def test_without_any_token_nothing_is_begun(hub, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", "nowhere")
    with pytest.raises(SettingError, match=r"push_to_hub=True cannot be used. Expected a token.* HF_TOKEN"):
        bert_trainer()
    assert hub.requests == []


def test_a_token_that_the_hub_does_not_take(hub):
    with pytest.raises(
        SettingError, match=r"hub_model_id='out' cannot be used.*the Hub says: HfHubHTTPError: 401"
    ) as raised:
        bert_trainer(hub_token="word")
    assert "word" not in str(raised.value)
    with pytest.raises(SettingError, match=r"hub_model_id='others/bert' cannot be used.*403"):
        bert_trainer(hub_model_id="others/bert")
    with pytest.raises(SettingError, match=r"hub_model_id='a name' cannot be used"):
        bert_trainer(hub_model_id="a name")


def test_requests_are_forbidden(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with pytest.raises(SettingError, match=r"push_to_hub=True cannot be used. Expected False with HF_HUB_OFFLINE"):
        bert_trainer()


def test_a_hub_that_does_not_answer_is_warned_of(hub, monkeypatch, caplog):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    trainer = bert_trainer()
    assert "The Hub does not answer" in caplog.text
    assert trainer.train().global_step == 3
    assert "pushes to out failed" in caplog.text


@pytest.mark.parametrize(
    ("name", "value"),
    [("hub_strategy", "always"), ("hub_model_id", ""), ("hub_token", ""), ("hub_revision", 3)],
)
def test_values_are_checked(name, value):
    with pytest.raises(SettingError, match=name):
        TFTrainingArguments("out", **{name: value})


# -- the token -------------------------------------------------------------------------------------------------------


def test_the_token_is_in_no_file_no_log_and_no_text(hub, monkeypatch, caplog, capfd):
    monkeypatch.delenv("HF_TOKEN")
    caplog.set_level(logging.DEBUG)
    trainer = bert_trainer(hub_token=TOKEN, report_to="wandb", hub_strategy="all_checkpoints", hub_always_push=True)
    trainer.train()
    trainer.save_state()
    trainer.push_to_hub()
    hub.failing = 403
    trainer.save_model()
    run = finish()
    args = trainer.args
    assert args.hub_token == TOKEN
    texts = [repr(args), str(args), str(args.to_dict()), args.to_json_string(), caplog.text, *capfd.readouterr()]
    texts.append(json.dumps(records(run)))
    texts += [str(content) for content in hub.bodies]
    assert not [text for text in texts if TOKEN in text]
    files = [path for path in pathlib.Path.cwd().rglob("*") if path.is_file()]
    assert len(files) > 10
    assert [path for path in files if TOKEN.encode() in path.read_bytes()] == []


def test_two_spellings_of_the_token_show_neither():
    with pytest.raises(SettingError) as raised:
        TFTrainingArguments("out", hub_token="present", push_to_hub_token="former")
    assert "present'" not in str(raised.value)
    assert "former'" not in str(raised.value)


SCRIPT = """
import sys
import tiny
from tf_hfwb import TFTrainer, TFTrainingArguments
args = TFTrainingArguments(
    "out", max_steps=1, push_to_hub=True, report_to="none", disable_tqdm=True, per_device_train_batch_size=4
)
data = tiny.classified()
trainer = TFTrainer(tiny.bert(), args, train_dataset=data, processing_class=tiny.tokenizer())
trainer.train()
print(trainer.push_to_hub().commit_url)
"""


@pytest.mark.nightly
@pytest.mark.slow
def test_a_process_of_its_own_with_what_users_set():
    with HubServer() as server:
        ended = python("-c", SCRIPT, HF_ENDPOINT=server.url, HF_TOKEN=TOKEN, HF_HUB_OFFLINE=None)
        assert f"{server.url}/{OWNER}/out/commit/" in ended.stdout
        assert server.messages() == ["Training in progress, step 1", "End of training"]
        assert server.unknown == []
